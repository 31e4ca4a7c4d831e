"""Cutting a file by bytes, bits per pixel and PSNR, and telling what is in it. Needs no weights."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from ctc_codec import FormatError, Header, TargetError, info, truncate
from ctc_codec.container.blocks import BLOCK_BYTES
from ctc_codec.container.file import pack, parse
from ctc_codec.container.quality_table import POINTS, QualityTable
from ctc_codec.container.sections import EXIF, QUALITY, pack_text
from support.streams import FINGERPRINT, noise, plain

WHOLE = plain(8288, size=(768, 512))
START = info(WHOLE).header_bytes
CURVE = QualityTable(tuple(38.0 - 1.3 * k for k in range(POINTS)))


def with_table(code_bytes: int, *sections: tuple[int, bytes]) -> bytes:
    table = (QUALITY, CURVE.to_bytes())
    return pack(Header(128, 128, FINGERPRINT), noise(code_bytes), (table, *sections))


# --- truncation -------------------------------------------------------------------------------------


def test_truncation_by_bytes_is_slicing() -> None:
    for count in [*range(START, START + 40), 1000, START + BLOCK_BYTES - 1, START + BLOCK_BYTES]:
        assert truncate(WHOLE, nbytes=count) == WHOLE[:count]
        assert truncate(truncate(WHOLE, nbytes=5000), nbytes=count) == WHOLE[:count]
        assert info(WHOLE[:count]).header == info(WHOLE).header
    for more in (0, 1, 10**6, 1 << 61):
        assert truncate(WHOLE, nbytes=len(WHOLE) + more) == WHOLE
    assert truncate(WHOLE[:300], nbytes=5000) == WHOLE[:300]


@pytest.mark.parametrize("size", [(768, 512), (120, 88), (97, 31), (1, 1), (4001, 2999)])
def test_truncation_by_bpp_uses_its_budget_and_never_more(size: tuple[int, int]) -> None:
    data = plain(8288, size=size)
    rng = random.Random(3)
    tried = 0
    for bpp in [*(i / 100 for i in range(1, 300)), *(rng.uniform(0, 12) for _ in range(300)), 1e3, 1e300]:
        allowed = Fraction(repr(bpp)) * math.prod(size) / 8  # what the user wrote, in decimals
        if allowed < 40:  # the header may not fit
            continue
        small = truncate(data, bpp=bpp)
        assert small == data[: len(small)]
        assert len(small) <= allowed
        assert len(small) == len(data) or len(small) >= allowed - 1
        assert info(small).bpp <= bpp
        tried += 1
    assert tried >= 2


def test_cut_by_psnr_follows_the_table() -> None:
    data = with_table(40_000, (9, noise(3000, 4)))
    sizes = []
    for target in (25.0, 30.0, 34.0, 38.0):
        small = truncate(data, psnr=target)
        assert data.startswith(small)
        assert len(parse(small).code) == CURVE.code_bytes_for(target, 40_000)
        assert info(small).psnr == pytest.approx(target, abs=0.01)
        sizes.append(len(small))
    assert sizes == sorted(set(sizes))
    assert len(data) - 2 - 3000 <= sizes[-1] <= len(data)


def test_cut_by_psnr_needs_the_table_and_the_bytes() -> None:
    data = with_table(40_000)
    with pytest.raises(TargetError, match=r"38\.50 dB is out of reach|38\.5 dB is out of reach"):
        truncate(data, psnr=38.5)
    with pytest.raises(TargetError, match="are left"):
        truncate(data[:2000], psnr=36.0)
    assert truncate(data[:20_000], psnr=30.0) == truncate(data, psnr=30.0)
    for bare in (data[:200], plain(4000)):
        with pytest.raises(TargetError, match="no quality table"):
            truncate(bare, psnr=30.0)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        *(({"nbytes": count}, f"header alone takes {START}") for count in (-1, 0, 1, START - 1)),
        ({"bpp": 8 * (START - 1) / (768 * 512)}, "header"),
        *(({"bpp": bpp}, "bpp") for bpp in (0.0, -1.0, math.nan, math.inf, -math.inf)),
    ],
)
def test_targets_that_cannot_be_met_are_refused(target: dict[str, float], message: str) -> None:
    with pytest.raises(TargetError, match=message):
        truncate(WHOLE, **target)  # type: ignore[arg-type]
    assert truncate(WHOLE, bpp=8 * (START + 0.5) / (768 * 512)) == WHOLE[:START]


def test_exactly_one_target_is_asked_for_and_only_of_ctc_files() -> None:
    for targets in ({}, {"bpp": 1.0, "nbytes": 100}, {"psnr": 30.0, "nbytes": 100}):
        with pytest.raises(ValueError, match="exactly one"):
            truncate(WHOLE, **targets)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=r"not a \.ctc file"):
        truncate(b"\x89PNG", nbytes=2)


# --- info -------------------------------------------------------------------------------------------


def test_info_of_a_complete_and_of_a_cut_file() -> None:
    found = info(WHOLE)
    assert found.header == Header(768, 512, FINGERPRINT, 8288)
    assert (found.header_bytes, found.nbytes, found.header.file_bytes) == (START, len(WHOLE), len(WHOLE))
    assert found.bpp == 8 * len(WHOLE) / (768 * 512)
    assert (found.complete, found.damage) == (True, None)
    cut = info(WHOLE[:1000])
    assert (cut.header, cut.nbytes, cut.bpp) == (found.header, 1000, 8000 / (768 * 512))
    assert (cut.complete, cut.damage) == (False, None)


def test_info_lists_the_table_for_the_bytes_that_are_there() -> None:
    data = with_table(40_000, (EXIF, pack_text(b"exif")))
    found = info(data)
    assert found.sections == ("quality table", "EXIF")
    assert found.psnr == 38.0
    assert len(found.quality) == POINTS
    assert found.quality[-1][1] == 38.0
    assert [count for count, _ in found.quality] == sorted({count for count, _ in found.quality})
    for count, db in found.quality:
        assert info(data[:count]).psnr in (None, pytest.approx(db, abs=0.02))
    cut = info(data[:10_000])
    assert cut.quality == tuple(step for step in found.quality if step[0] <= 10_000)
    assert cut.psnr == pytest.approx(38 - 2.6 * math.log2(40_000 / 9950), abs=0.1)
    assert (info(data[:300]).quality, info(data[:300]).psnr) == ((), None)


@pytest.mark.parametrize("psnr", [math.nan, math.inf, 0.0, -5.0])
def test_no_psnr_that_is_none_is_met(psnr: float) -> None:
    with pytest.raises(TargetError, match="psnr must be positive"):
        truncate(WHOLE, psnr=psnr)


@pytest.mark.parametrize("data", ["x.ctc", None, 5, Path("x")])
def test_data_are_bytes(data: Any) -> None:
    for work in (info, parse, lambda data: truncate(data, nbytes=100)):
        with pytest.raises(TypeError, match=r"data must be the bytes of a \.ctc file"):
            work(data)
    view = memoryview(WHOLE)
    assert info(view) == info(bytearray(WHOLE)) == info(WHOLE)
    assert truncate(view, nbytes=100) == WHOLE[:100]
