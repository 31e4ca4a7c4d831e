"""EXIF and XMP: into an image upright, out into every format that carries them, and never at its expense."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, features

from ctc_codec.image.open import open_image
from ctc_codec.image.save import image_bytes, image_from_pixels
from ctc_codec.image.source import psnr, source_image
from support.image_samples import (
    SIZE,
    disc,
    exif_with,
    file_of,
    picture,
    rgba,
    saved,
    stored_for,
    tiff,
    turned,
    with_metadata,
    xmp_with,
)

_MAKER = b"Maker of things\0"
_DATE = b"2024:05:06 07:08:09\0"
_CARRIERS = ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"]


def _supported(kind: str) -> None:
    if kind in ("WEBP", "AVIF") and kind.lower() not in features.get_supported():
        pytest.skip(f"this Pillow is without {kind}")


def _orientation_of(exif: bytes) -> int:
    tags = Image.Exif()
    tags.load(exif)
    return int(tags.get(0x0112, 1))


@pytest.mark.parametrize("kind", _CARRIERS)
@pytest.mark.parametrize("orientation", [1, 6])
def test_metadata_are_kept_if_asked_for(kind: str, orientation: int) -> None:
    _supported(kind)
    data = turned(kind, orientation)()
    assert source_image(open_image(data)).exif == b""
    source = source_image(open_image(data), metadata=True)
    assert source.notes == []
    assert source.exif[:4] in (b"II*\0", b"MM\0*")
    assert _MAKER in source.exif
    assert _DATE in source.exif
    assert _orientation_of(source.exif) == 1
    if kind in ("JPEG", "PNG", "WEBP") and orientation == 1:
        assert source.exif == exif_with(1)[6:]  # makers' notes hold offsets: not a byte may move


def test_heic_keeps_its_metadata() -> None:
    heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    heif.from_pillow(Image.fromarray(stored_for(rgba(), 6))).save(
        out, quality=-1, chroma=444, exif=exif_with(6)
    )
    source = source_image(open_image(out.getvalue()), metadata=True)
    assert source.notes == []
    assert source.alpha is not None
    assert np.array_equal(source.alpha, disc())
    assert psnr(source.pixels[disc() > 0], picture()[disc() > 0]) > 40
    assert _orientation_of(source.exif) == 1
    assert _MAKER in source.exif


def test_exif_is_changed_in_the_orientation_alone() -> None:
    for order in "<>":
        tags = Image.Exif()
        tags.endian = order
        tags[0x0112], tags[0x010F], tags[0x8769] = 8, "Maker of things", {0x927C: b"makers' notes"}
        before = tags.tobytes()
        out = io.BytesIO()
        Image.fromarray(picture()).save(out, "JPEG", exif=before)
        after = source_image(open_image(out.getvalue()), metadata=True).exif
        changed = [i for i, (a, b) in enumerate(zip(before[6:], after, strict=True)) if a != b]
        assert len(changed) == 1
        assert _orientation_of(after) == 1


def test_a_tiff_does_not_hand_on_what_it_says_about_its_pixels() -> None:
    data = file_of("TIFF", picture, exif=exif_with(1))()
    tags = Image.Exif()
    tags.load(source_image(open_image(data), metadata=True).exif)
    assert tags[0x010F] == "Maker of things"
    assert tags.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
    assert not {256, 257, 258, 259, 262, 273, 277, 278, 279} & set(tags)


def test_a_tiff_that_says_nothing_has_no_exif() -> None:
    data = tiff([picture().tobytes()], SIZE, [8, 8, 8], 2)
    assert source_image(open_image(data), metadata=True).exif == b""


@pytest.mark.parametrize(
    "xmp",
    [
        xmp_with(6),
        xmp_with(6).replace(b'tiff:Orientation="6"', b"tiff:Orientation = '6'"),
        xmp_with(6).replace(b' tiff:Orientation="6"', b"").replace(
            b"</rdf:RDF>", b"<r><tiff:Orientation> 6</tiff:Orientation></r></rdf:RDF>"
        ),
    ],
)  # fmt: skip
def test_xmp_is_kept_upright(xmp: bytes) -> None:
    out = io.BytesIO()
    Image.fromarray(picture()).save(out, "JPEG", xmp=xmp, quality=98, subsampling=0)
    source = source_image(open_image(out.getvalue()), metadata=True)
    assert source.xmp == xmp.replace(b"6", b"1")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0XX*\0\x08\0\0\0", b"Exif\0\0", b"Exif\0\0II*\0\x99\0\0\0\x02\0"])
def test_broken_metadata_are_dropped(exif: bytes) -> None:
    data = file_of("JPEG", picture, exif=exif)()
    assert source_image(open_image(data)).notes == []
    source = source_image(open_image(data), metadata=True)
    assert source.exif == b""
    assert source.notes in (["EXIF data are broken: dropped"], [])
    assert bool(source.notes) == (len(exif) > 6)


@pytest.mark.parametrize(
    "info", [{"exif": 5}, {"exif": "text"}, {"xmp": 5}, {"Raw profile type exif": "\n\n\nzz"}]
)
def test_metadata_that_are_none_do_no_harm(info: dict[str, object]) -> None:
    image = Image.fromarray(picture())
    image.info.update(info)
    source = source_image(image, metadata=True)
    assert (source.exif, source.xmp) == (b"", b"")


def test_an_orientation_counts_even_where_the_rest_is_broken() -> None:
    exif = bytearray(exif_with(6))
    at = exif.index(b"\x87\x69")
    exif[at + 8 : at + 12] = b"\xff\xff\xff\xf0"  # where EXIF's own directory should be
    image = Image.fromarray(stored_for(picture(), 6))
    data = saved(image, "PNG", exif=bytes(exif))
    assert np.array_equal(source_image(open_image(data), metadata=True).pixels, picture())


@pytest.mark.parametrize("kind", _CARRIERS)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_metadata_are_written(kind: str, mode: str, prefix: bytes) -> None:
    _supported(kind)
    image = with_metadata(mode)
    image.info["exif"] = prefix + exif_with(1)[6:]
    image.info["icc_profile"] = b"is not handed on"
    image.info["dpi"] = (1, 1)
    opened = open_image(image_bytes(image, kind))
    assert "icc_profile" not in opened.info
    source = source_image(opened, metadata=True)
    assert source.notes == []
    assert _MAKER in source.exif
    assert _DATE in source.exif
    assert _orientation_of(source.exif) == 1
    assert source.xmp == xmp_with(1)
    assert source.pixels.shape == (32, 48, 3)
    plain = image_from_pixels(picture())
    nothing = source_image(open_image(image_bytes(plain, kind)), metadata=True)
    assert (nothing.exif, nothing.xmp) == (b"", b"")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("kind", [*_CARRIERS, "BMP", "PPM", "GIF", "TGA"])
@pytest.mark.parametrize(
    "info",
    [
        {"exif": b"no exif"},
        {"exif": b"MM\0*\0\0\0\x08\xff\xff"},
        {"exif": exif_with(1) + bytes(70_000)},
        {"xmp": b"\xff\xfe no text"},
        {"xmp": b"<x>" + bytes(70_000)},
        {"exif": "text", "xmp": 5},
    ],
    ids=["no TIFF", "no tags", "long EXIF", "XMP of bytes", "long XMP", "other types"],
)
def test_what_cannot_be_written_is_left_out(kind: str, info: dict[str, object]) -> None:
    _supported(kind)
    image = Image.fromarray(picture())
    image.info.update(info)
    source = source_image(open_image(image_bytes(image, kind)))
    assert psnr(source.pixels, picture()) > (25 if kind == "GIF" else 40)


def test_long_exif_does_not_take_xmp_with_it() -> None:
    image = with_metadata()
    image.info["exif"] = exif_with(1) + bytes(70_000)
    source = source_image(open_image(image_bytes(image, "JPEG")), metadata=True)
    assert (source.exif, source.xmp) == (b"", xmp_with(1))
