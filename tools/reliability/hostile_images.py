"""Small image files that declare, or unpack to, much. Most are put together by hand."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

from reliability.hostile_ctc import Maker, zlib_zeros


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, *chunks: bytes, bits: int = 1, data: bytes | None = None) -> bytes:
    """A grey PNG of zeros; chunks come before its samples."""
    rows = zlib.compress(bytes(1 + -(-width * bits // 8)) * height, 9) if data is None else data
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    parts = [head, *chunks, _chunk(b"IDAT", rows), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _checks(side: int) -> bytes:
    """Lines of black and white pixels in turn, as a PNG holds them."""
    pair = [b"\0" + byte * -(-side // 8) for byte in (b"\x55", b"\xaa")]
    return zlib.compress(b"".join(pair) * (side // 2) + pair[0] * (side % 2), 9)


def _tiff(*entries: tuple[int, int, int, int], after: int = 0, count: int | None = None) -> bytes:
    """A TIFF of one directory: tag, type, count and value; ``after``: where the next one is."""
    words = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    number = len(entries) if count is None else count
    return b"II*\0" + struct.pack("<IH", 8, number) + words + struct.pack("<I", after)


def _tags(width: int, height: int, **more: int) -> list[tuple[int, int, int, int]]:
    strip = {"rows": height, "at": 8, "size": 1 << 20, "packed": 1} | more
    return [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, strip["packed"])),
        *((262, 3, 1, 1), (273, 4, 1, strip["at"]), (277, 3, 1, 1)),
        *((278, 4, 1, strip["rows"]), (279, 4, 1, strip["size"])),
    ]


def _saved(kind: str, width: int, height: int, mode: str = "L", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height)).save(out, kind, **options)
    return out.getvalue()


def _gif(width: int, height: int, frames: int) -> bytes:
    """Frames of one pixel on a screen of this size."""
    frame = b"!\xf9\4\0\1\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    return (
        b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b";"
    )


def _icon(width: int, height: int) -> bytes:
    inner = _png(width, height)
    return b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 8, len(inner), 22) + inner


def _icns(width: int, height: int) -> bytes:
    inner = _png(width, height, data=b"")
    return b"icns" + struct.pack(">I", 16 + len(inner)) + b"ic09" + struct.pack(">I", 8 + len(inner)) + inner


def _jpeg_head(width: int, height: int) -> bytes:
    data = bytearray(_saved("JPEG", 64, 64))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def _bmp(width: int, height: int, packed: int) -> bytes:
    """Run-length coded lines that end at once."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, packed, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + head + bytes(1024) + b"\0\1"


def _patched(data: bytes, at: int, layout: str, *values: int) -> bytes:
    """With numbers in place of what is there."""
    new = struct.pack(layout, *values)
    return data[:at] + new + data[at + len(new) :]


def _dds(width: int, height: int) -> bytes:
    return _patched(_saved("DDS", 8, 8, "RGB"), 12, "<II", height, width)


def _jpeg2000(width: int, height: int) -> bytes:
    data = _saved("JPEG2000", 64, 64, no_jp2=True)
    return _patched(_patched(data, 8, ">II", width, height), 24, ">II", width, height)


