"""``ctc info``: descriptions of files that are whole, cut, damaged, or of other weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctc_codec.container.header import Header
from support.command import assert_refused, ctc
from support.streams import changed, with_header


def test_info_of_a_complete_file(files: Path, photo_ctc: bytes) -> None:
    result = ctc("info", "--json", "--planes", "whole.ctc")
    assert (result.code, result.err) == (0, "")
    (facts,) = result.objects
    assert facts["file"] == "whole.ctc"
    assert facts["bytes"] == facts["complete_bytes"] == len(photo_ctc)
    assert (facts["width"], facts["height"], facts["mode"]) == (120, 88, "RGB")
    assert facts["bpp"] == pytest.approx(8 * len(photo_ctc) / (120 * 88), abs=1e-4)
    assert (facts["state"], facts["damage"]) == ("complete", None)
    assert facts["fingerprint"] == Header.parse(photo_ctc)[0].fingerprint.hex()
    header = Header.parse(photo_ctc)[0]
    assert facts["planes"] - 2 < facts["planes_held"] < facts["planes"] == header.planes  # of quality 85
    assert facts["slices_held"] == facts["slices"] == header.slices > 0
    assert facts["low_band"] is True


def test_info_of_a_cut_file(files: Path, photo_ctc: bytes) -> None:
    count = len(photo_ctc) * 3 // 4
    (facts,) = ctc("info", "--json", "--planes", "-", stdin=photo_ctc[:count]).objects
    assert (facts["bytes"], facts["complete_bytes"]) == (count, len(photo_ctc))
    assert (facts["state"], facts["damage"]) == ("cut", None)
    assert 0 < facts["planes_held"] < facts["planes"]
    assert 0 < facts["slices_held"] < facts["slices"]


@pytest.mark.parametrize("more", [[], ["--planes"]])
def test_info_of_a_damaged_file_tells_what_it_can_and_exits_1(
    files: Path, photo_ctc: bytes, more: list[str]
) -> None:
    (files / "bad.ctc").write_bytes(changed(photo_ctc, len(photo_ctc) - 5, 1))
    result = ctc("info", "--json", "bad.ctc", *more)
    assert_refused(result, "bad.ctc", "damaged between bytes")
    (facts,) = result.objects
    assert facts["state"] == "damaged"
    assert facts["damage"] in result.err
    assert ("planes_held" in facts) == bool(more)


def test_info_without_json_is_for_people(files: Path, photo_ctc: bytes) -> None:
    text = ctc("info", "--planes", "whole.ctc").out.decode()
    for word in ("120x88 RGB, complete", str(len(photo_ctc)), "of 7 trit planes", "slices, low band"):
        assert word in text
    start = Header.parse(photo_ctc)[1]
    text = ctc("info", "--planes", "-", stdin=photo_ctc[:start]).out.decode()
    for word in ("120x88 RGB, cut", "  0 of 7 trit planes, 0 of ", "slices, no low band", "no picture yet"):
        assert word in text


def test_info_lists_the_quality_table(files: Path) -> None:
    table = ctc("info", "--json", "whole.ctc").objects[0]["quality"]
    lines = ctc("info", "whole.ctc").out.decode().splitlines()
    at = lines.index("  quality, by the table in the file:")
    assert lines[at + 1].split() == ["bytes", "bpp", "dB"]
    rows = [tuple(map(float, line.split())) for line in lines[at + 2 :]]
    assert rows == [
        (nbytes, round(8 * nbytes / (120 * 88), 4), pytest.approx(db, abs=0.005)) for nbytes, db in table
    ]


def test_info_needs_no_weights(files: Path) -> None:
    args = ("info", "plain.ctc", "--weights", "nowhere")
    (facts,) = ctc(*args, "--json").objects
    assert facts["state"] == "complete"
    assert facts["planes"] == facts["slices"] == 0
    assert not {"planes_held", "planes_unknown"} & facts.keys()
    assert facts["quality"] == []
    assert b"quality" not in ctc(*args).out


def test_info_tells_why_planes_are_not_known(files: Path, photo_ctc: bytes) -> None:
    """Of other weights, or with more pixels than are allowed, which are not allocated."""
    (facts,) = ctc("info", "--json", "--planes", "plain.ctc").objects
    assert "01020304" in facts["planes_unknown"]
    huge = with_header(photo_ctc, width=2**24 - 1, height=2**24 - 1)
    (facts,) = ctc("info", "--json", "--planes", "-", stdin=huge).objects
    assert "16777215" in facts["planes_unknown"]
    assert_refused(
        ctc("info", "--planes", "whole.ctc", "--weights", "nowhere"), "ctc: nowhere: no such weights"
    )


def test_info_writes_one_object_per_file(files: Path) -> None:
    result = ctc("info", "--json", "plain.ctc", "photo.png", "whole.ctc")
    assert_refused(result, "ctc: photo.png: not a .ctc file", lines=2)
    found = [(facts["file"], "error" in facts) for facts in result.objects]
    assert found == [("plain.ctc", False), ("photo.png", True), ("whole.ctc", False)]
