"""``ctc truncate``: by bytes, by bits per pixel, by the quality table."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import ctc_codec
from ctc_codec.container.header import Header
from support.command import PLAIN, Result, assert_refused, ctc

HEADER = Header.parse(PLAIN)[1]


@pytest.mark.parametrize(
    ("target", "count"),
    [
        ("--bytes 1000", 1000),
        ("--bytes 1k", 1000),
        ("--bytes 1K", 1000),
        ("--bytes 1.5k", 1500),
        ("--bytes 0.002M", 2000),
        ("--bytes 1Ki", 1024),
        ("--bytes 2ki", 2048),
        ("--bytes 1M", len(PLAIN)),
        ("--bytes 1Mi", len(PLAIN)),
        *((f"--bytes {count}", count) for count in (HEADER, HEADER + 1, 4110, 4111, 4112, 9999)),
        *((f"--bpp {bpp}", int(bpp * 64 * 48 / 8)) for bpp in (0.06, 0.5, 1, 2.7)),
    ],
)
def test_truncation_is_head(files: Path, target: str, count: int) -> None:
    assert ctc("truncate", "plain.ctc", *target.split(), "-o", "cut.ctc").code == 0
    assert (files / "cut.ctc").read_bytes() == PLAIN[:count]


def test_truncation_to_a_psnr_uses_the_quality_table(files: Path, photo_ctc: bytes) -> None:
    table = ctc("info", "--json", "whole.ctc").objects[0]["quality"]
    target = (table[-4][1] + table[-3][1]) / 2
    assert ctc("truncate", "whole.ctc", "--psnr", target, "-o", "small.ctc", "--quiet") == Result(0, b"", "")
    small = Path("small.ctc").read_bytes()
    assert photo_ctc.startswith(small)
    assert table[-4][0] < len(small) < table[-3][0]


@pytest.mark.parametrize(("target", "words"), [("--psnr 90", "90 dB"), ("--bytes 5", "header")])
def test_targets_out_of_reach_are_refused(files: Path, target: str, words: str) -> None:
    result = ctc("truncate", "whole.ctc", *target.split(), "-o", "x.ctc")
    assert_refused(result, "ctc: whole.ctc: ", words)
    assert not (files / "x.ctc").exists()


def test_a_psnr_before_the_table_is_found_in_the_rest(here: Path) -> None:
    """Of a picture whose colours take less than the header, and its transparency more."""
    image = Image.new("RGBA", (64, 48), "red")
    image.putalpha(Image.effect_noise((64, 48), 90))
    Path("clear.ctc").write_bytes(ctc_codec.encode(image))
    result = ctc("truncate", "clear.ctc", "--psnr", 20, "-o", "cut.ctc")
    assert result.code == 0, result
    assert Path("cut.ctc").stat().st_size < 60
    assert_refused(ctc("truncate", "cut.ctc", "--psnr", 20, "-o", "x.ctc"), "no quality table")


def test_without_a_quality_table_there_is_no_psnr(files: Path) -> None:
    assert_refused(ctc("truncate", "plain.ctc", "--psnr", 30, "-o", "x.ctc"), "plain.ctc", "no quality table")
