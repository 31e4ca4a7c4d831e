"""Damage to metadata leaves the pixels: broken, huge and unknown parts of files of every kind."""

from __future__ import annotations

import random
import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ctc_codec.errors import CtcError, InputError
from ctc_codec.image.bare import without_metadata
from ctc_codec.image.metadata import DROPPED
from ctc_codec.image.open import open_image
from ctc_codec.image.source import source_image
from support.image_kinds import Kind
from support.image_samples import (
    DISPLAY_P3,
    SIZE,
    SRGB,
    animated_gif,
    chunk,
    exif_with,
    few_expected,
    frames,
    palette_image,
    picture,
    png,
    psd,
    rgb_profile,
    saved,
    shades,
    srgb_of_rgb,
    tiff,
    trns,
    turned,
    xmp_with,
)


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(open_image(data).convert("RGB"))


# --- PNG --------------------------------------------------------------------------------------------

_LONG = zlib.compress(b"a long line " * 200_000)


def _wrong_crc(name: bytes, data: bytes) -> bytes:
    return chunk(name, data)[:-4] + b"oops"


def _wrong_length(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 1 << 30) + chunk(name, data)[4:]


_PNG_CHUNKS = {
    "long zTXt": chunk(b"zTXt", b"Comment\0\0" + _LONG),
    "long iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0" + _LONG),
    "long iCCP": chunk(b"iCCP", b"name\0\0" + _LONG),
    "zTXt of an unknown compression": chunk(b"zTXt", b"Comment\0\7" + _LONG[:50]),
    "iCCP of an unknown compression": chunk(b"iCCP", b"name\0\7" + _LONG[:50]),
    "iCCP without a name": chunk(b"iCCP", b"name"),
    "empty iCCP": chunk(b"iCCP", b""),
    "text for Pillow's own use": chunk(b"tEXt", b"bbox\0none"),
    "short tRNS": chunk(b"tRNS", b"\0\1"),
    "short gAMA": chunk(b"gAMA", b"\0\1"),
    "short cHRM": chunk(b"cHRM", bytes(12)),
    "empty sRGB": chunk(b"sRGB", b""),
    "short pHYs": chunk(b"pHYs", bytes(3)),
    "empty eXIf": chunk(b"eXIf", b""),
    "short tIME": chunk(b"tIME", b"\1"),
    "short acTL": chunk(b"acTL", b"\0"),
    "acTL of no frames": chunk(b"acTL", bytes(8)),
    "two acTL": chunk(b"acTL", b"\0\0\0\2\0\0\0\0") * 2,
    "fcTL out of order": chunk(b"fcTL", b"\0\0\0\7" + bytes(22)),
    "fcTL of a larger frame": chunk(b"fcTL", struct.pack(">IIIII6x", 0, 900, 900, 0, 0)),
    **{
        f"{name.decode()}, wrong check sum": _wrong_crc(name, bytes(9))
        for name in (b"pHYs", b"tRNS", b"xxXx")
    },
    "wrong length": _wrong_length(b"tEXt", b"Comment\0hello"),
    "wrong length, unknown chunk": _wrong_length(b"xxXx", bytes(90)),
    "a chunk of no name": struct.pack(">I", 0) + b"\1\2\3\4" + bytes(4),
}


@pytest.mark.parametrize("name", _PNG_CHUNKS)
def test_chunks_before_the_pixels(name: str) -> None:
    data = png(picture(), 8, 2, _PNG_CHUNKS[name])
    assert np.array_equal(_pixels(data), picture())
    assert source_image(open_image(data), metadata=True).alpha is None


@pytest.mark.parametrize("name", _PNG_CHUNKS)
@pytest.mark.parametrize("after", [False, True])
def test_chunks_behind_the_pixels(name: str, after: bool) -> None:
    data = png(picture(), 8, 2)
    end = len(data) if after else len(data) - 12
    assert np.array_equal(_pixels(data[:end] + _PNG_CHUNKS[name] + data[end:]), picture())


def test_what_a_png_keeps_without_its_text() -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + _LONG)
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + b" " * 2_000_000 + b"</x:xmpmeta>"
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet))
    profile = chunk(b"iCCP", b"P3\0\0" + zlib.compress(rgb_profile(DISPLAY_P3, 2.2)))
    data = png(picture(), 8, 2, text, xmp, profile, trns(1, 2, 3), chunk(b"pHYs", bytes(8) + b"\1"))
    image = open_image(data)
    assert image.info["xmp"] == packet
    assert image.info[DROPPED] == ["text"]
    assert image.info["transparency"] == (1, 2, 3)
    source = source_image(image, metadata=True)
    assert source.xmp
    assert any("Test RGB" in note for note in source.notes)
    assert np.abs(source.pixels.astype(int) - srgb_of_rgb(picture(), DISPLAY_P3, 2.2)).max() <= 2


