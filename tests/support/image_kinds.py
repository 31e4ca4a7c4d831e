"""Kinds of image file, with the pixels, alpha, notes or error that must come of each: ``KINDS``."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, __version__, features

from support.image_samples import (
    ADOBE_RGB,
    DISPLAY_P3,
    SIZE,
    SRGB,
    Array,
    animated_gif,
    black_and_white,
    chunk,
    cmyk_profile,
    disc,
    exif_with,
    few_colours,
    few_expected,
    file_of,
    frames,
    grey3,
    grey_profile,
    image_of,
    ink_patches,
    ink_patches_expected,
    inks,
    la,
    lab_expected,
    palette_image,
    picture,
    plain_rgb_of_cmyk,
    png,
    png_with_raw_exif,
    png_with_xmp,
    premultiplied,
    psd,
    psd_of_1_bit,
    rgb_profile,
    rgba,
    saved,
    shades,
    srgb_like_profile,
    srgb_of_grey,
    srgb_of_rgb,
    tiff,
    tiff_lab,
    tiff_lab_grey,
    tiff_lab_grey_expected,
    tiff_of_12_bits,
    tiff_of_tiles,
    to_eight,
    trns,
    turned,
    wide_disc,
    wide_grey,
    wide_picture,
    wide_tiff,
    ycc_samples,
)


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    name: shown by the test.
    make: its bytes.
    size: width and height that come out.
    grey: whether the pixels that come out are grey.
    alpha: whether alpha comes out.
    error: words of the error, for files that are refused.
    notes: words of each note, in order.
    expected: sRGB, uint8 [height, width, 3], compared where alpha is above 0.
    floor: PSNR in dB that must be reached; inf: exactly.
    seen: alpha, [height, width], to the same floor.
    codec: needed in Pillow: a name of :func:`PIL.features.check`'s, a format in capitals that it must be able
        to write, or "pillow_jxl".
    since: the first major version of Pillow that reads it.
    """

    name: str
    make: Callable[[], bytes]
    size: tuple[int, int] = SIZE
    grey: bool = False
    alpha: bool = False
    error: str | None = None
    notes: tuple[str, ...] = ()
    expected: Callable[[], Array] | None = None
    floor: float = float("inf")
    seen: Callable[[], Array] | None = None
    codec: str | None = None
    since: int = 11

    @property
    def available(self) -> bool:
        """Whether this Pillow can make the file and read it."""
        if int(__version__.split(".")[0]) < self.since:
            return False
        if self.codec == "pillow_jxl":
            return _importable(self.codec)
        if self.codec is not None and self.codec.isupper():
            Image.init()
            return self.codec in Image.SAVE
        return self.codec is None or self.codec in features.get_supported()

    def __str__(self) -> str:
        return self.name


