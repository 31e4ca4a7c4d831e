"""Verification of a file without its weights: check sums, and the contents of its sections.

The standard library only, in memory that does not grow with the image: what LZMA and zlib unpack is counted
and thrown away.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator

from ..errors import DamageError, FormatError
from . import sections as _sections
from .alpha import CELL, FILTERS, LEFT, PLAIN, TOP_LEVEL
from .file import File
from .header import MAX_PIXELS, Header, check_pixels
from .quality_table import QualityTable
from .sections import Section
from .varint import put_varint

_PIECE = 1 << 16
"""Bytes that are unpacked at a time."""


def verify(file: File, max_pixels: int | None = MAX_PIXELS) -> tuple[str, ...]:
    """Verify all of a file, or of a prefix, that can be; return the names of the sections that it has whole.

    max_pixels: no more transparency is unpacked.

    Raises DamageError for what no encoder writes, LimitError.
    """
    if file.damage is not None:
        raise DamageError(file.damage)
    try:
        sections = []
        for section in _checked_sections(file):
            _verify_section(section, file.header, max_pixels)
            sections.append(section)
        return _sections.names_of(sections)
    except FormatError as error:  # lengths of sections: the check sums fit
        raise DamageError(str(error)) from None


def _checked_sections(file: File) -> Iterator[Section]:
    """The sections, which fill the extras of a file that is not cut. Raises DamageError if they do not."""
    extras, whole = file.extras, file.header.extras_bytes
    at = 0
    for section in file.sections():
        at += len(put_varint(section.kind)) + len(put_varint(len(section.data))) + len(section.data)
        if len(extras) == whole and not section.complete:
            raise DamageError("damaged extras: a section is longer than all of them")
        yield section
    if len(extras) == whole and at != whole:
        raise DamageError("damaged extras: they end inside a section")


def _verify_section(section: Section, header: Header, max_pixels: int | None) -> None:
    """Raise DamageError for what no encoder writes, as far as the section is there. Kinds that are not known
    are passed over."""
    kind, data = section.kind, section.data
    if kind == _sections.QUALITY and section.complete and QualityTable.parse(data) is None:
        raise DamageError("damaged quality table")
    if kind in (_sections.EXIF, _sections.XMP):
        _verify_text(section)
    if kind not in (_sections.ALPHA_ROUGH, _sections.ALPHA):
        return
    width, height = header.width, header.height
    check_pixels(width, height, max_pixels)
    if kind == _sections.ALPHA_ROUGH:
        cells = -(-width // CELL) * -(-height // CELL)
        _verify_samples(data, cells, section.complete, "rough transparency", TOP_LEVEL)
    elif data or section.complete:
        if data[:1] not in (bytes([PLAIN]), bytes([LEFT])):
            raise DamageError("damaged transparency: an unknown prediction")
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
                raise DamageError(f"damaged {what}: a sample that no encoder writes")
            left -= len(out)
            if left < 0 or (not out and decoder.needs_input):
                break
    except (lzma.LZMAError, EOFError):
        raise DamageError(f"damaged {what}: not LZMA") from None
    if left < 0 or decoder.unused_data:
        raise DamageError(f"damaged {what}: it is too long")
    if left and (complete or decoder.eof):
        raise DamageError(f"damaged {what}: {left} of {count} samples are missing")


def _verify_text(section: Section) -> None:
    """EXIF or XMP, or the beginning of it."""
    what = _sections.NAMES[section.kind]
    unpacker = zlib.decompressobj()
    count, data = 0, section.data
    try:
        while data and not unpacker.eof:
            count += len(unpacker.decompress(data, _PIECE))
            data = unpacker.unconsumed_tail
            if count > _sections.MAX_METADATA:
                raise DamageError(f"damaged {what}: it is too long")
    except zlib.error:
        raise DamageError(f"damaged {what}: not zlib") from None
    if section.complete and not unpacker.eof:
        raise DamageError(f"damaged {what}: its end is missing")
    if unpacker.unused_data:
        raise DamageError(f"damaged {what}: it is too long")
