"""Sections: quality table, transparency and metadata beside the picture's colours.

They are sections of one byte stream, the extras, which is mixed into the code word: first comes the beginning
of the code word, enough for a rough picture, then pieces of the extras and of the code word in turn, until
one of them is used up. So a cut at any byte holds something of both. Standard library only.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import iter_unpack

from .varint import get_varint, put_varint

QUALITY, ALPHA_ROUGH, ALPHA, EXIF, XMP = 6, 2, 3, 4, 5
"""Kinds of sections, in the order in which they are written. Readers skip kinds that they do not know. (1
was a quality table that could not fall as steeply.)"""

NAMES = {QUALITY: "quality table", ALPHA: "alpha", EXIF: "EXIF", XMP: "XMP"}

PIECE = 256
"""Bytes of extras and of code word that follow each other in turn."""

MAX_METADATA = 1 << 24
"""No more bytes of EXIF or XMP are kept, or unpacked."""


def lead_bytes(code_bytes: int, width: int, height: int) -> int:
    """Bytes of the code word before the first extras: 256 and 1/32 bit per pixel."""
    return min(code_bytes, 256 + width * height // 256)


def mix(code: bytes, extras: bytes, lead: int) -> bytes:
    """Code word and extras as one stream."""
    out = bytearray(code[:lead])
    at, taken = lead, 0
    while at < len(code) and taken < len(extras):
        out += extras[taken : taken + PIECE] + code[at : at + PIECE]
        taken, at = taken + PIECE, at + PIECE
    return bytes(out + extras[taken:] + code[at:])


def unmix(stream: bytes, code_bytes: int, extras_bytes: int, lead: int) -> tuple[bytes, bytes]:
    """Code word and extras, as far as a prefix of the stream holds them."""
    code, extras, at = bytearray(stream[:lead]), bytearray(), lead
    whole = min(len(stream) - lead, 2 * (code_bytes - lead), 2 * extras_bytes) // (2 * PIECE)
    if whole > 0:
        at += 2 * PIECE * whole
        pairs = list(iter_unpack(f"{PIECE}s{PIECE}s", stream[lead:at]))
        extras += b"".join(pair[0] for pair in pairs)
        code += b"".join(pair[1] for pair in pairs)
    while at < len(stream) and len(code) < code_bytes and len(extras) < extras_bytes:
        end = at + min(PIECE, extras_bytes - len(extras))
        extras += stream[at:end]
        at = end + min(PIECE, code_bytes - len(code))
        code += stream[end:at]
    if len(extras) < extras_bytes:
        end = at + extras_bytes - len(extras)
        extras += stream[at:end]
        at = end
    code += stream[at:]
    return bytes(code), bytes(extras)


def stream_position(code_position: int, extras_bytes: int, lead: int) -> int:
    """Bytes of the stream that hold the first ``code_position`` > 0 bytes of the code word."""
    if code_position <= lead:
        return code_position
    pieces = -(-(code_position - lead) // PIECE)
    return code_position + min(extras_bytes, pieces * PIECE)


@dataclass(frozen=True)
class Section:
    """A section, or the beginning of one.

    kind: QUALITY, ...
    data: its bytes, or the first of them.
    complete: all are there.
    """

    kind: int
    data: bytes
    complete: bool


def join_sections(sections: Iterable[tuple[int, bytes]]) -> bytes:
    """The extras: kind and length (varints) before the bytes of each section."""
    return b"".join(put_varint(kind) + put_varint(len(data)) + data for kind, data in sections)


def split_sections(extras: bytes) -> Iterator[Section]:
    """The sections of a prefix of the extras; the last one may be cut. Raises FormatError for bad lengths."""
    at = 0
    while at < len(extras):
        kind, at = get_varint(extras, at)
        length, at = get_varint(extras, at)
        if kind is None or length is None:
            return
        data = extras[at : at + length]
        yield Section(kind, data, len(data) == length)
        at += length


def first_sections(extras: bytes) -> dict[int, Section]:
    """The first section of every kind, which alone counts. Raises FormatError for bad lengths."""
    found: dict[int, Section] = {}
    for section in split_sections(extras):
        found.setdefault(section.kind, section)
    return found


def names_of(sections: Iterable[Section]) -> tuple[str, ...]:
    """Names of the known sections that are whole, each once."""
    kinds = dict.fromkeys(section.kind for section in sections if section.complete)
    return tuple(NAMES[kind] for kind in kinds if kind in NAMES)


def pack_text(data: bytes) -> bytes:
    """EXIF or XMP as a section holds it: deflated (zlib)."""
    return zlib.compress(data, 9)


def unpack_text(data: bytes) -> bytes | None:
    """Unpack EXIF or XMP; None where the data is not what ``pack_text`` writes, or too long."""
    unpacker = zlib.decompressobj()
    try:
        out = unpacker.decompress(data, MAX_METADATA)
    except zlib.error:
        return None
    return out if unpacker.eof else None
