"""Pixels in: any Pillow image to 8-bit sRGB, upright, with its alpha."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from ..errors import InputError
from .choice import (
    ALPHA,
    CHOICE,
    INVERTED,
    PREMULTIPLIED,
    UNREAD,
    UNUSED,
    from_start,
    has_merged_picture,
    has_only_previews,
    may_be_unused,
    page_notes,
    read_alpha,
    read_pages,
    surface_notes,
)
from .colour import to_srgb
from .declaration import declared
from .formats import parse_colour
from .metadata import quiet, read_metadata, read_turn
from .open import PNG_BITS, as_input_errors, files, is_animated, load
from .transparency import Alpha, Pixels, fill_unseen, flatten

_BAND = 64
"""Rows of an image that are looked at together."""

_ROUNDED = ("JXL", "WEBP")
"""Formats whose decoders make greys of channels that differ by one level."""


_MORE = ("only ", "the picture of ", "saved by Photoshop", "nothing of this", "its transparency is not")
"""First words of notes on what is not coded of a file."""


@dataclass(frozen=True)
class SourceImage:
    """An image as it is coded.

    pixels: uint8 [height, width, 3], sRGB, upright.
    grey: all three channels are the same one.
    notes: what was changed on the way in, for the user, a line each.
    alpha: uint8 [height, width], 0 transparent, 255 opaque; None: opaque everywhere. Where it is 0, colours
        are made up, see :func:`ctc_codec.image.transparency.fill_unseen`.
    exif: a TIFF structure without the prefix ``Exif\\0\\0``, with the resolution; empty unless asked for.
    xmp: an XMP packet; empty unless asked for. What both say about the pixels is true.
    """

    pixels: Pixels
    grey: bool
    notes: list[str] = field(default_factory=list)
    alpha: Alpha | None = None
    exif: bytes = b""
    xmp: bytes = b""

    @property
    def more(self) -> str | None:
        """The note that says that the file holds more than is coded of it, pages for example; or None."""
        return next((note for note in self.notes if note.startswith(_MORE)), None)

    @property
    def seen(self) -> int:
        """Number of pixels that are seen: whose alpha is above 0, or all of a picture that has none."""
        count = 0 if self.alpha is None else int(np.count_nonzero(self.alpha))
        return count or self.pixels.shape[0] * self.pixels.shape[1]


def psnr(a: Pixels, b: Pixels) -> float:
    """PSNR in dB over all samples of two uint8 arrays of equal shape; inf when they are equal."""
    error = _squared_error(a, b)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 * a.size / error))


def psnr_against(source: SourceImage, decoded: Image.Image) -> float:
    """PSNR in dB of a decoded image, over the RGB samples of pixels that are seen; inf if they are equal."""
    error = mean_squared_error(source, np.asarray(decoded.convert("RGB")))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def mean_squared_error(source: SourceImage, decoded: Pixels) -> float:
    """Mean squared error over the samples of pixels that are seen.

    decoded: uint8 [height, width, 1 or 3].
    """
    channels = decoded.shape[2]
    seen = None if source.alpha is None or not source.alpha.any() else source.alpha
    return _squared_error(source.pixels[..., :channels], decoded, seen) / (channels * source.seen)


def _squared_error(a: Pixels, b: Pixels, alpha: Alpha | None = None) -> int:
    """Sum of squared differences of two uint8 arrays of equal shape, or of those where alpha is above 0."""
    total = 0
    for top in range(0, len(a), _BAND):
        rows = slice(top, top + _BAND)
        error = a[rows].astype(np.int16)
        error -= b[rows]
        error *= error  # fits 16 bits without a sign
        if alpha is not None:
            error *= alpha[rows, :, None] > 0
        total += int(error.view(np.uint16).sum(dtype=np.uint64))
    return total


def source_image(
    image: Image.Image,
    *,
    background: str | tuple[int, ...] | None = None,
    metadata: bool = False,
) -> SourceImage:
    """Bring an image of any mode to 8-bit sRGB, upright.

    background: put the image onto this colour, a name or number as :func:`PIL.ImageColor.getrgb` takes or
        three integers; None: keep its alpha. Alpha that is opaque everywhere is dropped.
    metadata: keep EXIF, XMP and resolution. Those that are not valid are dropped with a note; one more note
        names what else is not kept.

    Of an animation that has not been sought elsewhere it is the first frame. ``image`` stays as it is, and
    threads may share it. Raises InputError for damaged images and unusable modes, ValueError for a background
    that is no opaque colour.
    """
    behind = None if background is None else parse_colour(background)
    if 0 in image.size:
        raise InputError("the image has no pixels")
    notes: list[str] = []
    exif = xmp = b""
    with files, quiet():
        notes += _choice_notes(image)
        with as_input_errors():
            read_alpha(image)
            load(image)
        turn = read_turn(image)
        if metadata:
            exif, xmp = read_metadata(image, turn, notes)
    with as_input_errors():  # a palette that is missing, for example
        bits = _bits(image)
        if bits > 8:
            known = image.format in (None, "PNG", "TIFF")  # Pillow scales those of others
            samples = f"{bits}-bit samples" if known else "samples of more bits"
            notes.append(f"{samples} are reduced to 8 bits")
        plain, clear = _colour_and_alpha(image, bits, notes)
        clear = _meant(clear, image, notes)
        plain = _without_colour(plain, clear, int(image.format in _ROUNDED))
        # Black ink alone is grey too, and a* and b* of 0, but for rounding.
        rounded = plain.mode in ("CMYK", "LAB")
        plain = _without_colour(to_srgb(plain, declared(image), notes), clear, int(rounded))
    if turn is not None:
        plain, clear = plain.transpose(turn), clear and clear.transpose(turn)
    grey = plain.mode == "L"
    pixels, alpha = np.atleast_3d(np.asarray(plain)), None
    if clear is not None:
        alpha = np.asarray(clear)
        if behind is None:
            pixels = fill_unseen(pixels, alpha)
        else:
            grey = grey and len(set(behind)) == 1
            pixels, alpha = flatten(pixels, alpha, behind[:1] if grey else behind), None
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return SourceImage(pixels, grey, notes, alpha, exif, xmp)


def _choice_notes(image: Image.Image) -> list[str]:
    """What to say of an image from a file of several, before its pixels are loaded."""
    if isinstance(known := image.info.get(CHOICE), list):
        return list(known)
    if pages := read_pages(image):
        return page_notes(pages, pages[min(image.tell(), len(pages) - 1)])
    if is_animated(image):
        return [_frame_note(image)]
    if image.format in ("ICO", "ICNS") and len(image.info.get("sizes", ())) > 1:
        return ["only the largest of several pictures is coded"]
    if image.format == "DDS" and (file := getattr(image, "fp", None)):
        with suppress(OSError, ValueError), from_start(file):
            return surface_notes(file.read(148))
    if image.format == "PSD" and not has_merged_picture(image):
        return ["saved by Photoshop without its merged picture: what is coded may be blank"]
    if image.format == "PSD":
        with suppress(Exception):  # damaged layers say nothing about the picture
            if image.n_frames > 1:  # type: ignore[attr-defined]
                return ["only the merged picture of several layers is coded"]
    return []


def _frame_note(image: Image.Image) -> str:
    which = "current" if image.tell() else "first"
    if image.format in ("TIFF", "DCX"):
        return f"only the {which} of several pages is coded"
    if image.format in ("MPO", "HEIF"):
        which = "main" if image.tell() and image.info.get("primary") else which
        rest = "; the others are previews" if which == "first" and has_only_previews(image) else ""
        return f"only the {which} of several pictures is coded{rest}"
    if which == "first" and getattr(image, "default_image", False):
        return "only the still picture that stands in for an animation is coded"
    return f"only the {which} frame of an animation is coded"


def _bits(image: Image.Image) -> int:
    """Bits per sample of a loaded image's file, as far as Pillow tells; otherwise those of its mode."""
    if image.format == "TIFF":
        return int(max(_tiff_tag(image, 258, (1,))))
    if image.format == "PNG" and PNG_BITS in image.info:
        return int(image.info[PNG_BITS])
    return 16 if image.mode.startswith("I") else 8


