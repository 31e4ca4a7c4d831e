"""The page on large jobs says what its record says, and its helpers count what they are to count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import ctc_codec
import scale
from support.pictures import photograph


def test_page_is_made_from_the_record() -> None:
    assert scale.renewed() == scale.PAGE.read_text("utf-8")


def test_record_is_of_the_committed_weights() -> None:
    content = json.loads(scale.RECORD.read_text("utf-8"))
    assert content["weights"] == ctc_codec.load_model().fingerprint.hex()


def test_trials_found_no_defect() -> None:
    content = json.loads(scale.RECORD.read_text("utf-8"))
    (same,), (worker,) = scale.of(content, "same"), scale.of(content, "lost worker")
    (driver,), (corrupt,) = scale.of(content, "lost driver"), scale.of(content, "corrupt inputs")
    assert (same["files"], same["differing"]) == (2000, 0)
    assert (worker["killed"], worker["code"], worker["done"], worker["differing"]) == (
        1,
        0,
        worker["files"],
        0,
    )
    assert driver["done_before"] + driver["done_again"] == driver["files"] == driver["done"]
    assert (driver["code"], driver["differing"]) == (0, 0)
    assert (corrupt["errors"], corrupt["failed"], corrupt["code"]) == (20, 20, 1)


def test_differing_files_are_counted(tmp_path: Path) -> None:
    for folder, names in {"a": ("1", "2/3", "4", "5"), "b": ("1", "2/3", "4", "6")}.items():
        for name in names:
            path = tmp_path / folder / f"{name}.ctc"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"same")
    (tmp_path / "b/2/3.ctc").write_bytes(b"diff")
    assert scale.differing(tmp_path / "a", tmp_path / "b") == 3


def test_pictures_are_many_and_differ(tmp_path: Path) -> None:
    Image.fromarray(photograph(300, 200)).save(tmp_path / "photo.png")
    scale.small_pictures([tmp_path / "photo.png"], tmp_path / "small", 120)
    found = sorted((tmp_path / "small").rglob("*.png"))
    assert [path.parent.name for path in found] == ["00"] * 100 + ["01"] * 20
    assert len({path.read_bytes() for path in found}) > 100
    for path in found:
        with Image.open(path) as image:
            assert image.size == scale.SMALL


def test_time_is_counted_between_the_first_and_the_last_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import sys, time\nfor i in range(5): print('a -> b', file=sys.stderr, flush=True); time.sleep(0.2)"
    )
    monkeypatch.setattr(scale, "COMMAND", [scale.sys.executable, "-c", script])
    told = []
    done = scale.run("encode", after=lambda process, count: told.append(count))
    assert told == [1, 2, 3, 4, 5]
    assert 3 < done.steady < 5.1
    assert done.seconds > 0.9