def files(side: int, bomb: int) -> Iterator[tuple[str, Maker]]:
    """Names with the suffix of their format, and what makes the files.

    side: of the pictures that can be decoded.
    bomb: bytes that parts of a file unpack to.
    """
    zeros, text = zlib_zeros(bomb), zlib_zeros(1 << 20)
    yield "declares 65535x65535.png", lambda: _png(65535, 65535, data=b"")
    yield "declares 2^31 - 1 squared.png", lambda: _png((1 << 31) - 1, (1 << 31) - 1, data=b"")
    yield "blank, one bit.png", lambda: _png(side, side)
    yield "checks, one bit.png", lambda: _png(side, side, data=_checks(side))
    yield "too much for one pixel.png", lambda: _png(1, 1, data=zeros)
    yield "iCCP that is too long.png", lambda: _png(1, 1, _chunk(b"iCCP", b"x\0\0" + zeros))
    yield "iCCP of 15 MiB.png", lambda: _png(1, 1, _chunk(b"iCCP", b"x\0\0" + zlib_zeros(15 << 20)))
    yield "zTXt that is too long.png", lambda: _png(1, 1, _chunk(b"zTXt", b"x\0\0" + zeros))
    yield (
        "iTXt that is too long.png",
        lambda: _png(1, 1, _chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros)),
    )
    yield (
        "1000 zTXt of 1 MiB.png",
        lambda: _png(1, 1, *[_chunk(b"zTXt", b"x%d\0\0" % i + text) for i in range(1000)]),
    )
    yield "a million chunks.png", lambda: _png(1, 1, _chunk(b"tEXt", b"a\0b") * 1_000_000)
    animation = _chunk(b"acTL", struct.pack(">II", (1 << 31) - 1, 0))
    yield "2^31 - 1 frames.png", lambda: _png(1, 1, animation)
    yield "screen of 65535x65535.gif", lambda: _gif(65535, 65535, 1)
    yield "100,000 frames.gif", lambda: _gif(1, 1, 100_000)
    yield "declares 2^31 squared.tif", lambda: _tiff(*_tags(1 << 31, 1 << 31))
    yield "a strip of 4 GiB.tif", lambda: _tiff(*_tags(64, 64, size=(1 << 32) - 1))
    yield (
        "one row in 2^32 - 1.tif",
        lambda: _tiff(*_tags(64, 64, rows=(1 << 32) - 1, size=(1 << 32) - 1, packed=8)),
    )
    yield "a directory that follows itself.tif", lambda: _tiff(*_tags(8, 8, size=64), after=8) + bytes(64)
    yield "65535 entries.tif", lambda: _tiff(*_tags(8, 8), count=65535)
    yield "a tag of 2^32 - 1 values.tif", lambda: _tiff(*_tags(8, 8), (270, 2, (1 << 32) - 1, 8))
    strips = [tag for tag in _tags(8, 8) if tag[0] not in (273, 279)]
    yield "2^31 strips.tif", lambda: _tiff(*strips, (273, 4, 1 << 31, 8), (279, 4, 1 << 31, 8))
    yield "blank, fax.tif", lambda: _saved("TIFF", side, side, "1", compression="group4")
    yield "declares 65500x65500.jpg", lambda: _jpeg_head(65500, 65500)
    yield "blank.webp", lambda: _saved("WEBP", side, side, "RGB", lossless=True)
    yield "blank.jp2", lambda: _saved("JPEG2000", side, side)
    yield "declares 2^31 squared.j2k", lambda: _jpeg2000(1 << 31, 1 << 31)
    yield "declares 13000x13000.j2k", lambda: _jpeg2000(13000, 13000)
    yield "blank, packed by runs.bmp", lambda: _bmp(side, side, 1)
    yield "declares 2^31 - 1 squared.bmp", lambda: _bmp((1 << 31) - 1, (1 << 31) - 1, 1)
    yield "13000x13000.ico", lambda: _icon(13000, 13000)
    yield "60000x60000.ico", lambda: _icon(60000, 60000)
    yield "60000x60000.icns", lambda: _icns(60000, 60000)
    yield "declares 10^9 squared.ppm", lambda: b"P6 1000000000 1000000000 255\n"
    yield "a number without end.ppm", lambda: b"P6 " + b"9" * 1_000_000
    yield "declares 13000x13000.qoi", lambda: b"qoif" + struct.pack(">IIBB", 13000, 13000, 3, 0) + bytes(64)
    yield "declares 65535x65535.dds", lambda: _dds(65535, 65535)
    yield "declares 65535x65535.tga", lambda: _patched(_saved("TGA", 8, 8, "RGB"), 12, "<HH", 65535, 65535)
    yield "declares 13000x13000.sgi", lambda: _patched(_saved("SGI", 8, 8), 6, ">HH", 13000, 13000)
    yield "drawing.svg", lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='999999' height='999999'/>"
    yield "entities.svg", lambda: b"<!DOCTYPE x [<!ENTITY a 'ha'>]><svg xmlns='http://www.w3.org/2000/svg'/>"
    loop = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n{} loop\n"
    yield "a loop.eps", lambda: loop
    yield "an archive.png", lambda: b"PK\3\4" + zeros[:1000]


def large_files() -> Iterator[tuple[str, Maker]]:
    """Blank pictures at the limit of pixels, and a large one that is not blank."""
    yield "blank, 13377x13377.png", lambda: _png(13377, 13377)
    yield "blank, 16383x10922.webp", lambda: _saved("WEBP", 16383, 10922, "RGB", lossless=True)
    yield "checks, 6000x6000.png", lambda: _png(6000, 6000, data=_checks(6000))
