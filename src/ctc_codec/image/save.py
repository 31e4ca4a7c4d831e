"""Pixels out: decoded samples to Pillow images and image files."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from ..errors import OutputError
from . import exif as exif_bytes
from .exif import PREFIX, Resolution
from .formats import check_quality, check_size, parse_colour
from .metadata import XMP_PREFIX, quiet, tiff_exif
from .transparency import Alpha, Pixels, flatten

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "BMP": {"dpi": (0, 0)},  # Pillow would say 96
    "DIB": {"dpi": (0, 0)},
    "HEIF": {"quality": 95, "chroma": 444},
    "JPEG": {"quality": 95, "subsampling": 0},
    "JXL": {"lossless": True},
    "MPO": {"quality": 95, "subsampling": 0},
    "PDF": {"quality": 95, "subsampling": 0},
    "PNG": {"compress_level": 2},  # Pillow's 6 takes three times as long, for photographs no smaller
    "QOI": {"colorspace": "sRGB"},
    "TIFF": {"resolution_unit": 1, "x_resolution": 1, "y_resolution": 1},  # no unit: it is not known
    "WEBP": {"lossless": True},
}

_FINE = 90
"""From this quality on, colours are written at full size."""

_WITH_EXIF = ("AVIF", "HEIF", "JPEG", "JXL", "MPO", "PNG", "TIFF", "WEBP")
"""Formats in which Pillow writes EXIF and XMP."""

_WITH_DPI = ("BMP", "DIB", "JPEG", "MPO", "PDF", "PNG")
"""Formats in which Pillow writes a resolution of their own. (TIFF's is among its tags.)"""

_TIFF_RESOLUTION = {282: "x_resolution", 283: "y_resolution", 296: "resolution_unit"}

_JPEG_SEGMENT = 65533
"""Bytes that EXIF or XMP may have in JPEG with what stands before them."""

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


def flattens(image: Image.Image, kind: str) -> bool:
    """Whether :func:`image_bytes` has to give up the alpha of an image of mode LA or RGBA.

    kind: as from :func:`ctc_codec.image.formats.saving_format`. GIF holds alpha of 0 and 255 only.
    """
    if image.mode not in ("LA", "RGBA") or kind in _WITH_ALPHA:
        return False
    seen = image.getchannel("A").histogram()
    return any(seen[1 if kind == "GIF" else 0 : 255])


def dropped(image: Image.Image, kind: str) -> list[str]:
    """Names of an image's metadata that :func:`image_bytes` cannot write: "EXIF", "XMP", "resolution"."""
    exif, xmp = _metadata(image)
    room = _JPEG_SEGMENT if kind in ("JPEG", "MPO") else None
    keeps_exif = kind in _WITH_EXIF and (room is None or len(PREFIX + exif) <= room)
    lost = ["EXIF"] if exif and not keeps_exif and exif_bytes.says_more(exif) else []
    if xmp and (kind not in _WITH_EXIF or (room is not None and len(XMP_PREFIX + xmp) > room)):
        lost.append("XMP")
    if exif and exif_bytes.resolution(exif) and not (keeps_exif or kind in (*_WITH_DPI, "PCX")):
        lost.append("resolution")
    return lost


def image_bytes(
    image: Image.Image,
    kind: str,
    *,
    background: str | tuple[int, ...] | None = None,
    quality: int | None = None,
) -> bytes:
    """An image file in memory.

    image: of mode L, LA, RGB or RGBA. Bytes in its ``info`` under "exif" (with or without ``Exif\\0\\0``) and
        "xmp" are written where the format can carry them (JPEG, PNG, WebP, AVIF, TIFF, HEIF, JPEG XL), unless
        they do not fit or are broken, and the resolution in EXIF also as the format's own. Nothing else in
        ``info`` is written.
    kind: as from :func:`ctc_codec.image.formats.saving_format`.
    background: colour behind transparency where the format cannot hold it (see :func:`flattens`), as
        :func:`PIL.ImageColor.getrgb` takes it; None: white.
    quality: 1 to 100, as Pillow has it, of a lossy format, or of one that can be; None: lossless, or one that
        adds little loss.

    Raises OutputError; ValueError for a background that is no opaque colour, and for such a quality.
    """
    colour = parse_colour("white" if background is None else background)
    check_quality(kind, quality)
    check_size(kind, *image.size)
    exif, xmp = _metadata(image)
    if flattens(image, kind):
        image = _flat(image, colour)
    elif image.mode in ("LA", "RGBA") and kind not in _WITH_ALPHA and kind != "GIF":
        image = image.convert(image.mode[:-1])  # alpha that is opaque everywhere
    elif image.mode == "LA" and kind == "GIF":  # Pillow keeps alpha of RGBA alone
        image = image.convert("RGBA")
    resolution = exif_bytes.resolution(exif) if exif else None
    options = _options(kind, image.size, quality) | _resolution_options(kind, resolution)
    error: Exception | None = None
    for kept in ((exif, xmp), (exif, b""), (b"", xmp), (b"", b"")):
        for mode in _MODES_TO_TRY.get(image.mode, (image.mode,)):
            plain = image
            if image.info or mode != image.mode:
                plain = image.convert(mode) if mode != image.mode else image.copy()
                plain.info = {}  # Pillow would write some of it
            out = io.BytesIO()
            try:
                with quiet():
                    plain.save(out, kind, **(options | _metadata_options(kind, *kept)))
            except Exception as reason:  # all kinds, where metadata are broken
                error = reason
            else:
                return _with_pcx_resolution(out.getvalue(), resolution) if kind == "PCX" else out.getvalue()
    raise OutputError(f"cannot write {kind}: {' '.join(str(error).split())}")


def _metadata(image: Image.Image) -> tuple[bytes, bytes]:
    """EXIF without its prefix, empty if it is broken, and XMP."""
    exif, xmp = (value if isinstance(value, bytes) else b"" for value in map(image.info.get, ("exif", "xmp")))
    exif = exif.removeprefix(PREFIX)
    try:
        if exif:
            exif_bytes.resolution(exif)
    except (ValueError, struct.error):
        exif = b""
    return exif, xmp


def _flat(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """An image of mode LA or RGBA on a background; grey on grey stays grey."""
    if image.mode == "LA" and len(set(colour)) > 1:
        image = image.convert("RGBA")
    bands = np.asarray(image)
    flat = flatten(bands[..., :-1], bands[..., -1], colour[: bands.shape[2] - 1])
    return Image.fromarray(flat[..., 0] if flat.shape[2] == 1 else flat)


def _options(kind: str, size: tuple[int, int], quality: int | None) -> dict[str, Any]:
    """Arguments for saving. Lossy formats get a quality that adds little of their own unless one is given."""
    if kind == "ICO":  # Pillow's default is the usual sizes of icons
        return {"sizes": [size]}
    options = _SAVE_OPTIONS.get(kind, {})
    if quality is None:
        return dict(options)
    fine = [name for name in ("subsampling", "chroma") if name in options and quality >= _FINE]
    return {"quality": quality} | {name: options[name] for name in fine}


def _resolution_options(kind: str, resolution: Resolution | None) -> dict[str, Any]:
    """Arguments for saving a resolution as the format's own."""
    dpi = resolution.dpi if resolution else None
    if dpi is None or kind not in _WITH_DPI or (kind in ("JPEG", "MPO") and not _is_short(dpi)):
        return {}
    return {"dpi": dpi}


def _is_short(dpi: tuple[float, float]) -> bool:
    """Whether 16 bits hold a resolution."""
    return all(1 <= round(value) <= 0xFFFF for value in dpi)


def _with_pcx_resolution(data: bytes, resolution: Resolution | None) -> bytes:
    """A PCX file that says a resolution, or none, where Pillow says 100."""
    dpi = resolution.dpi if resolution else None
    if dpi is None or not _is_short(dpi):
        dpi = (0, 0)
    return data[:12] + struct.pack("<HH", *map(round, dpi)) + data[16:]


def _metadata_options(kind: str, exif: bytes, xmp: bytes) -> dict[str, Any]:
    """Arguments for saving, as far as the format can carry them. Raises anything if they are broken."""
    options: dict[str, Any] = {}
    if kind not in _WITH_EXIF:
        return options
    if kind == "TIFF":
        tags = Image.Exif()
        tags.load(exif)
        if tagged := tiff_exif(tags, xmp):
            options["exif"] = tagged
        if exif and exif_bytes.resolution(exif):
            options |= {name: tags[tag] for tag, name in _TIFF_RESOLUTION.items() if tag in tags}
        return options
    if exif:
        options["exif"] = PREFIX + exif
    if xmp and kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    elif xmp:
        options["xmp"] = xmp
    return options
