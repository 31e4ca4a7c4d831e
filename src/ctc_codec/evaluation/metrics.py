"""Distortion of a decoded image, by packages others keep: MS-SSIM and SSIMULACRA 2 beside PSNR."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .._image import Pixels, psnr

PSNR_OF_EQUALS = 100.0
"""dB, so that equal images do not make means infinite."""


@dataclass(frozen=True)
class Metric:
    """name: in results; label: for people; package: what computes it, None for this one;
    smallest: least side in pixels that it is defined for."""

    name: str
    label: str
    package: str | None
    smallest: int


METRICS = (
    Metric("psnr", "PSNR", None, 1),
    Metric("ms_ssim", "MS-SSIM", "pytorch_msssim", 161),
    Metric("ssimulacra2", "SSIMULACRA 2", "ssimulacra2", 8),
)


def missing_packages(names: Sequence[str]) -> list[str]:
    """Packages that the metrics of these names need and that are not installed."""
    needed = [m.package for m in METRICS if m.name in names and m.package]
    return [package for package in needed if importlib.util.find_spec(package) is None]


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


_FUNCTIONS = {
    "psnr": lambda a, b: min(psnr(a, b), PSNR_OF_EQUALS),
    "ms_ssim": _ms_ssim,
    "ssimulacra2": _ssimulacra2,
}


def quality(original: Pixels, decoded: Pixels, names: Sequence[str]) -> dict[str, float | None]:
    """The metrics of these names for uint8 [height, width, 3]; None where an image is too small for one.

    Raises ValueError if the images differ in shape.
    """
    if original.shape != decoded.shape:
        raise ValueError(f"decoded to {decoded.shape[1]}x{decoded.shape[0]}")
    side = min(original.shape[:2])
    return {
        m.name: _FUNCTIONS[m.name](original, decoded) if side >= m.smallest else None
        for m in METRICS
        if m.name in names
    }


def ms_ssim_db(value: float) -> float:
    """MS-SSIM as -10 log10(1 - MS-SSIM), in which equal steps look about equal."""
    return float(-10 * np.log10(max(1 - value, 1e-10)))
