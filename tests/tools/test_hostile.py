"""Hostile files: the quick part of ``python -m reliability.hostile``, and that what is wrong is found."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from ctc_codec import CodecModel, WeightsError
from ctc_codec.codec.model import load_model
from reliability import hostile, hostile_ctc, hostile_images, hostile_weights, use
from reliability.hostile_tables import lines, summary
from reliability.watched import CRASHED, DONE, FAILED, REFUSED, TIMED_OUT, outcome_of, watched
from support.command import ctc

_SIDE, _BOMB = 64, 1 << 25


@pytest.mark.slow
def test_ctc_files_end_with_a_picture_or_an_error(model: CodecModel, here: Path) -> None:
    tried = 0
    for name, make in hostile_ctc.files(model, _SIDE, _BOMB):
        if name == "header alone, one row":  # of 16 million pixels
            continue
        Path("a.ctc").write_bytes(make())
        for way in ("library decode", "library thumbnail", "plugin load"):
            assert use.main(way, "a.ctc") in (0, 1), (name, way)
        for args in (("info", "a.ctc"), ("check", "a.ctc"), ("truncate", "-f", "a.ctc", "--bytes", "64")):
            output = ("-o", "b.ctc") if args[0] == "truncate" else ()
            result = ctc(*args, *output)
            assert result.code in (0, 1)
            assert "internal error" not in result.err, (name, args)
        tried += 1
    assert tried > 25


@pytest.mark.slow
def test_image_files_end_with_a_file_or_one_line(here: Path, process_state: None) -> None:
    for name, make in hostile_images.files(_SIDE, _BOMB):
        if "000x" in name or "million" in name:  # which take many seconds
            continue
        Path("a" + Path(name).suffix).write_bytes(make())
        result = ctc("encode", "-f", "--keep-metadata", "a" + Path(name).suffix, "-o", "a.ctc")
        assert result.code in (0, 1), name
        assert "internal error" not in result.err, (name, result.err)
        assert sum(": note: " not in line for line in result.lines) <= 1, (name, result.err)


def test_weights_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for name, data in hostile_weights.files():
        if "90 MB" in name:
            continue
        path.write_bytes(data)
        with pytest.raises(WeightsError) as caught:
            load_model(path)
        assert "\n" not in str(caught.value), name


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        (0, ["ctc: a: note: b"], DONE),
        (1, ["ctc: a: not a .ctc file"], REFUSED),
        (1, ["ctc: a: note: b", "ctc: a: damaged"], REFUSED),
        (1, [], CRASHED),
        (1, ["OpenBLAS error: Memory allocation failed"], CRASHED),
        (-11, [], CRASHED),
        (134, ["terminate called"], CRASHED),
        (1, ["Traceback (most recent call last):", "ValueError"], FAILED),
        (1, ["ctc: a: internal error, please report it: b"], FAILED),
        (1, ["ctc: a: b", "ctc: c"], FAILED),
    ],
)
def test_outcomes(code: int, words: list[str], expected: str) -> None:
    assert outcome_of(code, words) == expected


def test_processes_are_watched(tmp_path: Path) -> None:
    def run(program: str, **limits: float) -> tuple[str, int]:
        found = watched([sys.executable, "-c", program], tmp_path, **limits)  # type: ignore[arg-type]
        return found.outcome, found.peak

    held = b"x" * 150_000_000  # of this process, which a command must not be charged with
    small, large = run("pass"), run("a = b'x' * 100_000_000")
    assert (small[0], large[0]) == (DONE, DONE)
    assert large[1] - small[1] > 80_000_000
    assert small[1] < len(held) / 2
    assert run("import time; time.sleep(99)", seconds=0.5)[0] == TIMED_OUT
    assert run(f"import os; os.kill(os.getpid(), {int(signal.SIGABRT)})")[0] == CRASHED
    assert run("a = b'x' * 1_000_000_000", space=500_000_000)[0] == FAILED  # Python's own traceback


def test_a_record_of_some_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "hostile.json"
    arguments = ["--groups", "ctc", "--only", "beyond the limit ctc decode", "-o", str(out)]
    assert hostile.main([*arguments, "--side", "64"]) == 0
    content = json.loads(out.read_text())
    assert [row["outcome"] for row in content["rows"]] == [REFUSED] * 2
    assert all("more than the limit" in row["said"] for row in content["rows"])
    assert "| .ctc files | 1 | 2 | 0 | 2 | 0 | 0 |" in capsys.readouterr().out
    assert hostile.main(["--only", "nothing of the kind", "--groups", "ctc"]) == 1


def _row(**more: object) -> dict[str, object]:
    row = {"group": "ctc", "case": "a", "way": "ctc decode", "bytes": 100, "pixels": 1 << 22}
    return row | {"outcome": DONE, "seconds": 2.0, "peak_mb": 328, "said": ""} | more


def test_figures_are_those_of_the_worst_rows() -> None:
    memory = {"group": "memory", "pixels": 0, "threads": 1}
    limits = ((300, DONE), (200, REFUSED), (180, DONE), (160, REFUSED), (80, CRASHED))
    rows = [
        _row(),
        _row(case="b", seconds=4.0),
        _row(case="16 looks", seconds=30.0),
        _row(case="c", outcome=CRASHED, seconds=99.0),
        _row(case="d", outcome=TIMED_OUT),
        *(
            _row(**memory, limit_mb=limit, outcome=outcome, said="OpenBLAS error")
            for limit, outcome in limits
        ),
    ]
    total = summary(rows)
    assert total["ctc"]["outcomes"] == {DONE: 3, CRASHED: 1, TIMED_OUT: 1}
    assert total["per_pixel"]["bytes"]["value"] == pytest.approx(47.684, abs=0.001)
    assert total["per_pixel"]["microseconds"]["case"] == "b"
    assert total["per_byte"]["seconds"]["value"] == 0.3
    (ends,) = total["memory"]
    assert (ends["enough_mb"], ends["refused_mb"], ends["crashed_mb"]) == (300, [160, 200], [80])
    text = "\n".join(lines({"summary": total}))
    assert "| .ctc files | 5 | 5 | 3 | 0 | 2 | 1 | 99 s (c, ctc decode) |" in text
    assert "300 ms a byte" in text
    assert "| ctc decode, 1 thread | 300 MB | 160 to 200 MB | 80 to 80 MB (OpenBLAS's own line) |" in text