def test_what_a_png_loses_is_named() -> None:
    broken = _wrong_crc(b"pHYs", bytes(9))
    for extra, lost in (
        (b"", []),
        (broken, ["metadata that cannot be read"]),
        (_PNG_CHUNKS["long zTXt"], ["text"]),
    ):
        image = open_image(png(picture(), 8, 2, _PNG_CHUNKS["long iCCP"], extra, chunk(b"caBX", b"claim")))
        assert image.info[DROPPED] == lost
        notes = source_image(image, metadata=True).notes
        assert f"not kept: {', '.join([*lost, 'C2PA'])}" in notes


def test_long_xmp_is_dropped() -> None:
    packet = zlib.compress(bytes(17 << 20))
    data = png(picture(), 8, 2, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packet))
    source = source_image(open_image(data), metadata=True)
    assert source.xmp == b""
    assert np.array_equal(source.pixels, picture())


@pytest.mark.parametrize("name", [b"tEXt", b"zTXt"])
def test_a_turn_that_stands_in_text(name: bytes) -> None:
    exif = exif_with(8)
    words = f"\nexif\n{len(exif):8}\n{exif.hex()}\n".encode()
    words = words if name == b"tEXt" else b"\0" + zlib.compress(words)
    upright = np.rot90(picture())
    text = chunk(name, b"Raw profile type exif\0" + words)
    data = png(
        np.ascontiguousarray(np.rot90(upright, -1)), 8, 2, text, chunk(b"zTXt", b"Comment\0\0" + _LONG)
    )
    assert np.array_equal(source_image(open_image(data)).pixels, np.rot90(picture()))


def test_the_pixels_themselves_are_checked_as_before() -> None:
    data = bytearray(png(picture(), 8, 2, chunk(b"zTXt", b"Comment\0\0" + _LONG)))
    data[-40] ^= 255
    with pytest.raises(InputError, match=r"damaged image|cannot open"):
        open_image(bytes(data))
    with pytest.raises(InputError):
        open_image(b"\x89PNG\r\n\x1a\n" + _PNG_CHUNKS["long zTXt"] + chunk(b"IEND", b""))


# --- damage to metadata of every kind ---------------------------------------------------------------


def _profile() -> bytes:
    return rgb_profile(SRGB, 2.2)


def _with_all(kind: str, **options: object) -> bytes:
    everything = {"exif": exif_with(1), "xmp": xmp_with(1), "icc_profile": _profile(), "dpi": (300, 300)}
    return saved(Image.fromarray(picture()), kind, **everything, **options)


def _png_file() -> tuple[bytes, list[tuple[int, int]]]:
    info = PngInfo()
    info.add_text("Comment", "hello " * 9, zip=True)
    info.add(b"tIME", bytes(7))
    info.add(b"bKGD", bytes(6))
    data = _with_all("PNG", pnginfo=info)
    return data, [(33, data.index(b"IDAT") - 4)]


def _animated_png() -> tuple[bytes, list[tuple[int, int]]]:
    data = frames("PNG")()
    return data, [(33, data.index(b"IDAT") - 4)]


def _jpeg() -> tuple[bytes, list[tuple[int, int]]]:
    data = _with_all("JPEG", quality=90, comment=b"hello")
    resources = b"Photoshop 3.0\0" + b"8BIM\3\xed\0\0\0\0\0\x10" + bytes(16) + b"8BIM\4\4\0\0\0\0\0\2ab"
    data = data[:2] + b"\xff\xed" + struct.pack(">H", 2 + len(resources)) + resources + data[2:]
    return data, [(2, data.index(b"\xff\xdb"))]


def _mpo() -> tuple[bytes, list[tuple[int, int]]]:
    data = frames("MPO", exif=exif_with(1))()
    return data, [(2, data.index(b"\xff\xdb"))]


def _webp() -> tuple[bytes, list[tuple[int, int]]]:
    data = _with_all("WEBP", lossless=True)
    return data, [(30, data.index(b"VP8L")), (data.index(b"EXIF"), len(data))]


def _gif() -> tuple[bytes, list[tuple[int, int]]]:
    data = saved(palette_image(), "GIF", comment=b"hello there")
    comment = data.index(b"!\xfe")
    return data, [(comment, comment + 14)]


