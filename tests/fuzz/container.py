"""The container: check sums, cuts, extras, quality table and alpha, without decoding a trit."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np

from ctc_codec import CtcError, FormatError, LimitError, TargetError
from ctc_codec.container import sections as _sections
from ctc_codec.container.file import DAMAGED, File, Parser, budget_bytes, info, parse, truncate
from ctc_codec.container.header import Header
from ctc_codec.container.quality_table import POINTS, QualityTable
from ctc_codec.container.verify import verify
from ctc_codec.image import transparency as _alpha

from .ctc_files import framed, lzma_raw, mutate_file, section, small_file
from .surface import DATA, Surface, chance_of, cut_up, require, word_of

_ALPHA_PIXELS = 1 << 14
"""Alpha of larger images is left to the decoder's own tests: it takes as long as it is large."""


def _seeds() -> list[bytes]:
    rng = random.Random(2)
    alpha = section(2, lzma_raw(bytes(range(15)))) + section(3, b"\1" + lzma_raw(rng.randbytes(40 * 24)))
    table = section(6, b"\x0f\xa0" + bytes(range(10, 130, 10)))
    golden = [path.read_bytes() for path in sorted(DATA.glob("*.ctc"))]
    return [
        *golden,
        golden[0][:700],
        small_file(rng, 0),
        small_file(rng, 4, table),
        small_file(rng, 4094),
        small_file(rng, 9000, table + alpha, width=40, height=24, flags=2),
        small_file(rng, 300, section(9, b"unknown") + section(4, b"no zlib") + section(6, b"short")),
    ]


def _stream(file: File) -> bytes:
    return _sections.mix(file.code, file.extras, file.header.lead_bytes)


def _check_blocks(data: bytes, rng: random.Random) -> File:
    whole, parser = parse(data), Parser()
    for piece in cut_up(data, rng):
        parser.feed(piece)
    pieces = parser.file()
    require(replace(whole, damage=None) == replace(pieces, damage=None), "in pieces as at once")
    require((whole.damage is None) == (pieces.damage is None), "in pieces as at once: damage")
    header, start, stream = whole.header, whole.header_bytes, _stream(whole)
    require(len(whole.code) <= header.code_bytes, "no more than the code word")
    require(len(whole.extras) <= header.extras_bytes, "no more than the extras")
    require(whole.used_bytes <= len(data) == whole.nbytes, "no more bytes used than there are")
    require(whole.checked_bytes <= whole.used_bytes, "no more bytes checked than used")
    if whole.complete:
        require(whole.damage is None, "what is complete is not damaged")
        require(header.to_bytes() + framed(stream) == data, "a complete file has one way to be written")
    elif whole.damage is None:
        require(framed(stream)[: len(data) - start] == data[start:], "undamaged data are framed as they are")
    part = parse(data[: rng.randrange(start, len(data) + 1)])
    if whole.damage is None:
        require(part.damage is None, "a cut is no damage")
        require(whole.code.startswith(part.code), "a cut's code word is the beginning of the whole")
        require(whole.extras.startswith(part.extras), "a cut's extras are the beginning of the whole")
    else:
        short, long = sorted((_stream(part), stream), key=len)
        require(long.startswith(short), "a cut of damaged data agrees with them")
    return whole


def _check_cuts(data: bytes, header: Header, start: int, rng: random.Random) -> None:
    for count in (rng.randrange(len(data) + 2), start, start - 1):
        try:
            require(truncate(data, nbytes=count) == data[:count], "truncation is slicing")
        except TargetError:
            require(count < start, "bytes that hold the header are a target that is met")
    bpp = rng.choice((rng.expovariate(1), 1e9, math.nan, 0.0))
    try:
        require(truncate(data, bpp=bpp) == data[: budget_bytes(header, bpp=bpp)], "truncation is slicing")
    except TargetError:
        require(not bpp >= 8 * start / (header.width * header.height), "a rate in reach is met")
    for psnr in (rng.uniform(0, 60), rng.choice((-1.0, 0.0, math.inf, -math.inf, 655.35))):
        try:
            out = truncate(data, psnr=psnr)
        except TargetError:
            continue
        require(data.startswith(out) and len(out) >= start, "truncation is slicing")
        held = info(out).psnr
        require(held is None or held >= psnr - 0.011, "a cut to a quality has it")


