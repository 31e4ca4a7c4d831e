"""Small sizes, whole and cut: a slice of ``python -m reliability.sizes``, and that what is wrong is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ctc_codec import CodecModel
from reliability import sizes
from reliability.record import record
from reliability.watched import DONE, Watched

_SIZES = [
    *((1, side) for side in (1, 2, 3, 8, 64, 70)),
    *((side, 1) for side in (2, 5, 63, 65, 70)),
    *((2, 2), (3, 5), (7, 9), (8, 8), (15, 17), (16, 33), (31, 4), (32, 32), (47, 6)),
    *((63, 64), (64, 64), (65, 65), (64, 63), (70, 70), (69, 2), (33, 65)),
]


@pytest.mark.slow
def test_small_sizes_are_sound_whole_and_cut(model: CodecModel) -> None:
    found = sizes.Found()
    for width, height in _SIZES:
        sizes.check(width, height, 1, model, found)
    assert not found.failures
    assert (found.pictures, found.decoded) == (len(_SIZES), 3 * len(_SIZES))
    assert found.least_psnr > 38


def test_broken_promises_are_found(model: CodecModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "is_prefix", lambda latent, later: False)
    monkeypatch.setattr(sizes, "thumbnail", lambda data, weights: sizes.picture(9, 9))
    monkeypatch.setattr(sizes, "LOSS", -100.0)
    found = sizes.Found()
    sizes.check(12, 10, 1, model, found)
    assert found.failures[0] == "12x10 RGB: its thumbnail is not 2x2"
    assert sum("it is no prefix" in failure for failure in found.failures) == 3
    assert sum("dB worse than a shorter cut" in failure for failure in found.failures) == 2


@pytest.mark.slow
def test_a_long_line_goes_through_the_command(tmp_path: Path) -> None:
    row = sizes.long(tmp_path, 3000, 1)
    assert not row["failures"]
    assert row["psnr"] > 38
    assert row["bytes"] > 100


def test_failures_of_the_command_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def watched(command: list[str], folder: Path, **limits: Any) -> Watched:
        (folder / "long.ctc").write_bytes(b"no file")
        return Watched("crashed" if "check" in command else DONE, 1.0, 5_000_000, ("ctc: no",))

    monkeypatch.setattr(sizes, "watched", watched)
    row = sizes.long(tmp_path, 30, 1)
    assert row["failures"] == ["check: crashed: no"]
    assert row["encode"] == {"seconds": 1.0, "peak_mb": 5}
    text = sizes.lines(record({"most": 3, "noted": 0.5, **vars(sizes.Found())}, [row]))
    assert text[-1].endswith("| check: crashed: no |")


def test_a_file_that_is_not_encoded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sizes, "watched", lambda *_, **limits: Watched("failed", 1.0, 5_000_000, ("ctc: no",))
    )
    assert sizes.long(tmp_path, 30, 1)["failures"][:2] == ["encode: failed: no", "check: failed: no"]


def test_transparency_and_grey_are_of_all_sizes() -> None:
    modes = {
        (width, height): sizes.picture(width, height).mode
        for width in range(1, 11)
        for height in range(1, 11)
    }
    for side in range(1, 11):
        for at in (0, 1):
            found = {mode for size, mode in modes.items() if size[at] == side}
            assert found == {"L", "LA", "RGB", "RGBA"}


def test_a_record_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sizes.json"
    assert sizes.main(["--most", "2", "--cuts", "1", "--no-long", "-o", str(out)]) == 0
    assert json.loads(out.read_text())["summary"]["decoded"] == 12
    assert "All 4 sizes from 1x1 to 2x2" in capsys.readouterr().out
