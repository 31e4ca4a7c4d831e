"""Distortion of a decoded image: PSNR, and MS-SSIM and SSIMULACRA 2 by packages of their own."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..image.source import psnr
from ..image.transparency import Pixels

PSNR_OF_EQUALS = 100.0
"""dB, so that equal images do not make means infinite."""


def _psnr(original: Pixels, decoded: Pixels) -> float:
    return min(psnr(original, decoded), PSNR_OF_EQUALS)


def _ms_ssim(original: Pixels, decoded: Pixels) -> float:
    """Wang, Simoncelli, Bovik 2003, of the RGB samples, mean over channels; in 0..1."""
    import torch
    from pytorch_msssim import ms_ssim

    planes = (torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() for p in (original, decoded))
    return float(ms_ssim(*planes, data_range=255))


def _ssimulacra2(original: Pixels, decoded: Pixels) -> float:
    """Sneyers, Cloudinary 2022; 100 for equal images, 70 high and 50 medium quality, no lower bound."""
    from ssimulacra2 import compute_ssimulacra2

    files = []
    for pixels in (original, decoded):
        files.append(io.BytesIO())
        Image.fromarray(pixels).save(files[-1], "PPM")
    return float(compute_ssimulacra2(*files))


@dataclass(frozen=True)
class Metric:
    """A measure of distortion.

    name: in results.
    label: for people.
    axis: the same on a plot, with its unit.
    package: that computes it; None for this one.
    smallest: least side in pixels that it is defined for.
    function: of two images, uint8 [height, width, 3].
    """

    name: str
    label: str
    axis: str
    package: str | None
    smallest: int
    function: Callable[[Pixels, Pixels], float]


METRICS = (
    Metric("psnr", "PSNR", "PSNR (RGB), dB", None, 1, _psnr),
    Metric("ms_ssim", "MS-SSIM", "MS-SSIM, dB", "pytorch_msssim", 161, _ms_ssim),
    Metric("ssimulacra2", "SSIMULACRA 2", "SSIMULACRA 2", "ssimulacra2", 8, _ssimulacra2),
)


def packages(names: Sequence[str]) -> list[str]:
    """Packages that the metrics of these names need."""
    return [m.package for m in METRICS if m.name in names and m.package]


def quality(original: Pixels, decoded: Pixels, names: Sequence[str]) -> dict[str, float | None]:
    """The metrics of these names for uint8 [height, width, 3]; None where an image is too small for one.

    Raises ValueError if the images differ in shape.
    """
    if original.shape != decoded.shape:
        raise ValueError(f"decoded to {decoded.shape[1]}x{decoded.shape[0]}")
    side = min(original.shape[:2])
    wanted = [m for m in METRICS if m.name in names]
    return {m.name: m.function(original, decoded) if side >= m.smallest else None for m in wanted}


def ms_ssim_db(value: float) -> float:
    """MS-SSIM as -10 log10(1 - MS-SSIM), in which equal steps look about equal."""
    return float(-10 * np.log10(max(1 - value, 1e-10)))