def _tiff_tag(image: Image.Image, tag: int, default: Any) -> Any:
    return getattr(image, "tag_v2", {}).get(tag, default)


def _colour_and_alpha(
    image: Image.Image, bits: int, notes: list[str]
) -> tuple[Image.Image, Image.Image | None]:
    """An image of any mode as one of L, RGB, CMYK or LAB, and its alpha as one of L. Raises InputError."""
    mode, kind = image.mode, image.format
    if mode == "F":
        raise InputError("images of floating-point samples cannot be coded")
    if mode.startswith("I"):
        return _eight_bits(image, bits, notes)
    if mode in ("P", "PA"):
        image = _without_palette(image)
    elif mode == "1":
        image = image.convert("L")
        if kind == "PSD":  # in which 1 is black
            image = ImageChops.invert(image)
    elif mode == "LAB" and _tiff_tag(image, 284, 1) == 2:  # planes, in which Pillow forgets the signs
        lightness, *others = image.split()
        image = Image.merge("LAB", [lightness, *(band.point(lambda v: v ^ 128) for band in others)])
    elif mode in ("La", "RGBa"):
        image = image.convert(mode.upper())
    elif mode == "RGBA" and image.info.get(ALPHA) == PREMULTIPLIED:
        image = Image.frombytes("RGBa", image.size, image.tobytes()).convert("RGBA")
    elif mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB"):
        try:
            image = image.convert("RGB")
        except ValueError:
            raise InputError(f"images of mode {mode} cannot be coded") from None
    if image.mode in ("L", "RGB"):
        return image, _key_alpha(image, bits if kind == "PNG" else None)
    if image.mode not in ("LA", "RGBA"):
        return image, None
    return image.convert("L" if image.mode == "LA" else "RGB"), image.getchannel("A")