def _check_table(table: QualityTable, raw: bytes, header: Header, rng: random.Random) -> None:
    again = QualityTable.parse(table.to_bytes())
    require(len(raw) == POINTS + 1, "a quality table has one length")
    require(
        again is not None and max(abs(a - b) for a, b in zip(again.psnr, table.psnr, strict=True)) < 1.01,
        "a quality table is kept",
    )
    if not header.code_bytes:
        return
    position = rng.randrange(header.code_bytes + 1)
    here, more = table.at(position, header.code_bytes), table.at(header.code_bytes, header.code_bytes)
    require(more is not None and (here is None or here <= more), "quality rises with bytes")
    target = rng.uniform(table.psnr[-1] - 1, table.psnr[0] + 0.1)
    found = table.code_bytes_for(target, header.code_bytes)
    require((found is None) == (target > table.psnr[0]), "a quality is met up to that of the whole")
    if found is not None:
        require(0 <= found <= header.code_bytes, "no more than the code word")
        got = table.at(found, header.code_bytes)
        require(got is None or got >= target - 1e-6, "so many bytes have the quality")


def _check_extras(extras: bytes, header: Header, rng: random.Random) -> str:
    """Returns the kinds of sections that are there."""
    kinds = set()
    small = header.width * header.height <= _ALPHA_PIXELS
    alpha = np.full((header.height, header.width), 255, np.uint8) if small else None
    for found in _sections.split_sections(extras):
        kinds.add(f"{found.kind}" if found.kind in range(2, 7) else "other")
        if found.kind == _sections.QUALITY and found.complete:
            table = QualityTable.parse(found.data)
            require((table is None) == (len(found.data) != 14), "a table has 14 bytes")
            if table is not None:
                _check_table(table, found.data, header, rng)
        elif found.kind == _sections.ALPHA_ROUGH and small:
            rough = _alpha.unpack_rough(found.data, header.width, header.height)
            if rough is not None:
                require(rough.shape == (header.height, header.width), "alpha of the image's size")
        elif found.kind == _sections.ALPHA and alpha is not None:
            whole = _alpha.unpack(found.data, alpha)
            part = _alpha.unpack(found.data[: rng.randrange(len(found.data) + 1)], 255 - whole)
            require(whole.shape == part.shape == alpha.shape, "alpha of the image's size")
            known = np.flatnonzero(part != 255 - whole)
            if not np.array_equal(whole, alpha):  # bytes that are no LZMA to their end say nothing
                same = (part == whole).reshape(-1)[: known[-1] + 1 if len(known) else 0]
                require(bool(same.all()), "alpha of a cut is right")
        elif found.kind in (_sections.EXIF, _sections.XMP):
            text = _sections.unpack_text(found.data)
            require(text is None or len(text) <= _sections.MAX_METADATA, "metadata are of limited length")
    return ",".join(sorted(kinds))


def _verified(file: File) -> str:
    """Verify without weights. Returns the state, DAMAGED for sections that no encoder writes."""
    try:
        verify(file, _ALPHA_PIXELS)
    except LimitError:
        return "large"
    except FormatError as error:
        word_of(error)
        return DAMAGED
    require(file.damage is None, "wrong check sums are damage")
    return file.state


def check(data: bytes) -> str:
    rng = chance_of(data)
    try:
        header, start = Header.parse(data)
    except FormatError as error:
        for function in (info, lambda d: truncate(d, nbytes=9)):
            try:
                function(data)
            except type(error):
                continue
            require(False, "what is no file for one is none for all")
        return word_of(error)
    file = _check_blocks(data, rng)
    state = _verified(file)
    try:
        kinds = _check_extras(file.extras, header, rng)
        _check_cuts(data, header, start, rng)
        told = info(data)
    except CtcError as error:
        return word_of(error)
    require((told.complete, told.damage) == (file.complete, file.damage), "what info tells is so")
    require(list(told.quality) == sorted(told.quality), "quality rises with bytes")
    require(all(start <= count <= len(data) for count, _ in told.quality), "of the bytes that are there")
    return f"{state} {kinds}"


SURFACE = Surface("container", _seeds, check, mutate_file, executions=4000)
