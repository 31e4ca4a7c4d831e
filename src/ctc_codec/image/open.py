"""Image files to Pillow images: plugins for rare formats, limits, and Pillow's errors as ours."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from ..container.header import MAX_PIXELS, check_pixels
from ..errors import CtcError, InputError, LimitError
from .bare import without_metadata
from .choice import choose, read_alpha
from .declaration import remember
from .formats import BY_PLUGIN, check_start, load_plugin
from .lock import Lock
from .metadata import quiet, remember_metadata

files = Lock()
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

_FOREIGN = {
    "a camera's raw file: develop it first": (
        rb"FUJIFILMCCD-RAW|II(RO|RS|U\0)|FOVb|\0MRM|....ftypcrx |II\x1a\0\0\0HEAPCCDR"
    ),
    "a video, not an image": (
        rb"....(ftyp(?!avi|he|mi|ms)|moov)|RIFF....AVI |\x1aE\xdf\xa3|FLV|\0\0\x01[\xb3\xba]|OggS"
    ),
    "an SVG drawing: turn it into pixels first": rb"(\xef\xbb\xbf)?\s*<(svg\b|[?!].*?<svg\b)",
    "a PostScript drawing: turn it into pixels first": rb"%!PS|\xc5\xd0\xd3\xc6",
    "a Windows metafile, a drawing: turn it into pixels first": rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF",
    "an animated cursor: take a cursor or icon out of it first": rb"RIFF....ACON",
    "an OpenEXR image of floating-point samples, which cannot be coded": rb"\x76\x2f\x31\x01",
    "a Radiance image of floating-point samples, which cannot be coded": rb"#\?(RADIANCE|RGBE)",
    "a PNG as Apple's tools alter it for iPhones: convert it back first": rb"\x89PNG.{8}CgBI",
}
"""What files are that Pillow cannot open, and their first bytes."""


def open_image(data: bytes, max_pixels: int | None = MAX_PIXELS) -> Image.Image:
    """Decode an image file, an animation's first frame. HEIC and JPEG XL with their plugins, if installed.

    Raises InputError if Pillow cannot, LimitError if it is too large.
    """
    check_start(data)
    with as_input_errors(), files, quiet():
        data, info = choose(data, max_pixels)
        try:
            return _decoded(data, info, data, max_pixels)
        except MemoryError:
            raise
        except Exception:
            with suppress(Exception):  # the first one tells more
                bare, more = without_metadata(data)
                return _decoded(bare, info | more, data, max_pixels)
            for what, start in _FOREIGN.items():
                if re.match(start, data[:4096], re.DOTALL):
                    raise InputError(what) from None
            raise


def identify(data: bytes, max_pixels: int | None = MAX_PIXELS) -> None:
    """Raise as :func:`open_image` for what is no image, without decoding one."""
    try:
        with quiet():
            choose(data, max_pixels)  # Pillow loads an icon while it opens it
            Image.open(io.BytesIO(data))
    except Exception:
        open_image(data, max_pixels)


_STILL = {"BMP", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TGA"}
"""Formats whose files hold one picture, or a few that are no larger."""


def refuse_early(head: bytes, max_pixels: int | None) -> int | None:
    """Pixels of a still picture, as the first bytes of its file, some thousands, tell; None if they do not.

    Raises as :func:`open_image` for what is surely no image, or too large.
    """
    known = any(re.match(start, head, re.DOTALL) for start in [*_SIGNATURES.values(), *_FOREIGN.values()])
    if not known:
        Image.init()
        if not any(accept and accept(head[:16]) for _, accept in Image.OPEN.values()):
            identify(head, None)
    size = None
    with quiet(), suppress(Exception):
        image = Image.open(io.BytesIO(head))
        size = image.size if image.format in _STILL else None
    if size is None:
        return None
    check_pixels(*size, max_pixels)
    return size[0] * size[1]


def _decoded(data: bytes, info: dict[str, Any], whole: bytes, max_pixels: int | None) -> Image.Image:
    """Decode a file, with these entries in ``info``, and with the colours that the whole file tells of."""
    image = _open(data)
    image.info.update(info)
    check_pixels(*image.size, max_pixels)
    is_animated(image)  # some files forget their pixels over this; later they remember the answer
    read_alpha(image)
    load(image, io.BytesIO(whole))
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
        known = not re.match("unsupported", reason, re.IGNORECASE)
        raise InputError(f"{'damaged image' if known else 'an image of a rare kind'}: {reason}") from None


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        name = next((name for name, start in _SIGNATURES.items() if re.match(start, data, re.DOTALL)), None)
        if name is None:
            raise
    if name in BY_PLUGIN.values():
        load_plugin(name)
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


def load(image: Image.Image, file: IO[bytes] | None = None) -> None:
    """Load an image's pixels, and keep in its ``info`` what Pillow forgets of its file: see :data:`PNG_BITS`.

    file: if it is not the one that Pillow is going to load the pixels from.
    """
    tiles = getattr(image, "tile", None)
    if image.format == "PNG" and tiles and tiles[0][3] in _PNG_BITS:
        image.info[PNG_BITS] = _PNG_BITS[tiles[0][3]]
    if tiles and isinstance(image, TiffImagePlugin.TiffImageFile):
        _read_wide_planes(image)
    with ExitStack() as opened, suppress(OSError, TypeError, ValueError):
        file = file or getattr(image, "fp", None)
        if file is None and os.path.isfile(name := getattr(image, "filename", "")):
            # Pillow's ``save`` loads an image, and closes its file, before it calls a plugin.
            file = opened.enter_context(open(name, "rb"))
        if file is not None:
            remember(image, file)
            remember_metadata(image, file)
    image.load()


def _read_wide_planes(image: TiffImagePlugin.TiffImageFile) -> None:
    """Let libtiff load planes of 16-bit samples, whose bytes Pillow would take for samples."""
    if image.tag_v2.get(284) == 2 and not image.use_load_libtiff and max(image.tag_v2.get(258, (1,))) > 8:
        before, TiffImagePlugin.READ_LIBTIFF = TiffImagePlugin.READ_LIBTIFF, True
        try:
            image._setup()
        finally:
            TiffImagePlugin.READ_LIBTIFF = before
