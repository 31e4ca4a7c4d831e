"""Verification without weights: sections, memory, and how far a cut file can vouch."""

from __future__ import annotations

import contextlib
import lzma
import tracemalloc
import zlib

import numpy as np
import pytest

from ctc_codec import DamageError, FormatError, LimitError, info
from ctc_codec.container.alpha import FILTERS
from ctc_codec.container.blocks import BLOCK_BYTES
from ctc_codec.container.file import CUT, DAMAGED, parse
from ctc_codec.container.sections import ALPHA, ALPHA_ROUGH, EXIF, QUALITY, XMP, join_sections, pack_text
from ctc_codec.container.verify import verify
from ctc_codec.image.transparency import pack, pack_rough
from support.streams import changed, plain, with_extras


def _raw(samples: bytes) -> bytes:
    return lzma.compress(samples, lzma.FORMAT_RAW, filters=FILTERS)


SAMPLES = np.random.default_rng(1).integers(0, 256, (48, 64), np.uint8)
EXTRAS = join_sections(
    [
        (QUALITY, bytes([10, 0, *[9] * 12])),
        (ALPHA_ROUGH, pack_rough(SAMPLES)),
        (ALPHA, pack(SAMPLES)),
        (EXIF, pack_text(b"EXIF" * 100)),
        (XMP, pack_text(b"<xmp/>")),
        (77, b"of a later version"),
    ]
)
GOOD = with_extras(EXTRAS, alpha=True)


def test_sections_are_verified_and_named_and_a_cut_is_no_damage() -> None:
    assert verify(parse(GOOD)) == ("quality table", "alpha", "EXIF", "XMP")
    for count in range(info(GOOD).header_bytes, len(GOOD)):
        file = parse(GOOD[:count])
        assert file.state == CUT
        assert verify(file) == info(GOOD[:count]).sections


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (QUALITY, bytes(13), "damaged quality table"),
        (ALPHA, b"\7" + _raw(bytes(3072)), "an unknown prediction"),
        (ALPHA, b"", "an unknown prediction"),
        (ALPHA, b"\0" + b"\xff" * 99, "damaged transparency: not LZMA"),
        (ALPHA, b"\0" + _raw(bytes(3071)), "1 of 3072 samples are missing"),
        (ALPHA, b"\1" + _raw(bytes(3073)), "damaged transparency: it is too long"),
        (ALPHA, b"\1" + _raw(bytes(1 << 24)), "it is too long"),
        (ALPHA, b"\0" + _raw(bytes(3072)) + b"\0", "it is too long"),
        (ALPHA, b"\0" + _raw(SAMPLES.tobytes())[:-9], "samples are missing"),
        (ALPHA_ROUGH, _raw(b"\x10" * 48), "no encoder writes"),
        (ALPHA_ROUGH, _raw(bytes(47)), "rough transparency: 1 of 48 samples"),
        (EXIF, b"Exif\0\0MM", "damaged EXIF: not zlib"),
        (EXIF, b"", "damaged EXIF: its end is missing"),
        (EXIF, zlib.compress(b"abc")[:-1], "damaged EXIF: its end"),
        (EXIF, zlib.compress(b"abc")[:-1] + b"\0", "not zlib"),
        (XMP, zlib.compress(b"abc") + b"\0", "damaged XMP: it is too long"),
        (XMP, zlib.compress(bytes(17 << 20)), "damaged XMP: it is too long"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sections_that_no_encoder_writes_are_found(kind: int, data: bytes, message: str) -> None:
    """Their check sums fit. All but the last byte says so already, or is a cut file as any other."""
    file = with_extras(join_sections([(kind, data)]), alpha=True)
    assert info(file).complete
    with pytest.raises(DamageError, match=message):
        verify(parse(file))
    with contextlib.suppress(DamageError):
        verify(parse(file[:-1]))


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        (b"\1\x0e" + bytes(10), "a section is longer than all of them"),
        (b"\4", "end inside a section"),
        (b"\x80", "end inside a section"),
        (EXTRAS + b"\5", "end inside a section"),
        (EXTRAS + b"\5\x80", "end inside a section"),
        (b"\4\x80\0", "shortest form"),
        (b"\4" + b"\xff" * 9, "too long"),
    ],
)
def test_lengths_of_sections_add_up(extras: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        verify(parse(with_extras(extras)))


def test_memory_does_not_grow_with_the_image_and_its_pixels_are_limited() -> None:
    extras = join_sections([(ALPHA, b"\0" + _raw(bytes(4000 * 4000)))])
    data = with_extras(extras, width=4000, height=4000, alpha=True)
    tracemalloc.start()
    try:
        assert verify(parse(data)) == ("alpha",)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000
    with pytest.raises(LimitError, match="4000x4000 is more than the limit"):
        verify(parse(data), max_pixels=4000 * 4000 - 1)


def test_a_cut_file_vouches_for_all_but_its_last_block() -> None:
    data = plain(10_000)
    start = info(data).header_bytes
    for cut in (start + 1, start + 4000, start + BLOCK_BYTES, 9000, len(data) - 2, len(data) - 3, len(data)):
        checked = parse(data[:cut]).checked_bytes
        assert cut - BLOCK_BYTES < checked <= cut
        for position in range(start, cut, 7):
            file = parse(changed(data[:cut], position, 1 + position % 255))
            assert (file.state == DAMAGED) == (position < checked), (cut, position)
            if file.state != DAMAGED:
                continue
            assert file.checked_bytes == start + (position - start) // BLOCK_BYTES * BLOCK_BYTES
            with pytest.raises(DamageError, match="wrong check sum"):
                verify(file)
    half = changed(data[:-1], len(data) - 3, 1)  # one byte of the last check sum is there
    assert parse(half).state == DAMAGED
