"""Image files to Pillow images: which plugin, how many bits, how many frames; errors and warnings as ours."""

from __future__ import annotations

import io
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..container.header import MAX_PIXELS, check_pixels
from ..errors import CtcError, InputError, LimitError

_BITS = "ctc_codec.bits"
"""Key in ``Image.info``: bits per sample of the file, which Pillow forgets when it loads the pixels."""


# --- Pillow's manners -------------------------------------------------------------------------------


class _Quiet:
    """Warnings off while any thread is inside: Pillow's are about metadata, and about a limit that is ours.

    (``catch_warnings`` in two threads at once can leave the filters of one of them behind for good.)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters: warnings.catch_warnings[None] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        if getattr(sys.flags, "context_aware_warnings", False):  # Python 3.14: filters belong to a thread
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
            return
        with self._lock:
            self._inside += 1
            if self._filters is None:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside and self._filters is not None:
                    self._filters.__exit__(None, None, None)
                    self._filters = None


quiet = _Quiet()
files = threading.RLock()
"""Held while frames are counted and pixels loaded: both move a file's position, and threads may share it."""


@contextmanager
def as_input_errors() -> Iterator[None]:
    """Whatever Pillow raises for an unusable file as one of our errors, with one line."""
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


# --- files ------------------------------------------------------------------------------------------

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
_PLUGINS = {"HEIC": ("pillow_heif", "pillow-heif"), "JPEG XL": ("pillow_jxl", "pillow-jxl-plugin")}
"""Modules that teach Pillow a format, and the packages that they come with."""


def _signature(data: bytes) -> str | None:
    """Name of the format that the first bytes announce, if it is a well-known one."""
    return next((name for name, start in _SIGNATURES.items() if re.match(start, data, re.DOTALL)), None)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        name = _signature(data)
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
        try:
            return Image.open(io.BytesIO(data))
        except UnidentifiedImageError:
            pass
    raise InputError(f"a {name} file that Pillow cannot open (damaged, or of a rare kind)")


def open_image(data: bytes, max_pixels: int | None = MAX_PIXELS) -> Image.Image:
    """Decode an image file, an animation's first frame. HEIC and JPEG XL with their plugins, if installed.

    Raises InputError if Pillow cannot, LimitError if it is too large.
    """
    if not data:
        raise InputError("empty, not an image")
    with quiet(), as_input_errors():
        image = _open(data)
        check_pixels(*image.size, max_pixels)
        is_animated(image)  # some files forget their pixels over this; later they remember the answer
        load(image)
    return image


def load(image: Image.Image) -> int:
    """Load an image's pixels. Returns the bits per sample of its file, as far as is known."""
    bits = _bits(image)
    if bits != 8:
        image.info[_BITS] = bits
    image.load()
    return bits


def _bits(image: Image.Image) -> int:
    """Bits per sample of a file whose pixels are not loaded yet; 8 where nothing tells."""
    try:
        if image.format == "TIFF":
            return int(max(np.atleast_1d(tiff_tag(image, 258, 1))))
        if _BITS in image.info:
            return int(image.info[_BITS])
        if image.format in ("PNG", "PPM", "SGI") and image.tile:  # type: ignore[attr-defined]
            arguments = image.tile[0][3]  # type: ignore[attr-defined]
            if isinstance(arguments, tuple) and isinstance(arguments[1], int) and image.format == "PPM":
                return max(arguments[1].bit_length(), 8)
            found = re.search(r"(?:^|;)(\d+)", arguments if isinstance(arguments, str) else arguments[0])
            return int(found[1]) if found else 8
        if image.format in ("JPEG2000", "AVIF"):
            file = image.fp  # type: ignore[attr-defined]
            place = file.tell()
            file.seek(0)
            head = file.read(1 << 14)
            file.seek(place)
            if siz := re.search(rb"\xff\x4f\xff\x51.{38}(.)", head, re.DOTALL):
                return (siz[1][0] & 0x7F) + 1
            if av1 := re.search(rb"av1C\x81.(.)", head, re.DOTALL):
                high, twelve = av1[1][0] >> 6 & 1, av1[1][0] >> 5 & 1
                return 8 + 2 * high * (1 + twelve)
        return int(image.info.get("bit_depth", 8))  # that is what pillow_heif calls it
    except Exception:  # damaged metadata says nothing about the pixels
        return 8


def tiff_tag(image: Image.Image, tag: int, default: Any) -> Any:
    return getattr(image, "tag_v2", {}).get(tag, default)


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
