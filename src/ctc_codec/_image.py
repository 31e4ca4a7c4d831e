"""Pixels in and out: any image that Pillow opens to 8-bit RGB, and back."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from ._container import MAX_PIXELS
from ._errors import CtcError, InputError, LimitError, OutputError

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SourceImage:
    """pixels: uint8 [height, width, 3]; grey: all three channels are the same one;
    notes: what was changed on the way in, for the user."""

    pixels: Pixels
    grey: bool
    notes: list[str] = field(default_factory=list)


def check_pixels(width: int, height: int, max_pixels: int | None) -> None:
    """Raise LimitError for more than ``max_pixels`` pixels (None: no limit)."""
    if max_pixels is not None and width * height > max_pixels:
        raise LimitError(f"{width}x{height} is more than the limit of {max_pixels} pixels")


def open_image(data: bytes, max_pixels: int | None = MAX_PIXELS) -> Image.Image:
    """Decode an image file. Raises InputError if Pillow cannot, LimitError if it is too large."""
    if not data:
        raise InputError("empty, not an image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limit below replaces Pillow's warning
            image = Image.open(io.BytesIO(data))
            check_pixels(*image.size, max_pixels)
            image.load()
    except UnidentifiedImageError:
        raise InputError("not an image that Pillow can open") from None
    except Image.DecompressionBombError:
        raise LimitError("more pixels than Pillow's own limit allows") from None
    except (CtcError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins let all kinds through when data is damaged
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"damaged image: {reason}") from None
    return image


def source_image(image: Image.Image) -> SourceImage:
    """Bring an image of any mode to 8-bit RGB, upright. Raises InputError for unusable modes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata: none of it is kept
        return _source_image(image)


def _frames(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # damaged metadata says nothing about the pixels
        return 1


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the same
        return image


def _source_image(image: Image.Image) -> SourceImage:
    if 0 in image.size:
        raise InputError("the image has no pixels")
    notes = []
    if _frames(image) > 1:
        notes.append("only the current frame of an animation is coded")
    image = _upright(image)
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8))
        notes.append("16-bit samples are reduced to 8 bits")
    elif image.mode == "F":
        raise InputError("images of floating-point samples cannot be coded")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        flat = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(flat, image).convert("RGB")
        notes.append("transparency is flattened onto white")
    grey = image.mode in ("1", "L")
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    if grey:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return SourceImage(pixels, grey, notes)


def image_from_pixels(pixels: Pixels, grey: bool) -> Image.Image:
    """uint8 [height, width, 3] to a Pillow image, of mode L when ``grey``."""
    if grey:
        return Image.fromarray(np.rint(pixels.mean(axis=2)).astype(np.uint8))
    return Image.fromarray(pixels)


def psnr(a: Pixels, b: Pixels) -> float:
    """PSNR in dB over all samples of two uint8 arrays of equal shape; inf when they are equal."""
    error = np.square(a.astype(np.int32) - b.astype(np.int32), dtype=np.int64).mean(dtype=np.float64)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def saving_format(suffix: str) -> str:
    """Pillow's name of the format that files with this suffix have, for example ``.jpg``: ``JPEG``.

    Raises ValueError if Pillow cannot write it.
    """
    kind = Image.registered_extensions().get(suffix.lower())
    if kind is None or kind not in Image.SAVE:
        what = "a name without a suffix (.png, for example, or --format)" if not suffix else repr(suffix[1:])
        raise ValueError(f"cannot choose an image format from {what}")
    return kind


def image_bytes(image: Image.Image, kind: str) -> bytes:
    """An image file in memory. JPEG and WebP are written at a quality that adds little of their own."""
    out = io.BytesIO()
    try:
        image.save(out, kind, **_SAVE_OPTIONS.get(kind, {}))
    except (OSError, ValueError, KeyError) as error:
        raise OutputError(f"cannot write {kind}: {error}") from None
    return out.getvalue()


_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}
