"""Image files to Pillow images: plugins for rare formats, limits, and Pillow's errors as ours."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

from PIL import Image, UnidentifiedImageError

from ..container.header import MAX_PIXELS, check_pixels
from ..errors import CtcError, InputError, LimitError

files = threading.RLock()
"""Held while frames are counted and pixels loaded: both move a file's position, and threads may share it."""

PNG_BITS = "ctc_codec.png_bits"
"""Key in ``Image.info``: bits per sample of a PNG, if not 8. Pillow forgets them when it loads the pixels."""

_PNG_BITS = {"1": 1, "L;2": 2, "L;4": 4, "I;16B": 16, "RGB;16B": 16, "LA;16B": 16, "RGBA;16B": 16}
"""Bits per sample by Pillow's raw mode."""

_SIGNATURES = {
    "PNG": rb"\x89PNG",
    "JPEG": rb"\xff\xd8\xff",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "GIF": rb"GIF8",
    "WebP": rb"RIFF....WEBP",
    "AVIF": rb"....ftypavi[fs]",
    "HEIC": rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "PSD": rb"8BPS",
}
"""First bytes of well-known formats, for errors that name them."""

_PLUGINS = {"HEIC": ("pillow_heif", "pillow-heif"), "JPEG XL": ("pillow_jxl", "pillow-jxl-plugin")}
"""Modules that teach Pillow a format, and the packages that they come with."""


def open_image(data: bytes, max_pixels: int | None = MAX_PIXELS) -> Image.Image:
    """Decode an image file, an animation's first frame. HEIC and JPEG XL with their plugins, if installed.

    Raises InputError if Pillow cannot, LimitError if it is too large.
    """
    if not data:
        raise InputError("empty, not an image")
    with as_input_errors():
        image = _open(data)
        check_pixels(*image.size, max_pixels)
        is_animated(image)  # some files forget their pixels over this; later they remember the answer
        load(image)
    return image


@contextmanager
def as_input_errors() -> Iterator[None]:
    """Turn all that Pillow raises for an unusable file into one of our errors, with one line."""
    try:
        yield
    except UnidentifiedImageError:
        raise InputError("not an image that Pillow can open") from None
    except Image.DecompressionBombError:
        raise LimitError("more pixels than Pillow's own limit allows") from None
    except (CtcError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins let all kinds through when data is damaged
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"damaged image: {reason}") from None


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        name = next((name for name, start in _SIGNATURES.items() if re.match(start, data, re.DOTALL)), None)
        if name is None:
            raise
    if name in _PLUGINS:
        module, package = _PLUGINS[name]
        try:
            plugin = import_module(module)
        except ImportError:
            raise InputError(f"{name} needs a plugin for Pillow (pip install {package})") from None
        if register := getattr(plugin, "register_heif_opener", None):
            register()
        with suppress(UnidentifiedImageError):
            return Image.open(io.BytesIO(data))
    raise InputError(f"a {name} file that Pillow cannot open (damaged, or of a rare kind)")


def is_animated(image: Image.Image) -> bool:
    """Whether there is more than one frame. The image stays at the frame where it is."""
    if image.format == "PSD":  # its further frames are the layers that this one is composed of
        return False
    frame = image.tell()
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # damaged metadata says nothing about the pixels
        with suppress(Exception):
            image.seek(frame)
        return False


def load(image: Image.Image) -> None:
    """Load an image's pixels; see :data:`PNG_BITS`."""
    tiles = getattr(image, "tile", None)
    if image.format == "PNG" and tiles and tiles[0][3] in _PNG_BITS:
        image.info[PNG_BITS] = _PNG_BITS[tiles[0][3]]
    image.load()