def _importable(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def _greys() -> Array:
    return grey3(shades())


def _exact(name: str, make: Callable[[], bytes], **changes: object) -> Kind:
    return Kind(name, make, **{"expected": picture, **changes})  # type: ignore[arg-type]


def _grey(name: str, make: Callable[[], bytes], **changes: object) -> Kind:
    return Kind(name, make, **{"expected": _greys, "grey": True, **changes})  # type: ignore[arg-type]


def _clear(name: str, make: Callable[[], bytes], **changes: object) -> Kind:
    return _exact(name, make, **{"alpha": True, "seen": disc, **changes})


def _lossy(name: str, make: Callable[[], bytes], floor: float, **changes: object) -> Kind:
    return _exact(name, make, floor=floor, **changes)


def _refused(name: str, make: Callable[[], bytes], error: str, **changes: object) -> Kind:
    return Kind(name, make, error=error, **changes)  # type: ignore[arg-type]


_16 = ("16-bit",)
_CMYK = ("without a colour profile",)


# --- PNG --------------------------------------------------------------------------------------------


def _index_alpha(*alphas: int) -> Array:
    return np.array([*alphas, *[255] * (6 - len(alphas))])[few_colours()[0]]


def _key(samples: Array, *colour: int) -> Array:
    """Alpha that is 0 where samples have this colour."""
    return np.where((samples.reshape(*samples.shape[:2], -1) == colour).all(axis=2), 0, 255)


_CORNER = (230, 40, 60)
"""A colour of many of the picture's pixels."""

_GREYS_AND_MAGENTA = few_colours()[1].repeat(3, axis=1)[:, :3]
_GREYS_AND_MAGENTA[1] = (255, 0, 255)

_PNG = [
    _exact("PNG", file_of("PNG", picture)),
    _exact("PNG, interlaced", lambda: png(picture(), 8, 2, interlaced=True)),
    _exact("PNG, opaque alpha", file_of("PNG", lambda: np.dstack([picture(), np.full_like(shades(), 255)]))),
    _clear("PNG, alpha", file_of("PNG", rgba)),
    _clear(
        "PNG, transparent everywhere",
        file_of("PNG", lambda: np.dstack([picture(), 0 * disc()])),
        grey=True,
        notes=("nothing of this picture is visible",),
        seen=lambda: 0 * disc(),
    ),
    _grey("PNG, grey", file_of("PNG", shades)),
    _grey("PNG, grey, alpha", file_of("PNG", la), alpha=True, seen=disc),
    _grey(
        "PNG, black and white",
        lambda: saved(Image.fromarray(black_and_white()).convert("1"), "PNG"),
        expected=lambda: grey3(black_and_white()),
    ),
    _grey("PNG, 2-bit grey", lambda: png(shades() >> 6, 2, 0), expected=lambda: grey3((shades() >> 6) * 85)),
    _grey(
        "PNG, 4-bit grey, interlaced",
        lambda: png(shades() >> 4, 4, 0, interlaced=True),
        expected=lambda: grey3((shades() >> 4) * 17),
    ),
    _grey(
        "PNG, grey, colour key",
        lambda: png(shades(), 8, 0, trns(230)),
        alpha=True,
        seen=lambda: _key(shades(), 230),
    ),
    _grey(
        "PNG, 4-bit grey, colour key",
        lambda: png(shades() >> 4, 4, 0, trns(5)),
        expected=lambda: grey3((shades() >> 4) * 17),
        alpha=True,
        seen=lambda: _key(shades() >> 4, 5),
    ),
    _grey(
        "PNG, black and white, colour key",
        lambda: png(black_and_white() >> 7, 1, 0, trns(1)),
        expected=lambda: grey3(black_and_white()),
        alpha=True,
        seen=lambda: _key(black_and_white(), 255),
    ),
    _clear(
        "PNG, colour key",
        lambda: png(picture(), 8, 2, trns(*_CORNER)),
        seen=lambda: _key(picture(), *_CORNER),
    ),
    _exact("PNG, colour key of no pixel", lambda: png(picture(), 8, 2, trns(1, 2, 3))),
    _exact("PNG, palette", lambda: saved(palette_image(), "PNG"), expected=few_expected),
    _exact(
        "PNG, 4-bit palette, interlaced",
        lambda: png(few_colours()[0], 4, 3, chunk(b"PLTE", few_colours()[1].tobytes()), interlaced=True),
        expected=few_expected,
    ),
    _clear(
        "PNG, palette, one colour transparent",
        lambda: saved(palette_image(), "PNG", transparency=2),
        expected=few_expected,
        seen=lambda: _index_alpha(255, 255, 0),
    ),
    _clear(
        "PNG, palette, alpha",
        lambda: saved(palette_image(), "PNG", transparency=bytes([255, 128, 0, 9])),
        expected=few_expected,
        seen=lambda: _index_alpha(255, 128, 0, 9),
    ),
    _grey(
        "PNG, palette of greys",
        lambda: saved(palette_image(few_colours()[1].repeat(3, axis=1)[:, :3]), "PNG"),
        expected=lambda: grey3(few_expected()[..., 0]),
    ),
    _grey(
        "PNG, palette of greys, transparent magenta",
        lambda: saved(palette_image(_GREYS_AND_MAGENTA), "PNG", transparency=1),
        expected=lambda: grey3(few_expected()[..., 0]),
        alpha=True,
        seen=lambda: _index_alpha(255, 0),
    ),
    _grey(
        "PNG, 16-bit grey",
        file_of("PNG", wide_grey),
        expected=lambda: grey3(to_eight(wide_grey())),
        notes=_16,
    ),
    _grey(
        "PNG, 16-bit grey, colour key",
        lambda: png(wide_grey(), 16, 0, trns(7 + 42 * 500)),
        expected=lambda: grey3(to_eight(wide_grey())),
        notes=_16,
        alpha=True,
        seen=lambda: _key(wide_grey(), 7 + 42 * 500),
    ),
    _grey(
        "PNG, 16-bit grey, alpha",
        lambda: png(np.dstack([shades().astype(np.uint16) * 257, wide_disc()]), 16, 4),
        notes=_16,
        alpha=True,
        seen=disc,
    ),
    _exact("PNG, 16-bit", lambda: png(wide_picture(), 16, 2), notes=_16),
    _exact("PNG, 16-bit, interlaced", lambda: png(wide_picture(), 16, 2, interlaced=True), notes=_16),
    _clear("PNG, 16-bit, alpha", lambda: png(np.dstack([wide_picture(), wide_disc()]), 16, 6), notes=_16),
    _clear(
        "PNG, 16-bit, colour key",
        lambda: png(picture() * np.uint16(257), 16, 2, trns(*(257 * c for c in _CORNER))),
        notes=_16,
        seen=lambda: _key(picture(), *_CORNER),
    ),
    _exact("PNG, animated", frames("PNG"), notes=("first frame",)),
    _exact("PNG, turned by XMP", lambda: png_with_xmp(6)),
    _exact("PNG, turned by EXIF as text", lambda: png_with_raw_exif(8)),
    _exact(
        "PNG, broken EXIF", lambda: png(picture(), 8, 2, chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff\x12\x01"))
    ),
    _exact("PNG, broken text", lambda: png(picture(), 8, 2, chunk(b"tEXt", b"x"), chunk(b"zTXt", b"a\0\0?"))),
]

# --- JPEG -------------------------------------------------------------------------------------------

_BEST = {"quality": 98, "subsampling": 0}
_FINE = {"quality": 98, "subsampling": "4:4:4"}


def _cmyk_jpeg(array: Callable[[], Array], **options: object) -> Callable[[], bytes]:
    return lambda: saved(image_of("CMYK", array()), "JPEG", **{**_BEST, **options})


_JPEG = [
    _lossy("JPEG", file_of("JPEG", picture, quality=90), 31),
    _lossy("JPEG, 4:4:4", file_of("JPEG", picture, **_BEST), 46),
    _lossy("JPEG, progressive", file_of("JPEG", picture, progressive=True, **_BEST), 46),
    _lossy("JPEG, RGB inside", file_of("JPEG", picture, keep_rgb=True, **_BEST), 46),
    _grey("JPEG, grey", file_of("JPEG", shades, quality=98), floor=55),
    _grey("JPEG, grey, progressive", file_of("JPEG", shades, quality=98, progressive=True), floor=55),
    _lossy("JPEG, broken EXIF", file_of("JPEG", picture, exif=b"Exif\0\0XX*\0\x08\0\0\0", **_BEST), 46),
    _lossy(
        "JPEG, several pictures (MPO)",
        frames("MPO", **_BEST),
        46,
        notes=("first of several pictures",),
        since=12,
    ),
    _lossy("JPEG, CMYK", _cmyk_jpeg(inks), 55, expected=lambda: plain_rgb_of_cmyk(inks()), notes=_CMYK),
    _lossy(
        "JPEG, CMYK with a profile",
        lambda: _cmyk_jpeg(ink_patches, icc_profile=cmyk_profile())(),
        55,
        size=(64, 16),
        expected=ink_patches_expected,
        notes=("from Test print to sRGB",),
    ),
    _lossy(
        "JPEG, CMYK with a profile for RGB",
        lambda: _cmyk_jpeg(inks, icc_profile=rgb_profile(SRGB, 2.2))(),
        55,
        expected=lambda: plain_rgb_of_cmyk(inks()),
        notes=("is for RGB: ignored", *_CMYK),
    ),
    _lossy(
        "JPEG, Display P3",
        lambda: saved(Image.fromarray(picture()), "JPEG", icc_profile=rgb_profile(DISPLAY_P3, 2.2), **_BEST),
        43,
        expected=lambda: srgb_of_rgb(picture(), DISPLAY_P3, 2.2),
        notes=("from Test RGB to sRGB",),
    ),
    _refused("JPEG, cut", lambda: file_of("JPEG", picture)()[:-60], "damaged image"),
]

# --- EXIF's orientations ----------------------------------------------------------------------------

_TURNED = [
    kind
    for o in range(1, 9)
    for kind in (
        _lossy(f"JPEG, orientation {o}", turned("JPEG", o, **_BEST), 46),
        _exact(f"PNG, orientation {o}", turned("PNG", o)),
        _exact(f"TIFF, orientation {o}", turned("TIFF", o)),
        _exact(f"WebP, orientation {o}", turned("WEBP", o, lossless=True), codec="webp"),
        _lossy(f"AVIF, orientation {o}", turned("AVIF", o, **_FINE), 42, codec="avif"),
    )
]

_TURNED += [
    _exact(f"PNG, orientation {o}, which there is not", file_of("PNG", picture, exif=exif_with(o)))
    for o in (0, 9, 255)
]

# --- colour profiles --------------------------------------------------------------------------------


def _tagged(
    array: Callable[[], Array], profile: Callable[[], bytes], kind: str = "PNG"
) -> Callable[[], bytes]:
    return lambda: saved(Image.fromarray(np.ascontiguousarray(array())), kind, icc_profile=profile())


_ROUNDED = 55
"""dB of errors of one level in places."""

_PROFILES = [
    _exact("PNG, sRGB profile", _tagged(picture, srgb_like_profile)),
    _grey("PNG, grey, sRGB profile", _tagged(shades, srgb_like_profile)),
    _clear("PNG, alpha, sRGB profile", _tagged(rgba, srgb_like_profile)),
    _exact(
        "PNG, Display P3",
        _tagged(picture, lambda: rgb_profile(DISPLAY_P3, 2.2)),
        expected=lambda: srgb_of_rgb(picture(), DISPLAY_P3, 2.2),
        floor=_ROUNDED,
        notes=("from Test RGB to sRGB",),
    ),
    _exact(
        "TIFF, Adobe RGB",
        _tagged(picture, lambda: rgb_profile(ADOBE_RGB, 563 / 256, "Adobe RGB (1998)"), "TIFF"),
        expected=lambda: srgb_of_rgb(picture(), ADOBE_RGB, 563 / 256),
        floor=_ROUNDED,
        notes=("from Adobe RGB (1998) to sRGB",),
    ),
    _exact(
        "WebP, linear",
        lambda: saved(Image.fromarray(picture()), "WEBP", lossless=True, icc_profile=rgb_profile(SRGB, 1.0)),
        expected=lambda: srgb_of_rgb(picture(), SRGB, 1.0),
        floor=_ROUNDED,
        notes=("from Test RGB to sRGB",),
        codec="webp",
    ),
    _clear(
        "PNG, alpha, Display P3",
        _tagged(rgba, lambda: rgb_profile(DISPLAY_P3, 2.2)),
        expected=lambda: srgb_of_rgb(picture(), DISPLAY_P3, 2.2),
        floor=_ROUNDED,
        notes=("from Test RGB to sRGB",),
    ),
    _exact(
        "PNG, palette, Display P3",
        lambda: saved(palette_image(), "PNG", icc_profile=rgb_profile(DISPLAY_P3, 2.2)),
        expected=lambda: srgb_of_rgb(few_expected(), DISPLAY_P3, 2.2),
        floor=_ROUNDED,
        notes=("from Test RGB to sRGB",),
    ),
    _grey(
        "PNG, grey, linear",
        _tagged(shades, lambda: grey_profile(1.0)),
        expected=lambda: grey3(srgb_of_grey(shades(), 1.0)),
        floor=_ROUNDED,
        notes=("from Test grey to sRGB",),
    ),
    _grey(
        "TIFF, grey, alpha, gamma 1.8",
        _tagged(la, lambda: grey_profile(461 / 256), "TIFF"),
        expected=lambda: grey3(srgb_of_grey(shades(), 461 / 256)),
        floor=_ROUNDED,
        notes=("from Test grey to sRGB",),
        alpha=True,
        seen=disc,
    ),
    _grey(
        "PNG, grey, linear RGB profile",
        _tagged(shades, lambda: rgb_profile(SRGB, 1.0)),
        expected=lambda: grey3(srgb_of_grey(shades(), 1.0)),
        floor=_ROUNDED,
        notes=("from Test RGB to sRGB",),
    ),
    _exact(
        "PNG, profile for grey", _tagged(picture, lambda: grey_profile(1.0)), notes=("is for GRAY: ignored",)
    ),
    _exact("PNG, profile for print", _tagged(picture, cmyk_profile), notes=("is for CMYK: ignored",)),
    _exact(
        "PNG, broken profile", _tagged(picture, lambda: b"no profile" * 40), notes=("is broken: ignored",)
    ),
    _exact(
        "PNG, half a profile",
        _tagged(picture, lambda: rgb_profile(ADOBE_RGB, 2.2)[:300]),
        notes=("is broken: ignored",),
    ),
    _exact(
        "TIFF, CMYK with a profile",
        lambda: saved(image_of("CMYK", ink_patches()), "TIFF", icc_profile=cmyk_profile()),
        size=(64, 16),
        expected=ink_patches_expected,
        floor=_ROUNDED,
        notes=("from Test print to sRGB",),
    ),
]

# --- TIFF -------------------------------------------------------------------------------------------


def _tiff_by(
    compression: str, array: Callable[[], Array] = picture, **options: object
) -> Callable[[], bytes]:
    return file_of("TIFF", array, compression=compression, **options)


def _wide_planes(order: int) -> Callable[[], bytes]:
    planes = [wide_picture()[..., c].astype(("<u2", ">u2")[order]).tobytes() for c in range(3)]
    return lambda: tiff(planes, SIZE, [16] * 3, 2, t0=[order], t284=[2])


_TIFF = [
    _exact("TIFF", file_of("TIFF", picture)),
    *(
        _exact(f"TIFF, {name}", _tiff_by(name), codec="libtiff")
        for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma")
    ),
    _lossy("TIFF, jpeg", _tiff_by("jpeg", quality=98), 55, codec="libtiff"),
    _grey("TIFF, grey", file_of("TIFF", shades)),
    _grey("TIFF, grey, alpha, LZW", _tiff_by("tiff_lzw", la), alpha=True, seen=disc, codec="libtiff"),
    _clear("TIFF, alpha", file_of("TIFF", rgba)),
    _clear(
        "TIFF, premultiplied alpha",
        lambda: tiff([premultiplied().tobytes()], SIZE, [8] * 4, 2, t338=[1]),
        floor=41,
    ),
    _exact(
        "TIFF, fourth channel of no meaning", lambda: tiff([rgba().tobytes()], SIZE, [8] * 4, 2, t338=[0])
    ),
    _grey(
        "TIFF, fax",
        lambda: saved(Image.fromarray(black_and_white()).convert("1"), "TIFF", compression="group4"),
        expected=lambda: grey3(black_and_white()),
        codec="libtiff",
    ),
    _grey("TIFF, white is zero", lambda: tiff([(255 - shades()).tobytes()], SIZE, [8], 0)),
    _exact("TIFF, palette", lambda: saved(palette_image(), "TIFF"), expected=few_expected),
    _exact(
        "TIFF, strips, most significant byte first",
        lambda: tiff([picture()[:16].tobytes(), picture()[16:].tobytes()], SIZE, [8, 8, 8], 2, t0=[1]),
    ),
    _exact(
        "TIFF, planes",
        lambda: tiff([picture()[..., c].tobytes() for c in range(3)], SIZE, [8, 8, 8], 2, t284=[2]),
    ),
    *(
        _exact(f"TIFF, 16-bit, planes, {name}", _wide_planes(order), notes=_16, codec="libtiff")
        for order, name in enumerate(("Intel", "Motorola"))
    ),
    _grey("TIFF, L*a*b*, grey", tiff_lab_grey, expected=tiff_lab_grey_expected, floor=_ROUNDED),
    _exact("TIFF, L*a*b*, planes", lambda: tiff_lab(planes=True), expected=lab_expected, floor=_ROUNDED),
    _exact("TIFF, tiles", tiff_of_tiles),
    _exact("TIFF, BigTIFF", file_of("TIFF", picture, big_tiff=True)),
    _exact("TIFF, pages", frames("TIFF"), notes=("first of several pages",)),
    _exact(
        "TIFF, CMYK",
        lambda: saved(image_of("CMYK", inks()), "TIFF"),
        expected=lambda: plain_rgb_of_cmyk(inks()),
        floor=_ROUNDED,
        notes=_CMYK,
    ),
    _lossy("TIFF, YCbCr", lambda: saved(image_of("YCbCr", ycc_samples()), "TIFF"), 49, since=13),
    _exact("TIFF, L*a*b*", tiff_lab, expected=lab_expected, floor=_ROUNDED),
    _grey(
        "TIFF, 16-bit grey",
        file_of("TIFF", wide_grey),
        expected=lambda: grey3(to_eight(wide_grey())),
        notes=_16,
    ),
    _grey(
        "TIFF, 16-bit grey, most significant byte first",
        lambda: wide_tiff(wide_grey(), 1, t0=[1]),
        expected=lambda: grey3(to_eight(wide_grey())),
        notes=_16,
    ),
    _grey(
        "TIFF, 16-bit grey, white is zero",
        lambda: wide_tiff(65535 - wide_grey(), 0),
        expected=lambda: grey3(to_eight(wide_grey())),
        notes=_16,
    ),
    _grey(
        "TIFF, 16-bit grey, LZW",
        _tiff_by("tiff_lzw", wide_grey),
        expected=lambda: grey3(to_eight(wide_grey())),
        notes=_16,
        codec="libtiff",
    ),
    _grey(
        "TIFF, 12-bit grey",
        tiff_of_12_bits,
        expected=lambda: grey3(to_eight(wide_grey() >> 4, 4095)),
        notes=("12-bit",),
    ),
    _grey(
        "TIFF, signed 16-bit grey",
        lambda: wide_tiff(wide_grey() - np.uint16(1000), 1, t339=[2]),
        expected=lambda: grey3(
            to_eight((wide_grey() - np.uint16(1000)).astype(np.int16).clip(0).astype(np.uint16))
        ),
        notes=("16-bit", "clipped"),
    ),
    _grey(
        "TIFF, 32-bit grey",
        lambda: tiff([(wide_grey().astype("<u4") << 16).tobytes()], SIZE, [32], 1),
        expected=lambda: grey3(to_eight(wide_grey())),
        notes=("32-bit",),
    ),
    _grey(
        "TIFF, signed 32-bit grey as Pillow writes it",
        file_of("TIFF", lambda: wide_grey().astype(np.int32)),
        expected=lambda: grey3(to_eight(wide_grey())),
        notes=("32-bit",),
    ),
    _exact("TIFF, 16-bit", lambda: wide_tiff(wide_picture(), 2), notes=_16),
    _exact(
        "TIFF, 16-bit, most significant byte first", lambda: wide_tiff(wide_picture(), 2, t0=[1]), notes=_16
    ),
    _exact(
        "TIFF, 16-bit, deflate", lambda: wide_tiff(wide_picture(), 2, t259=[8]), notes=_16, codec="libtiff"
    ),
    _clear(
        "TIFF, 16-bit, alpha",
        lambda: wide_tiff(np.dstack([wide_picture(), wide_disc()]), 2, t338=[2]),
        notes=_16,
    ),
    _exact(
        "TIFF, 16-bit CMYK",
        lambda: wide_tiff(inks().astype(np.uint16) * 257, 5),
        expected=lambda: plain_rgb_of_cmyk(inks()),
        floor=_ROUNDED,
        notes=("16-bit", *_CMYK),
    ),
    _refused("TIFF, floats", file_of("TIFF", lambda: shades().astype(np.float32)), "floating-point"),
    _refused(
        "TIFF, floats, RGB",
        lambda: tiff([picture().astype("<f4").tobytes()], SIZE, [32] * 3, 2, t339=[3] * 3),
        "TIFF file that Pillow cannot open",
    ),
    _refused(
        "TIFF, 16-bit grey, alpha",
        lambda: wide_tiff(np.dstack([wide_grey(), wide_disc()]), 1, t338=[2]),
        "TIFF file that Pillow cannot open",
    ),
    _refused("TIFF, cut", lambda: file_of("TIFF", picture)()[:-2000], "damaged image"),
]

# --- the web's other formats ------------------------------------------------------------------------

_WEB = [
    _exact("WebP, lossless", file_of("WEBP", picture, lossless=True), codec="webp"),
    _lossy("WebP", file_of("WEBP", picture, quality=95), 31, codec="webp"),
    _grey("WebP, grey", file_of("WEBP", shades, quality=80), floor=31, codec="webp"),
    _clear("WebP, alpha", file_of("WEBP", rgba, lossless=True, exact=True), codec="webp"),
    _exact("WebP, animated", frames("WEBP", lossless=True), notes=("first frame",), codec="webp"),
    _lossy("AVIF", file_of("AVIF", picture, **_FINE), 42, codec="avif"),
    _clear("AVIF, alpha", file_of("AVIF", rgba, **_FINE), floor=42, codec="avif"),
    _lossy("AVIF, animated", frames("AVIF", **_FINE), 42, notes=("first frame",), codec="avif"),
    _exact("GIF", lambda: saved(palette_image(), "GIF"), expected=few_expected),
    _grey("GIF, grey", file_of("GIF", shades)),
    _exact("GIF, interlaced", lambda: saved(palette_image(), "GIF", interlace=1), expected=few_expected),
    _clear(
        "GIF, transparent",
        lambda: saved(palette_image(), "GIF", transparency=1),
        expected=few_expected,
        seen=lambda: _index_alpha(255, 0),
    ),
    _exact("GIF, animated", animated_gif, expected=few_expected, notes=("first frame",)),
    _grey(
        "JPEG XL, grey in colours",
        lambda: saved(Image.fromarray(grey3(shades())), "JXL", quality=90),
        floor=35,
        codec="pillow_jxl",
    ),
    _lossy("JPEG XL", lambda: saved(Image.fromarray(picture()), "JXL", quality=95), 42, codec="pillow_jxl"),
]

# --- the rest ---------------------------------------------------------------------------------------


def _pnm(head: str, array: Array, high_first: bool = False) -> bytes:
    return head.encode() + (array.astype(">u2") if high_first else array).tobytes()


_OTHERS = [
    _exact("BMP", file_of("BMP", picture)),
    _grey("BMP, grey", file_of("BMP", shades)),
    _exact("BMP, palette", lambda: saved(palette_image(), "BMP"), expected=few_expected),
    _grey(
        "BMP, black and white",
        lambda: saved(Image.fromarray(black_and_white()).convert("1"), "BMP"),
        expected=lambda: grey3(black_and_white()),
    ),
    _refused(
        "BMP, samples of 4 bits",
        lambda: b"BM" + struct.pack("<14xI2i2HI20x3I", 40, *SIZE, 1, 16, 3, 0xF00, 0xF0, 0xF)[2:],
        "an image of a rare kind: Unsupported BMP",
    ),
    _exact("PPM", file_of("PPM", picture)),
    _exact(
        "PPM, plain text",
        lambda: b"P3 # made by hand\n48 32\n255\n" + " ".join(map(str, picture().ravel())).encode() + b"\n",
    ),
    _exact("PPM, 16-bit", lambda: _pnm("P6 48 32 65535\n", picture().astype(np.uint16) * 257, True)),
    _grey("PGM", file_of("PPM", shades)),
    _grey(
        "PGM, 16-bit",
        lambda: _pnm("P5 48 32 65535\n", wide_grey(), True),
        expected=lambda: grey3(to_eight(wide_grey())),
        notes=("samples of more bits",),
    ),
    _grey(
        "PGM, 10-bit",
        lambda: _pnm("P5 48 32 1023\n", wide_grey() >> 6, True),
        expected=lambda: grey3(to_eight(wide_grey() >> 6, 1023)),
        notes=("samples of more bits",),
    ),
    _grey(
        "PBM",
        lambda: saved(Image.fromarray(black_and_white()).convert("1"), "PPM"),
        expected=lambda: grey3(black_and_white()),
    ),
    _refused("PFM", file_of("PPM", lambda: shades().astype(np.float32)), "floating-point"),
    _exact("TGA", file_of("TGA", picture)),
    _clear("TGA, alpha, packed", file_of("TGA", rgba, compression="tga_rle")),
    _grey("TGA, grey", file_of("TGA", shades)),
    _clear("ICO", file_of("ICO", rgba, sizes=[SIZE])),
    _exact("PCX", file_of("PCX", picture)),
    _exact("SGI", file_of("SGI", picture)),
    _exact("DDS", file_of("DDS", picture)),
    _exact("QOI", lambda: saved(Image.fromarray(picture()), "QOI"), notes=("linear",), codec="QOI"),
    _exact("PSD", lambda: psd(picture(), 3)),
    _grey("PSD, black and white", psd_of_1_bit, expected=lambda: grey3(black_and_white())),
    _clear("PSD, alpha", lambda: psd(rgba(), 3)),
    _exact(
        "PSD, CMYK",
        lambda: psd(255 - inks(), 4),
        expected=lambda: plain_rgb_of_cmyk(inks()),
        floor=_ROUNDED,
        notes=_CMYK,
    ),
    _exact("JPEG 2000", file_of("JPEG2000", picture, irreversible=False), codec="jpg_2000"),
    _lossy(
        "JPEG 2000, lossy",
        file_of("JPEG2000", picture, irreversible=True, quality_mode="dB", quality_layers=[45]),
        42,
        codec="jpg_2000",
    ),
    _clear("JPEG 2000, alpha", file_of("JPEG2000", rgba, irreversible=False), codec="jpg_2000"),
    _grey("JPEG 2000, grey, code stream", file_of("JPEG2000", shades, no_jp2=True), codec="jpg_2000"),
    _grey(
        "JPEG 2000, 16-bit grey",
        file_of("JPEG2000", wide_grey, irreversible=False),
        expected=lambda: grey3(to_eight(wide_grey())),
        notes=("samples of more bits",),
        codec="jpg_2000",
    ),
    _refused("text", lambda: b"Dear codec,\nI am no picture.\n", "not an image"),
    _refused("nothing", lambda: b"", "empty"),
    _refused(
        "SVG", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "an SVG drawing"
    ),
    _refused("noise", lambda: zlib.compress(picture().tobytes()), "not an image"),
    _refused("PNG, cut", lambda: png(picture(), 8, 2)[:600], "damaged image"),
    _refused("PNG, header alone", lambda: png(picture(), 8, 2)[:8], "PNG file that Pillow cannot open"),
]

# --- sizes ------------------------------------------------------------------------------------------


def _steps(width: int, height: int) -> Array:
    """Alpha in steps, the last pixel visible."""
    alpha = shades(width, height) // 80 * 80
    alpha[-1, -1] = 200
    return alpha


_SIZES = [
    kind
    for w, h in ((1, 1), (1, 4000), (4000, 1), (17, 33), (255, 2))
    for kind in (
        _exact(
            f"PNG, {w}x{h}",
            file_of("PNG", lambda w=w, h=h: picture(w, h)),
            size=(w, h),
            expected=lambda w=w, h=h: picture(w, h),
        ),
        _grey(
            f"PNG, grey, {w}x{h}",
            file_of("PNG", lambda w=w, h=h: shades(w, h)),
            size=(w, h),
            expected=lambda w=w, h=h: grey3(shades(w, h)),
        ),
        _lossy(
            f"JPEG, {w}x{h}",
            file_of("JPEG", lambda w=w, h=h: picture(w, h), **_BEST),
            45,
            size=(w, h),
            expected=lambda w=w, h=h: picture(w, h),
        ),
        _clear(
            f"PNG, alpha, {w}x{h}",
            file_of("PNG", lambda w=w, h=h: np.dstack([picture(w, h), _steps(w, h)])),
            size=(w, h),
            expected=lambda w=w, h=h: picture(w, h),
            seen=lambda w=w, h=h: _steps(w, h),
        ),
    )
]

KINDS: list[Kind] = [*_PNG, *_JPEG, *_TURNED, *_PROFILES, *_TIFF, *_WEB, *_OTHERS, *_SIZES]
