"""The same file gives the same latent under every setting of the machine: the quick part of
``make exactness``, and whether that would find what it looks for."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import constriction
import numpy as np
import pytest

from ctc_codec.container.coder import coder_frequencies
from exactness import __main__ as program
from exactness import runs
from exactness.cells import CELLS, DIFFERENT, EQUAL, FAILED, NOT_HERE, REFUSED, Cell
from exactness.environments import Environment, folder_name, plans
from exactness.report import lines, record_of
from exactness.runs import GOLDEN, Result, collect, expected_hashes, run

_FAMILY = constriction.stream.model.Categorical(lazy=True)
_ONE = next(cell for cell in CELLS if cell.name == "1")
_HERE = {"onnxruntime": "1.0", "numpy": "2.0", "python": "3.0"}
_CONTROLS = [cell for cell in CELLS if cell.group == "control"]


@pytest.mark.slow
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.quick], ids=lambda cell: cell.name)
def test_golden_latents(cell: Cell) -> None:
    result = run(cell)
    # Not here: the latents were the same, but the setting could not be what it is elsewhere.
    assert result.verdict in (EQUAL, NOT_HERE), (result.note, result.differing)
    assert result.latents == sum(map(len, expected_hashes().values()))


@pytest.mark.slow
@pytest.mark.parametrize("cell", _CONTROLS, ids=lambda cell: cell.name)
def test_a_machine_that_computes_otherwise_is_found(cell: Cell) -> None:
    assert EQUAL not in cell.allowed
    assert not run(cell).defect


@pytest.mark.slow
def test_files_of_other_encoders_are_decoded(tmp_path: Path) -> None:
    data = (GOLDEN / "odd.ctc").read_bytes()
    latent = expected_hashes()["odd"][str(len(data))]
    told = [Result("one", _ONE, EQUAL, others={"odd": (data, latent)})]
    assert collect(told * 2, tmp_path) == 1
    result = run(_ONE, folder=tmp_path)
    assert (result.verdict, result.latents, result.others) == (EQUAL, 1, {})
    assert collect([*told, Result("two", _ONE, EQUAL, others={"odd": (data, "0" * 64)})], tmp_path) == 2
    result = run(_ONE, folder=tmp_path)
    assert (result.verdict, result.latents, len(result.differing)) == (DIFFERENT, 2, 1)
    assert result.defect
    assert record_of(told, [result], 2, 0)["summary"]["defects"] == 1


def test_a_process_that_fails_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runs, "SOURCE", tmp_path)
    (tmp_path / "ctc_codec.py").write_text("raise SystemExit('no codec here')\n")
    result = run(_ONE)
    assert result.verdict == FAILED
    assert "no codec here" in result.note
    assert result.defect


def test_files_of_one_cell_go_to_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def made_up(cell: Cell, where: Environment, folder: Path | None = None) -> Result:
        others = {} if folder or cell.name != "5" else {"odd": (b"file", "latent")}
        latents = len(expected_hashes(folder)) if folder else 80
        verdict = REFUSED if cell.name == "1" else EQUAL
        return Result(where.name, cell, verdict, here=_HERE, latents=latents, others=others)

    monkeypatch.setattr(program, "run", made_up)
    path = tmp_path / "exactness.json"
    assert program.main(["--no-releases", "--only", "current: threads", "-o", str(path)]) == 0
    record = json.loads(path.read_text())
    assert [row["verdict"] for row in record["rows"]] == [REFUSED, EQUAL, EQUAL, EQUAL]
    summary = record["summary"]
    assert (summary["cells"], summary["other_files"], summary["other_files_decoded"]) == (4, 1, 3)
    assert program.main(["--no-releases", "--only", "no such cell"]) == 1


def test_every_requirement_has_a_folder_of_its_own() -> None:
    wanted = {each for plan in plans() for each in plan.wanted}
    assert len(set(map(folder_name, wanted))) == len(wanted) > 20


def test_what_is_told_of_a_record() -> None:
    found = [
        *(Result("current", cell, EQUAL, here=_HERE, latents=3, pixels="a") for cell in CELLS[:2]),
        Result("numpy 1", _ONE, NOT_HERE, "no such thing"),
        Result("numpy 2", _ONE, EQUAL, here=_HERE, latents=3, others={"odd": (b"x", "y")}, pixels="b"),
        Result("current", _CONTROLS[0], _CONTROLS[0].allowed[0]),
    ]
    told = "\n".join(lines(record_of(found, [Result("current", _ONE, EQUAL, latents=1)], 1, 61)))
    assert told.startswith("4 cells, 9 latents compared: 3 equal, 0 refused, 0 different, 0 failed, 1 not")
    assert "1 encoded a golden picture to other bytes, 1 files in all; of 1 decodings" in told
    assert "Pixels came out in 2 ways." in told
    assert "| threads | 1; 2 | 2 |  |  |  |" in told
    assert "| numpy 2 | 1.0, 2.0, 3.0 | 1 |  |  |  |" in told
    assert "| numpy 1 |  |  |  | 1 |  |" in told
    wrong = Result("current", _ONE, DIFFERENT, here=_HERE, latents=3, differing=("odd at 19",))
    assert lines(record_of([wrong], [], 0, 1))[0] == "1 defects."


def _stand_in() -> ModuleType:
    path = Path(runs.__file__).parent / "stand_in" / "constriction.py"
    spec = importlib.util.spec_from_file_location("stand_in_of_constriction", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stand_in_of_constriction_is_like_it() -> None:
    other = _stand_in()
    rng = np.random.default_rng(5)
    raw = np.sort(rng.integers(1, 1 << 16, (900, 2)), axis=1)
    raw[::7] = (1, 65535)  # nearly certain
    raw[:, 1] = np.maximum(raw[:, 1], raw[:, 0] + 1).clip(2, 65535)
    raw[:, 0] = np.minimum(raw[:, 0], raw[:, 1] - 1)
    frequencies = coder_frequencies(np.diff(raw, axis=1, prepend=0, append=1 << 16).astype(np.uint32))
    symbols = rng.integers(0, 3, len(raw)).astype(np.int32)
    found = []
    for package in (constriction, other):
        queue = package.stream.queue
        encoder = queue.RangeEncoder()
        assert encoder.num_words() == 0
        encoder.encode(symbols[:500], _FAMILY, frequencies[:500])
        place, size = encoder.pos(), encoder.num_words()
        encoder.encode(symbols[500:], _FAMILY, frequencies[500:])
        words = encoder.get_compressed()
        decoder = queue.RangeDecoder(words)
        assert (decoder.decode(_FAMILY, frequencies) == symbols).all()
        decoder = queue.RangeDecoder(words)
        decoder.seek(*place)
        assert (decoder.clone().decode(_FAMILY, frequencies[500:]) == symbols[500:]).all()
        wrong = queue.RangeDecoder(np.concatenate((words[:20], np.full(400, 0xFFFFFFFF, np.uint32))))
        found.append((words.tolist(), place, size, wrong.decode(_FAMILY, frequencies[:60]).tolist()))
    assert found[0] == found[1]