def _meant(alpha: Image.Image | None, image: Image.Image, notes: list[str]) -> Image.Image | None:
    """Alpha of an image if it hides anything of it, and if the file means that."""
    if image.info.get(ALPHA) == UNREAD:
        notes.append("its transparency is not coded: Pillow does not read it")
    if alpha is None or image.info.get(ALPHA) == UNUSED:
        return None
    if image.info.get(ALPHA) == INVERTED:
        alpha = ImageChops.invert(alpha)
    lowest, highest = alpha.getextrema()
    if highest == 0 and may_be_unused(image):
        notes.append("its alpha is 0 everywhere: taken as unused")
        return None
    if highest == 0:
        notes.append(
            "nothing of this picture is visible: it is transparent everywhere, and its colours are lost"
        )
    return None if lowest == 255 else alpha


def _without_colour(image: Image.Image, alpha: Image.Image | None, apart: int = 0) -> Image.Image:
    """An image of mode RGB as one of mode L if it is grey wherever it is seen; others as they are.

    apart: levels by which channels of a grey may differ.
    """
    if image.mode != "RGB":
        return image
    for top in range(0, image.height, _BAND):  # colour mostly shows in the first
        band = (0, top, image.width, min(top + _BAND, image.height))
        red, green, blue = np.moveaxis(np.asarray(image.crop(band)), 2, 0)
        highest, lowest = (f(f(red, green), blue) for f in (np.maximum, np.minimum))
        coloured = highest - lowest > apart
        if alpha is not None:
            coloured &= np.asarray(alpha.crop(band)) > 0
        if coloured.any():
            return image
    return image.getchannel("G")


def _eight_bits(image: Image.Image, bits: int, notes: list[str]) -> tuple[Image.Image, Image.Image | None]:
    """Samples of up to 32 bits (Pillow's modes I) to mode L, and the alpha that a colour key makes.

    The full range, 16 bits unless a TIFF's tags say otherwise, is scaled to 255 and rounded to the nearest.
    """
    wide = np.asarray(image)
    key = image.info.get("transparency")
    alpha = Image.fromarray((wide != key) * np.uint8(255)) if isinstance(key, int) else None
    top = 65535
    if image.format == "TIFF":
        signed = np.any(np.atleast_1d(_tiff_tag(image, 339, 1)) != 1)
        if bits == 32 and not signed and wide.dtype == np.int32:
            wide = wide.view(np.uint32) >> 16
        elif bits < 16:
            top = (1 << bits) - 1
        if _tiff_tag(image, 262, 1) == 0:  # white is zero, which Pillow forgets for 16 bits
            wide = top - wide.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > top):
        notes.append(f"samples outside 0 to {top} are clipped")
    wide = np.clip(wide, 0, top).astype(np.uint32)
    return Image.fromarray(((wide * 255 + top // 2) // top).astype(np.uint8)), alpha


def _without_palette(image: Image.Image) -> Image.Image:
    """Modes P and PA to RGB or RGBA."""
    plain = image.copy()  # Pillow writes a palette's transparency into the image itself
    try:
        plain = plain.convert("RGBA" if image.has_transparency_data else "RGB")
    except (ValueError, OverflowError):  # a transparency that is none
        plain.info.pop("transparency", None)
        plain = plain.convert("RGB")
    plain.info.pop("transparency", None)
    return plain


def _key_alpha(image: Image.Image, bits: int | None) -> Image.Image | None:
    """Alpha of an image of mode L or RGB in which one colour stands for transparency.

    bits: of a PNG's samples: Pillow scales those to 8 bits, but not the colour (that of 1 bit from 13.0 on).
    """
    key: Any = image.info.get("transparency")
    try:
        colour = np.atleast_1d(key).astype(np.int64)
    except (TypeError, ValueError, OverflowError):  # none, or one that is not valid
        return None
    samples = np.atleast_3d(np.asarray(image))
    if colour.shape != samples.shape[2:]:
        return None
    if bits is not None:
        colour = colour >> 8 if bits == 16 else np.minimum(colour * 255 // ((1 << bits) - 1), 255)
    return Image.fromarray((samples != colour).any(axis=2) * np.uint8(255))
