"""What can be verified of a file without its weights: header, check sums, and the sections of its extras.

The standard library only, in memory that does not grow with the image: what LZMA and zlib unpack is counted
and thrown away.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import FormatError
from . import sections as _extras
from .alpha import CELL, FILTERS, LEFT, PLAIN, TOP_LEVEL
from .blocks import BLOCK_BYTES
from .file import split_stream, unframe
from .header import MAX_PIXELS, Header, check_pixels
from .quality_table import QualityTable
from .varint import put_varint

COMPLETE, CUT, DAMAGED = "complete", "cut", "damaged"

_PIECE = 1 << 16
"""Bytes that are unpacked at a time."""


@dataclass(frozen=True)
class Verdict:
    """Of a file whose header is good.

    state: COMPLETE, CUT (a valid prefix) or DAMAGED; nbytes: bytes present; checked_bytes: so many of the
    first ones have check sums that fit; sections: names of the extras that are there whole; damage: what is
    wrong, or None.
    """

    header: Header
    state: str
    nbytes: int
    checked_bytes: int
    sections: tuple[str, ...] = ()
    damage: str | None = None


def verify(data: bytes, max_pixels: int | None = MAX_PIXELS) -> Verdict:
    """Verify a .ctc file or a prefix of one. ``max_pixels``: no more transparency is unpacked.

    Raises FormatError if the header is none, or is damaged or cut, LimitError.
    """
    header, start = Header.parse(data)
    stream = unframe(data, header, start)
    if stream.damage is not None:
        return Verdict(header, DAMAGED, len(data), stream.used, damage=stream.damage)
    checked = len(data)
    if not stream.complete:
        checked = start + (len(data) - start) // BLOCK_BYTES * BLOCK_BYTES
    extras = split_stream(stream.data, header)[1]
    names: list[str] = []
    try:
        for section in _sections(extras, header.extras_bytes):
            _verify_section(section, header, max_pixels)
            if section.complete and section.kind in _extras.NAMES:
                names.append(_extras.NAMES[section.kind])
    except FormatError as error:  # by who wrote it: the check sums fit
        return Verdict(header, DAMAGED, len(data), checked, tuple(names), str(error))
    return Verdict(header, COMPLETE if stream.complete else CUT, len(data), checked, tuple(names))


def _sections(extras: bytes, whole: int) -> Iterator[_extras.Section]:
    """The sections of extras that have ``whole`` bytes when nothing is cut. Raises FormatError if they do not
    fill them."""
    at = 0
    for section in _extras.split_sections(extras):
        at += len(put_varint(section.kind)) + len(put_varint(len(section.data))) + len(section.data)
        if len(extras) == whole and not section.complete:
            raise FormatError("damaged extras: a section is longer than all of them")
        yield section
    if len(extras) == whole and at != whole:
        raise FormatError("damaged extras: they end inside a section")


def _verify_section(section: _extras.Section, header: Header, max_pixels: int | None) -> None:
    """Raise FormatError for what no encoder writes, as far as the section is there. Kinds that are not known
    are passed over."""
    kind, data = section.kind, section.data
    if kind == _extras.QUALITY and section.complete and QualityTable.parse(data) is None:
        raise FormatError("damaged quality table")
    if kind in (_extras.EXIF, _extras.XMP):
        _verify_text(section)
    if kind not in (_extras.ALPHA_ROUGH, _extras.ALPHA):
        return
    width, height = header.width, header.height
    check_pixels(width, height, max_pixels)
    if kind == _extras.ALPHA_ROUGH:
        cells = -(-width // CELL) * -(-height // CELL)
        _verify_samples(data, cells, section.complete, "rough transparency", TOP_LEVEL)
    elif data or section.complete:
        if data[:1] not in (bytes([PLAIN]), bytes([LEFT])):
            raise FormatError("damaged transparency: an unknown prediction")
        _verify_samples(data[1:], width * height, section.complete, "transparency", 255)


def _verify_samples(data: bytes, count: int, complete: bool, what: str, top: int) -> None:
    """LZMA of ``count`` samples, none above ``top``, or the beginning of it."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS)
    left = count
    try:
        while not decoder.eof:
            out = decoder.decompress(data, min(left + 1, _PIECE))
            data = b""
            if out and max(out) > top:
                raise FormatError(f"damaged {what}: a sample that no encoder writes")
            left -= len(out)
            if left < 0 or (not out and decoder.needs_input):
                break
    except (lzma.LZMAError, EOFError):
        raise FormatError(f"damaged {what}: not LZMA") from None
    if left < 0 or decoder.unused_data:
        raise FormatError(f"damaged {what}: it is too long")
    if left and (complete or decoder.eof):
        raise FormatError(f"damaged {what}: {left} of {count} samples are missing")


def _verify_text(section: _extras.Section) -> None:
    """EXIF or XMP, or the beginning of it."""
    what = _extras.NAMES[section.kind]
    unpacker = zlib.decompressobj()
    count, data = 0, section.data
    try:
        while data and not unpacker.eof:
            count += len(unpacker.decompress(data, _PIECE))
            data = unpacker.unconsumed_tail
            if count > _extras.MAX_METADATA:
                raise FormatError(f"damaged {what}: it is too long")
    except zlib.error:
        raise FormatError(f"damaged {what}: not zlib") from None
    if section.complete and not unpacker.eof:
        raise FormatError(f"damaged {what}: its end is missing")
    if unpacker.unused_data:
        raise FormatError(f"damaged {what}: it is too long")
