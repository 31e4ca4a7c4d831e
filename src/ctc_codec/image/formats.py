"""What can be told of formats and colours without numpy, and mostly without Pillow.

So wrong names, and files that are no images, are told before either is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module

from ..container.header import MAGIC
from ..errors import InputError, OutputError

_USUAL = {
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".pgm": "PPM",
    ".ppm": "PPM",
    ".tga": "TGA",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Formats that every Pillow reads and writes, by the suffixes of their files."""

_PLUGINS = {"HEIC": ("pillow_heif", "pillow-heif"), "JPEG XL": ("pillow_jxl", "pillow-jxl-plugin")}
"""Modules that teach Pillow a format, and the packages that they come with."""

BY_PLUGIN = {".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC", ".jxl": "JPEG XL"}
"""Formats that Pillow needs a plugin for, by the suffixes of their files."""

_NO_IMAGES = {
    "a PDF document: turn its pages into images first": rb"%PDF-",
    "a GIMP project: export it as an image first": rb"gimp xcf ",
    "an archive, not an image": rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ|\(\xb5/\xfd",
}
"""What files are that no plugin of Pillow's opens, and their first bytes."""

_WITH_QUALITY = ("AVIF", "HEIF", "JPEG", "JXL", "MPO", "PDF", "WEBP")

_LONGEST = {
    "AVIF": 32768,  # it holds 65536, but readers, Pillow's among them, take no more
    "GIF": 65535,
    "ICNS": 1024,
    "ICO": 256,
    "JPEG": 65500,  # of libjpeg
    "MPO": 65500,
    "PCX": 65534,
    "PDF": 65500,  # the picture in it is a JPEG
    "SGI": 65535,
    "TGA": 65535,
    "WEBP": 16383,
}
"""Pixels of the longest side that Pillow writes, where a format has a limit."""

_UNREADABLE = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow recognises, and does not read by itself: not meant when a folder is named."""

_UNWRITABLE = {"BLP", "BUFR", "CTC", "GRIB", "HDF5", "MSP", "PALM", "WMF", "XBM"}
"""Formats that Pillow knows by name, or for pictures of a few colours alone."""


def check_start(data: bytes) -> None:
    """Raise InputError for what is surely no image, by its first bytes."""
    if not data:
        raise InputError("empty, not an image")
    if data.startswith(MAGIC):
        raise InputError("a .ctc file already")
    for what, start in _NO_IMAGES.items():
        if re.match(start, data):
            raise InputError(what)


class ImageSuffixes:
    """Suffixes, in lower case, of the files that hold images, our own aside."""

    def __contains__(self, suffix: object) -> bool:
        return suffix in _USUAL or suffix in self._others

    @cached_property
    def _others(self) -> frozenset[str]:
        from PIL import Image

        found = {
            suffix
            for suffix, kind in Image.registered_extensions().items()
            if kind in Image.OPEN.keys() - _UNREADABLE
        }
        # Without its plugin one fails, rather than be left out without a word.
        return frozenset(found | BY_PLUGIN.keys()) - {".ctc"}


def saving_format(suffix: str) -> str:
    """Pillow's name of the format that files with this suffix have, for example ``.jpg``: ``JPEG``.

    Raises ValueError if Pillow cannot write it.
    """
    given, suffix = suffix, suffix.lower()
    if suffix in _USUAL:
        return _USUAL[suffix]
    if not suffix:
        raise ValueError(
            "cannot choose an image format from a name without a suffix (.png, for example, or --format)"
        )
    from PIL import Image

    if name := BY_PLUGIN.get(suffix):
        try:
            load_plugin(name)
        except InputError as error:
            raise ValueError(str(error)) from None
    kind = Image.registered_extensions().get(suffix)
    if kind is None or kind not in Image.SAVE or kind in _UNWRITABLE:
        raise ValueError(f"cannot choose an image format from {given[1:]!r}")
    return kind


def load_plugin(name: str) -> None:
    """Teach Pillow a format that it knows by a plugin. Raises InputError if that is not installed."""
    module, package = _PLUGINS[name]
    try:
        plugin = import_module(module)
    except ImportError:
        raise InputError(f"{name} needs a plugin for Pillow (pip install {package})") from None
    if register := getattr(plugin, "register_heif_opener", None):
        register()


def check_size(kind: str, width: int, height: int) -> None:
    """Raise OutputError if the format holds no image of so many pixels. kind: as from saving_format."""
    longest = _LONGEST.get(kind)
    if longest is not None and max(width, height) > longest:
        limit = (
            f"65536 pixels a side, readers take {longest}" if kind == "AVIF" else f"{longest} pixels a side"
        )
        raise OutputError(f"{kind} holds at most {limit}, not {width}x{height}")
    if kind == "ICNS" and width != height:
        raise OutputError(f"ICNS holds squares alone, not {width}x{height}")


def check_quality(kind: str, quality: int | None) -> None:
    """Raise ValueError for a quality that is not one from 1 to 100, or if the format has none."""
    if quality is None:
        return
    if not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ValueError(f"an image's quality is a number from 1 to 100, not {quality!r}")
    if kind not in _WITH_QUALITY:
        raise ValueError(f"{kind} has no quality: {', '.join(_WITH_QUALITY)} have one")


def parse_colour(colour: str | Sequence[int]) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a colour as :func:`PIL.ImageColor.getrgb` takes or of three integers.

    Raises ValueError, with one line, for what is no opaque colour.
    """
    if isinstance(colour, str):
        from PIL import ImageColor

        values: tuple[int, ...] = ImageColor.getrgb(colour)
    else:
        try:
            values = tuple(int(value) for value in colour)
        except TypeError:
            raise TypeError(f"a colour is a name or three integers, not {colour!r}") from None
    if len(values) not in (3, 4) or not all(0 <= value <= 255 for value in values):
        raise ValueError(f"not a colour of three values from 0 to 255: {colour!r}")
    if values[3:] not in ((), (255,)):
        raise ValueError(f"the background must be opaque, not {colour!r}")
    return values[0], values[1], values[2]
