"""The orthonormal colour rotation between sRGB samples and the planes that the wavelet works on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

CENTRE = np.float32(127.5)
_ROTATION = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]) / np.sqrt([[3], [2], [6]])
"""Rows: luma, red minus blue, green minus magenta; the inverse is the transpose."""


def rotate(pixels: Pixels, grey: bool, out: Floats | None = None) -> Floats:
    """Samples uint8 [height, width, 3] as planes float32 [3, height, width], or [1, height, width] of a grey
    picture, whose luma is the same as in colour. out: is filled and returned if given."""
    if out is None:
        out = np.empty((1 if grey else 3, *pixels.shape[:2]), np.float32)
    if grey:
        np.copyto(out[0], pixels[..., 0])
        out[0] -= CENTRE
        out[0] *= np.float32(3**0.5)
        return out
    (third, *_), (half, *_), (minus, twice, _) = _ROTATION.astype(np.float32)
    red, green, blue = samples = np.empty(out.shape, np.float32)
    np.copyto(samples, np.moveaxis(pixels, 2, 0))
    samples -= CENTRE
    spare = np.empty(red.shape, np.float32)
    luma, red_blue, green_magenta = out
    np.multiply(red, third, out=luma)
    luma += np.multiply(green, third, out=spare)
    luma += np.multiply(blue, third, out=spare)
    np.multiply(red, half, out=red_blue)
    red_blue -= np.multiply(blue, half, out=spare)
    np.multiply(red, minus, out=green_magenta)
    green_magenta += np.multiply(green, twice, out=green)
    green_magenta += np.multiply(blue, minus, out=blue)
    return out


def unrotate(planes: Floats, out: Pixels | None = None) -> Pixels:
    """Planes float32 [1 or 3, height, width], which are used up, as samples uint8 [height, width, 1 or 3],
    rounded and clamped. out: is filled and returned if given."""
    if out is None:
        out = np.empty((*planes.shape[1:], len(planes)), np.uint8)
    if len(planes) == 1:
        planes *= np.float32(3**-0.5)
        _put(planes[0], out[..., 0])
        return out
    (third, *_), (half, *_), (minus, *_) = _ROTATION.astype(np.float32)
    luma, red_blue, green_magenta = planes
    luma *= third
    red_blue *= half
    green_magenta *= minus
    sample = luma + red_blue
    sample += green_magenta
    _put(sample, out[..., 0])
    np.subtract(luma, red_blue, out=sample)
    sample += green_magenta
    _put(sample, out[..., 2])
    green_magenta += green_magenta
    luma -= green_magenta
    _put(luma, out[..., 1])
    return out


def _put(sample: Floats, out: Pixels) -> None:
    """Write samples less CENTRE, which are used up, to a channel of pixels."""
    sample += CENTRE
    np.rint(sample, out=sample)
    np.clip(sample, 0, 255, out=sample)
    np.copyto(out, sample, casting="unsafe")
