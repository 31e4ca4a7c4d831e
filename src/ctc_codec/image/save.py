"""Pixels out: decoded samples to Pillow images and image files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from ..errors import OutputError
from .metadata import EXIF_PREFIX, tiff_exif
from .transparency import Alpha, Pixels, flatten, parse_colour

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "HEIF": {"quality": 95},
    "JPEG": {"quality": 95, "subsampling": 0},
    "MPO": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}

_WITH_ALPHA = (
    "AVIF", "DDS", "HEIF", "ICNS", "ICO", "JPEG2000", "JXL",
    "PDF", "PNG", "QOI", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip
"""Formats in which Pillow writes alpha and finds it again. (BMP and PPM drop it without a word.)"""

_MODES_TO_TRY = {"L": ("L", "RGB"), "LA": ("LA", "RGBA")}
"""QOI and SGI hold no grey, or none with alpha."""


def image_from_pixels(pixels: Pixels, alpha: Alpha | None = None) -> Image.Image:
    """A Pillow image of mode RGB or L, with alpha RGBA or LA.

    pixels: uint8 [height, width, 3] or, of a grey picture, [height, width, 1].
    alpha: uint8 [height, width]; None: there is none.
    """
    if alpha is not None:
        pixels = np.dstack([pixels, alpha])
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def saving_format(suffix: str) -> str:
    """Pillow's name of the format that files with this suffix have, for example ``.jpg``: ``JPEG``.

    Raises ValueError if Pillow cannot write it.
    """
    kind = Image.registered_extensions().get(suffix.lower())
    if kind is None or kind not in Image.SAVE:
        what = "a name without a suffix (.png, for example, or --format)" if not suffix else repr(suffix[1:])
        raise ValueError(f"cannot choose an image format from {what}")
    return kind


def flattens(image: Image.Image, kind: str) -> bool:
    """Whether :func:`image_bytes` has to give up the alpha of an image of mode LA or RGBA.

    kind: as from :func:`saving_format`. GIF holds alpha of 0 and 255 only.
    """
    if image.mode not in ("LA", "RGBA") or kind in _WITH_ALPHA:
        return False
    seen = image.getchannel("A").histogram()
    return any(seen[1 if kind == "GIF" else 0 : 255])


def image_bytes(image: Image.Image, kind: str, *, background: str | tuple[int, ...] | None = None) -> bytes:
    """An image file in memory.

    image: of mode L, LA, RGB or RGBA. Bytes in its ``info`` under "exif" (with or without ``Exif\\0\\0``) and
        "xmp" are written where the format can carry them (JPEG, PNG, WebP, AVIF, TIFF, HEIF, JPEG XL), unless
        they do not fit or are broken. Nothing else in ``info`` is written.
    kind: as from :func:`saving_format`. Lossy formats are written at a quality that adds little of their own.
    background: colour behind transparency where the format cannot hold it (see :func:`flattens`), as
        :func:`PIL.ImageColor.getrgb` takes it; None: white.

    Raises OutputError; ValueError for a background that is no opaque colour.
    """
    colour = parse_colour("white" if background is None else background)
    exif, xmp = (value if isinstance(value, bytes) else b"" for value in map(image.info.get, ("exif", "xmp")))
    if flattens(image, kind):
        image = _flat(image, colour)
    elif image.mode in ("LA", "RGBA") and kind not in _WITH_ALPHA and kind != "GIF":
        image = image.convert(image.mode[:-1])  # alpha that is opaque everywhere
    error: Exception | None = None
    for kept in ((exif, xmp), (exif, b""), (b"", xmp), (b"", b"")):
        for mode in _MODES_TO_TRY.get(image.mode, (image.mode,)):
            plain = image
            if image.info or mode != image.mode:
                plain = image.convert(mode) if mode != image.mode else image.copy()
                plain.info = {}  # Pillow would write some of it
            out = io.BytesIO()
            try:
                plain.save(out, kind, **_options(kind, image.size), **_metadata_options(kind, *kept))
            except Exception as reason:  # all kinds, where metadata are broken
                error = reason
            else:
                return out.getvalue()
    raise OutputError(f"cannot write {kind}: {' '.join(str(error).split())}")


def _flat(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """An image of mode LA or RGBA on a background; grey on grey stays grey."""
    if image.mode == "LA" and len(set(colour)) > 1:
        image = image.convert("RGBA")
    bands = np.asarray(image)
    flat = flatten(bands[..., :-1], bands[..., -1], colour[: bands.shape[2] - 1])
    return Image.fromarray(flat[..., 0] if flat.shape[2] == 1 else flat)


def _options(kind: str, size: tuple[int, int]) -> dict[str, Any]:
    """Arguments for saving. Lossy formats get a quality that adds little of their own."""
    if kind == "ICO" and max(size) <= 256:  # the format's limit; Pillow's default is the usual sizes of icons
        return {"sizes": [size]}
    return _SAVE_OPTIONS.get(kind, {})


def _metadata_options(kind: str, exif: bytes, xmp: bytes) -> dict[str, Any]:
    """Arguments for saving, as far as the format can carry them. Raises anything if they are broken."""
    options: dict[str, Any] = {}
    if kind == "TIFF":
        tags = Image.Exif()
        tags.load(exif)
        tagged = tiff_exif(tags, xmp)
        return {"exif": tagged} if tagged else {}
    if exif and kind in ("AVIF", "HEIF", "JPEG", "JXL", "MPO", "PNG", "WEBP"):
        options["exif"] = exif if exif.startswith(EXIF_PREFIX) else EXIF_PREFIX + exif
    if xmp and kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    elif xmp and kind in ("AVIF", "HEIF", "JPEG", "JXL", "MPO", "WEBP"):
        options["xmp"] = xmp
    return options
