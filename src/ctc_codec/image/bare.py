"""Image files without their metadata, for those on which Pillow fails though their pixels are sound."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from .metadata import DROPPED

_MAX_UNPACKED = 16 << 20
"""Bytes of compressed XMP or EXIF that are unpacked; longer ones are dropped."""

_MAX_META = 1 << 20
"""Bytes at the beginning of an AVIF or HEIF file in which its directory is looked for."""

_TRIES = 20
"""Times that a PNG's next chunk is looked for in a file: each costs time in proportion to its length."""

_UNREADABLE = "metadata that cannot be read"

_Parts = Iterator[bytes | memoryview]


def without_metadata(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A file with what the pixels need of another, and entries for ``Image.info`` instead of the rest.

    What turns the picture (EXIF) or says its colours stays where it cannot be at fault. Raises ValueError
    for other formats; damaged files give damaged ones, or struct.error.
    """
    info: dict[str, Any] = {DROPPED: [_UNREADABLE]}
    for start, parts in _FORMATS.items():
        if re.match(start, data, re.DOTALL):
            return b"".join(parts(data, info)), info
    raise ValueError("a format from which nothing is taken")


# --- PNG --------------------------------------------------------------------------------------------

_PNG_PICTURE = (b"IHDR", b"PLTE", b"IDAT")
_PNG_PIXELS = re.compile(rb"IHDR|PLTE|tRNS|IDAT")
_PNG_RISKS = (b"iCCP", b"acTL", b"fcTL", b"fdAT", b"tEXt", b"zTXt", b"iTXt")
"""Chunks on which Pillow may fail: profiles are read elsewhere, and animations left out."""
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_LEAST = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"cICP": 4, b"eXIf": 8}
"""Bytes that chunks have at least."""

_XMP = b"XML:com.adobe.xmp"
_EXIF_AS_TEXT = b"Raw profile type exif"


def _png(data: bytes, info: dict[str, Any]) -> _Parts:
    """Sound chunks on which Pillow cannot fail."""
    view = memoryview(data)
    yield view[:8]
    lost: dict[str, None] = {}
    at, key, tries = 8, {b"\0": 2, b"\2": 6}.get(data[25:26], 1), _TRIES
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 12 + length
        sound = (
            end <= len(data)
            and zlib.crc32(view[at + 4 : end - 4]) == struct.unpack_from(">I", data, end - 4)[0]
        )
        if name == b"IEND":
            break
        least = _LEAST.get(name, 0) if name != b"tRNS" else key
        if name in _PNG_PICTURE or (sound and name not in _PNG_RISKS and length >= least and name.isalpha()):
            yield view[at:end]
        elif sound and name in (b"tEXt", b"zTXt", b"iTXt"):
            if not _read_text(name, data[at + 8 : end - 4], info):
                lost["text"] = None
        elif not sound or name not in _PNG_RISKS:
            lost[_UNREADABLE] = None
            if not _is_chunk(data, end):  # the length is what is damaged
                tries -= 1
                found = _PNG_PIXELS.search(data, at + 8) if tries else None
                end = found.start() - 4 if found else len(data)
        at = end
    info[DROPPED] = list(lost)
    yield _PNG_END


def _read_text(name: bytes, content: bytes, info: dict[str, Any]) -> bool:
    """Hand over XMP, or EXIF that is written as text; whether it was any."""
    if content.startswith(_XMP + b"\0") and name == b"iTXt" and len(content) > 20:
        text = content[20:].split(b"\0", 2)[-1]
        info["xmp"] = _unpacked(text) if content[18] else text
        return bool(info["xmp"])
    if content.startswith(_EXIF_AS_TEXT + b"\0") and name != b"iTXt":
        text = content[22:] if name == b"tEXt" else _unpacked(content[23:])
        info[_EXIF_AS_TEXT.decode()] = text.decode("latin-1")
        return bool(text)
    return False


def _is_chunk(data: bytes, at: int) -> bool:
    name, length = data[at + 4 : at + 8], int.from_bytes(data[at : at + 4], "big")
    return name.isalpha() and at + 12 + length <= len(data)


def _unpacked(packed: bytes) -> bytes:
    """What zlib packed; empty if it is damaged or too long."""
    unpacker = zlib.decompressobj()
    with suppress(zlib.error):
        out = unpacker.decompress(packed, _MAX_UNPACKED)
        if unpacker.eof:
            return out
    return b""


# --- JPEG -------------------------------------------------------------------------------------------

_JPEG_NEEDED = re.compile(
    rb"\xff([\xc0-\xcf\xda-\xdd]|\xe0..JFIF\0..|\xe1..Exif\0\0[IM]|\xe2..ICC_PROFILE\0..|\xee..Adobe)"
    rb"|\xff\xd8\xff",
    re.DOTALL,
)
"""Segments of the picture, of applications those that say how it looks, and the start of a thumbnail."""


def _jpeg(data: bytes, info: dict[str, Any]) -> _Parts:
    """Segments that are needed."""
    view = memoryview(data)
    yield b"\xff\xd8"
    at = 2
    while 2 <= at <= len(data) - 4:
        marker, length = struct.unpack_from(">HH", data, at)
        end = at + 2 + length
        if marker == 0xFFDA:  # the picture; nothing in it is metadata
            yield view[at:]
            return
        if marker == 0xFFD8:  # a thumbnail
            end = data.find(b"\xff\xd9", at) + 2
        elif data[end : end + 1] != b"\xff":  # the length is damaged, or this is no segment
            found = _JPEG_NEEDED.search(data, at + 1)
            end = found.start() if found else len(data)
        elif _JPEG_NEEDED.match(data, at, end):
            yield view[at:end]
        at = end


# --- GIF, WebP, AVIF --------------------------------------------------------------------------------


def _gif(data: bytes, info: dict[str, Any]) -> _Parts:
    """The first picture, with what is transparent in it. Text and applications are left out."""
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    size = struct.unpack_from("<HH", data, 6)
    view = memoryview(data)
    yield view[:at]
    for found in re.compile(rb"(!\xf9\x04.{4}\0)?,(.{8})", re.DOTALL).finditer(data, at):
        left, top, width, height = struct.unpack("<HHHH", found[2])
        if width and height and left + width <= size[0] and top + height <= size[1]:
            yield view[found.start() :]
            return


_WEBP_NAMES = re.compile(rb"VP8[ LX]|ALPH|ANIM|ANMF|ICCP|EXIF|XMP ")


def _webp(data: bytes, info: dict[str, Any]) -> _Parts:
    """Chunks of the picture, in a new RIFF container."""
    at, kept = 12, []
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + (length & 1)
        if name == b"VP8X":
            # Neither a profile, nor EXIF, nor XMP.
            kept += [data[at : at + 8] + bytes([data[at + 8] & ~0x2C]) + data[at + 9 : end]]
        elif name in (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"):
            kept += [data[at:end]]
        elif end != len(data) and not _WEBP_NAMES.match(data, end):
            found = _WEBP_NAMES.search(data, at + 8)
            end = found.start() if found else len(data)  # the length is what is damaged
        at = end
    body = b"".join(kept)
    yield b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _avif(data: bytes, info: dict[str, Any]) -> _Parts:
    """All of it, but EXIF, XMP and profiles under names that mean nothing: offsets must stay as they are."""
    end = min(len(data), _MAX_META)
    meta = re.sub(rb"(infe\x02.{7}|infe\x03.{9})(Exif|mime)", rb"\g<1>free", data[:end], flags=re.DOTALL)
    yield re.sub(rb"colr(?!nclx)", b"free", meta)
    yield memoryview(data)[end:]


# --- TIFF, PSD, JPEG 2000 and XL --------------------------------------------------------------------

_TIFF_PIXELS = frozenset(
    # Sizes, samples, strips, tiles, palette, extra samples, JPEG's tables, YCbCr; the turn; the profile.
    number
    for first, last in (
        *((254, 259), (262, 262), (266, 266), (273, 274), (277, 279), (284, 284), (292, 293), (317, 317)),
        *((320, 325), (332, 332), (338, 339), (347, 347), (512, 521), (529, 532), (34675, 34675)),
    )
    for number in range(first, last + 1)
)


def _tiff(data: bytes, info: dict[str, Any]) -> _Parts:
    """The first directory with the tags that pixels need, in its place, and no further one."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    head, entry, number = (8, 20, "Q") if big else (4, 12, "I")
    (at,) = struct.unpack_from(order + number, data, head)
    counter = "Q" if big else "H"
    (count,) = struct.unpack_from(order + counter, data, at)
    start = at + struct.calcsize(counter)
    count = min(count, (len(data) - start) // entry)
    entries = [data[start + i * entry : start + (i + 1) * entry] for i in range(count)]
    kept = [e for e in entries if struct.unpack_from(order + "H", e)[0] in _TIFF_PIXELS]
    view = memoryview(data)
    yield view[:at]
    yield struct.pack(order + counter, len(kept)) + b"".join(kept) + bytes(struct.calcsize(number))
    yield view[start + len(kept) * entry + struct.calcsize(number) :]


def _psd(data: bytes, info: dict[str, Any]) -> _Parts:
    """Header, colours and picture, without resources and layers."""
    view, at = memoryview(data), 26
    sections = []
    for _ in range(3):
        (length,) = struct.unpack_from(">I", data, at)
        sections.append(view[at : at + 4 + length])
        at += 4 + length
    yield view[:26]
    yield sections[0]
    yield bytes(8)
    yield view[at:]


def _jpegxl(data: bytes, info: dict[str, Any]) -> _Parts:
    """The signature's box, and those that hold the code stream."""
    view, at = memoryview(data), 0
    while at + 16 <= len(data):
        length, name, long = struct.unpack_from(">I4sQ", data, at)
        end = at + (long if length == 1 else length) if length else len(data)
        if name in (b"JXL ", b"ftyp", b"jxll", b"jxlc", b"jxlp"):
            yield view[at:end]
        elif end > len(data) and (found := re.compile(rb"jxl[cp]").search(data, at + 8)):
            end = found.start() - 4  # the length is what is damaged
        at = max(end, at + 8)


def _jpeg2000(data: bytes, info: dict[str, Any]) -> _Parts:
    """The code stream alone, unless a box holds its palette."""
    start = data.find(b"\xff\x4f\xff\x51")
    yield data if start < 0 or b"pclr" in data[:start] else memoryview(data)[start:]


_FORMATS: dict[bytes, Callable[[bytes, dict[str, Any]], _Parts]] = {
    rb"\x89PNG\r\n\x1a\n": _png,
    rb"\xff\xd8": _jpeg,
    rb"GIF8": _gif,
    rb"RIFF....WEBP": _webp,
    rb"....ftyp(avi[fs]|he|mi|ms)": _avif,
    rb"II[*+]\0|MM\0[*+]": _tiff,
    rb"8BPS": _psd,
    rb"\0\0\0\x0cjP  ": _jpeg2000,
    rb"\0\0\0\x0cJXL ": _jpegxl,
}
"""By a file's first bytes."""
