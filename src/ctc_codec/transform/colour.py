"""The orthonormal colour rotation between sRGB samples and the planes that the wavelet works on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

CENTRE = np.float32(127.5)
_ROTATION = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]) / np.sqrt([[3], [2], [6]])
"""Rows: luma, red minus blue, green minus magenta; the inverse is the transpose."""


def rotate(pixels: Pixels, grey: bool) -> Floats:
    """Samples uint8 [height, width, 3] as planes float32 [3, height, width], or [1, height, width] of a grey
    picture, whose luma is the same as in colour."""
    if grey:
        return ((pixels[..., 0] - CENTRE) * np.float32(3**0.5))[None]
    planes = np.empty((3, *pixels.shape[:2]), np.float32)
    samples = [pixels[..., c] - CENTRE for c in range(3)]
    for plane, row in zip(planes, _ROTATION.astype(np.float32), strict=True):
        np.multiply(samples[0], row[0], out=plane)
        for sample, weight in zip(samples[1:], row[1:], strict=True):
            plane += sample * weight
    return planes


def unrotate(planes: Floats) -> Pixels:
    """Planes float32 [1 or 3, height, width] as samples uint8 [height, width, 1 or 3], rounded and
    clamped."""
    pixels = np.empty((*planes.shape[1:], len(planes)), np.uint8)
    weights = _ROTATION.T.astype(np.float32) if len(planes) == 3 else np.array([[3**-0.5]], np.float32)
    for channel, row in enumerate(weights):
        sample = planes[0] * row[0]
        for plane, weight in zip(planes[1:], row[1:], strict=True):
            if weight:
                sample += plane * weight
        sample += CENTRE
        np.rint(sample, out=sample)
        pixels[..., channel] = np.clip(sample, 0, 255, out=sample)
    return pixels