def _tiff() -> tuple[bytes, list[tuple[int, int]]]:
    words = {270: "description", 305: "program", 700: xmp_with(1), 33723: b"words " * 9}
    data = _with_all("TIFF", tiffinfo=words)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = range(start + 2, start + 2 + 12 * count, 12)
    loose = (*words, 282, 283, 296, 34665, 34675)
    places = [(at + 2, at + 12) for at in entries if struct.unpack_from("<H", data, at)[0] in loose]
    return data, [*places, (entries.stop, entries.stop + 4)]


def _avif() -> tuple[bytes, list[tuple[int, int]]]:
    data = _with_all("AVIF", quality=90)
    exif, packet, profile = (
        data.index(exif_with(1)[6:14]),
        data.index(b"<x:xmpmeta"),
        data.index(b"acsp") - 36,
    )
    return data, [(exif, exif + 40), (packet, packet + 90), (profile, profile + len(_profile()))]


def _jpeg2000() -> tuple[bytes, list[tuple[int, int]]]:
    data = saved(Image.fromarray(picture()), "JPEG2000")
    stream, colours = data.index(b"jp2c") - 4, data.index(b"colr") + 4
    return data[:stream] + struct.pack(">I4s30x", 38, b"uuid") + data[stream:], [
        (colours, colours + 7),
        (stream, stream + 38),
    ]


def _psd() -> tuple[bytes, list[tuple[int, int]]]:
    resources = b"".join(
        b"8BIM" + struct.pack(">HxxI", number, len(content)) + content
        for number, content in ((1039, _profile()), (1005, bytes(16)), (1028, b"abcd"))
    )
    data = psd(picture(), 3)
    return data[:30] + struct.pack(">I", len(resources)) + resources + data[34:], [(34, 34 + len(resources))]


def _bmp() -> tuple[bytes, list[tuple[int, int]]]:
    return saved(Image.fromarray(picture()), "BMP", dpi=(300, 300)), [(2, 10), (34, 46), (50, 54)]


_DAMAGED: dict[str, tuple[Callable[[], tuple[bytes, list[tuple[int, int]]]], str | None]] = {
    "PNG": (_png_file, None),
    "PNG, animated": (_animated_png, None),
    "JPEG": (_jpeg, None),
    "MPO": (_mpo, None),
    "WebP": (_webp, "webp"),
    "GIF": (_gif, None),
    "TIFF": (_tiff, None),
    "AVIF": (_avif, "avif"),
    "JPEG 2000": (_jpeg2000, "jpg_2000"),
    "PSD": (_psd, None),
    "BMP": (_bmp, None),
}


@pytest.mark.parametrize("kind", _DAMAGED)
def test_damage_to_metadata_leaves_the_pixels(kind: str) -> None:
    make, codec = _DAMAGED[kind]
    if not Kind(kind, bytes, codec=codec, since=12 if kind == "MPO" else 11).available:
        pytest.skip("this Pillow reads no such file")
    data, places = make()
    expected = _pixels(data)
    rng = random.Random(kind)
    for _ in range(150):
        damaged = bytearray(data)
        first, end = rng.choice(places)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(first, end)
            count = min(rng.choice((1, 4)), end - at)
            damaged[at : at + count] = rng.choice((bytes(count), b"\xff" * count, rng.randbytes(count)))
        try:
            got = _pixels(bytes(damaged))
        except CtcError as error:
            pytest.fail(f"{error}: {damaged.hex()}")
        assert np.array_equal(got, expected), damaged.hex()


# --- single cases -----------------------------------------------------------------------------------


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 255, marker, 2 + len(content)) + content


@pytest.mark.parametrize(
    "segment",
    [
        _segment(0xED, b"Photoshop 3.0\x008BIM\3\xed"),
        _segment(0xED, b"Photoshop 3.0\x008BIM\3\xed\xff"),
        _segment(0xE2, b"ICC_PROFILE\0"),
        _segment(0xE2, b"ICC_PROFILE\0\1\2half a profile"),
        _segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
        _segment(0xE2, b"MPF\0no such thing"),
        _segment(0xE1, b"Exif\0\0"),
        _segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
        _segment(0xE0, b"JFIF\0"),
        _segment(0xFE, b""),
        b"\xff\xe1\0\0",
        b"\xff\xe4\xff\xff",
        b"\xff\xe4\0\1hello",
        b"noise",
    ],
)
def test_segments_of_a_jpeg(segment: bytes) -> None:
    data = saved(Image.fromarray(picture()), "JPEG", quality=90)
    for at in (2, data.index(b"\xff\xdb"), data.index(b"\xff\xc4")):
        assert np.array_equal(_pixels(data[:at] + segment + data[at:]), _pixels(data))


def test_a_jpeg_is_turned_though_other_parts_are_damaged() -> None:
    data = turned("JPEG", 6, quality=98, subsampling=0)()
    broken = data[:2] + b"\xff\xe4\xff\xff" + data[2:]
    assert np.array_equal(source_image(open_image(broken)).pixels, source_image(open_image(data)).pixels)


def test_the_thumbnail_in_a_damaged_part_is_not_the_picture() -> None:
    data = saved(Image.fromarray(picture()), "JPEG", quality=90)
    thumbnail = saved(Image.fromarray(picture(16, 8)), "JPEG")
    segment = bytearray(_segment(0xE1, exif_with(1) + thumbnail + bytes(9)))
    segment[2:4] = b"\xff\xf0"
    broken = data[:20] + bytes(segment) + data[20:]
    assert open_image(data[:20] + _segment(0xE1, exif_with(1) + thumbnail) + data[20:]).size == SIZE
    assert np.array_equal(_pixels(broken), _pixels(data))


def test_what_is_transparent_in_a_gif_stays_so() -> None:
    data = saved(palette_image(), "GIF", transparency=1, comment=b"hello there")
    comment = data.index(b"!\xfe") + 2
    for broken in (data[:comment] + b"\xff" + data[comment + 1 :], data[:comment] + data[comment + 5 :]):
        source = source_image(open_image(broken))
        assert source.alpha is not None
        assert np.array_equal(source.alpha == 0, (few_expected() == few_expected()[0, 8]).all(axis=2))
    assert np.array_equal(_pixels(animated_gif()), few_expected())


@pytest.mark.parametrize("big", [False, True])
def test_tags_of_a_tiff_that_cannot_be_read(big: bool) -> None:
    data = saved(Image.fromarray(picture()), "TIFF", big_tiff=big, tiffinfo={305: "a program's name"})
    if big and data[2] != 43:
        pytest.skip("this Pillow writes no BigTIFF")
    name = data.index(struct.pack("<HHQ" if big else "<HHI", 305, 2, 17))
    for kind, count in ((99, 1), (2, 0xFFFFFFFF), (12, 0x7FFFFFFF), (13, 17)):
        broken = bytearray(data)
        struct.pack_into("<HQ" if big else "<HI", broken, name + 2, kind, count)
        assert np.array_equal(_pixels(bytes(broken)), picture())


def test_nothing_is_taken_from_other_formats() -> None:
    for data in (b"", b"hello", saved(Image.fromarray(picture()), "BMP")):
        with pytest.raises(ValueError, match="format"):
            without_metadata(data)


@pytest.mark.parametrize("start", ["PNG", "JPEG", "GIF", "TIFF", "PSD"])
def test_noise_behind_a_signature(start: str) -> None:
    rng = np.random.default_rng(4)
    data = psd(shades()[..., None].repeat(3, axis=2), 3) if start == "PSD" else None
    data = data or saved(Image.fromarray(shades()), start)
    for length in (4, 8, 12, 30, 60):
        with pytest.raises(InputError):
            open_image(data[:length])
        with pytest.raises(CtcError):
            open_image(data[:length] + rng.bytes(300))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "part"),
    [
        (b"\x89PNG\r\n\x1a\n", b"\0\0\0\1tRNS\0\0\0\0\0"),
        (b"\x89PNG\r\n\x1a\n", b"\0\x0f\0\0tRNS"),
        (b"\x89PNG\r\n\x1a\n", bytes(13)),
        (b"\xff\xd8\xff\xe1", b"\xff\xe1\xff\xff"),
        (b"\xff\xd8\xff\xe1", b"\xff\xd8\xff"),
        (b"\xff\xd8\xff\xe1", b"\xff\xc4"),
        (b"RIFF\xff\xff\xff\xffWEBP", b"what\1\0\0\0"),
        (b"RIFF\xff\xff\xff\xffWEBP", b"VP8L\0\0\0\0"),
        (b"GIF89a\0\0\0\0\0\0\0", b","),
        (b"GIF89a\0\0\0\0\0\0\0", b"!\xf9\4"),
        (b"II*\0\x08\0\0\0", b"\xff\xff"),
        (b"\0\0\0\x18ftypavif", b"colrinfe\2"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", bytes(8)),
        (b"\0\0\1\0\xff\xff", b"\x16\0\0\0" * 4),
        (b"icns", b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_damage_without_end_takes_no_time(start: bytes, part: bytes) -> None:
    data = start + part * (2_000_000 // len(part))
    begin = time.perf_counter()
    with pytest.raises(CtcError):
        open_image(data)
    assert time.perf_counter() - begin < 10  # a second, mostly Pillow's; what is quadratic takes hours


def test_a_tiff_of_broken_pixels_stays_an_error() -> None:
    with pytest.raises(InputError):
        open_image(tiff([b"few"], (48, 32), [8, 8, 8], 2))
