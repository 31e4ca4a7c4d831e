"""Batches of crops: pictures on the training device, detailed places more often."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .data import Pixels

_BLOCK = 16
_SYNTHETIC_SHARE = 0.05
_CHOICE_SHARE = 0.75
"""Share of the crops of photographs that are the more detailed of two: many photographs are half sky."""
_SMALLER_SHARE, _SMALLER = 0.3, 2.0
"""So many photographs are scaled down, by up to so much: sharper than their files, without another JPEG."""
_SIZE_POWER = 0.7
"""Photographs are drawn by their pixels to this power."""


@dataclass(frozen=True)
class _Picture:
    """A picture to draw crops from.

    pixels: uint8 [h, w, 3] on the device.
    detail: sums over the blocks above and left of each corner.
    """

    pixels: Tensor
    detail: np.ndarray


def _detail(pixels: Pixels) -> np.ndarray:
    grey = pixels.astype(np.float32).mean(axis=2)
    steps = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    rows, columns = (side // _BLOCK for side in steps.shape)
    blocks = steps[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK).mean((1, 3))
    return np.pad(blocks.cumsum(0).cumsum(1), ((1, 0), (1, 0)))


class Crops:
    """Crops of photographs and, now and then, of synthetic pictures, mirrored and turned."""

    def __init__(
        self, photographs: Sequence[Pixels], synthetic: Iterable[Pixels], side: int, device: torch.device
    ) -> None:
        """Leave out pictures that are smaller than a crop. Raises ValueError when none is left."""
        self.side = side

        def prepared(pictures: Iterable[Pixels]) -> list[_Picture]:
            return [
                _Picture(torch.from_numpy(p.copy()).to(device), _detail(p))
                for p in pictures
                if min(p.shape[:2]) >= side
            ]

        self.photographs, self._synthetic = prepared(photographs), prepared(synthetic)
        if not self.photographs:
            raise ValueError(f"no photograph of at least {side}x{side} pixels")
        areas = np.array([p.pixels.shape[0] * p.pixels.shape[1] for p in self.photographs], np.float64)
        self.megapixels = float(areas.sum() / 1e6)
        self._weights = areas**_SIZE_POWER / (areas**_SIZE_POWER).sum()

    def _amount(self, picture: _Picture, top: int, left: int) -> float:
        """Mean detail of a crop, to whole blocks."""
        rows, columns = picture.detail.shape
        blocks = self.side // _BLOCK
        top, left = min(top // _BLOCK, rows - 1), min(left // _BLOCK, columns - 1)
        bottom, right = min(top + blocks, rows - 1), min(left + blocks, columns - 1)
        total = picture.detail[[bottom, top, bottom, top], [right, right, left, left]] @ [1, -1, -1, 1]
        return float(total) / max(1, (bottom - top) * (right - left))

    def _draw(self, rng: np.random.Generator) -> Tensor:
        """One crop, uint8 [3, side, side]; a view."""
        synthetic = bool(self._synthetic) and rng.random() < _SYNTHETIC_SHARE
        if synthetic:
            picture = self._synthetic[rng.integers(len(self._synthetic))]
        else:
            picture = self.photographs[rng.choice(len(self.photographs), p=self._weights)]
        height, width = picture.pixels.shape[:2]
        side = self.side
        if not synthetic and rng.random() < _SMALLER_SHARE:
            side = int(min(height, width, self.side * rng.uniform(1, _SMALLER)))
        places = [
            (int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1)))
            for _ in range(2 if not synthetic and rng.random() < _CHOICE_SHARE else 1)
        ]
        top, left = max(places, key=lambda place: self._amount(picture, *place))
        crop = picture.pixels[top : top + side, left : left + side].permute(2, 0, 1)
        if side > self.side:
            size = self.side, self.side
            (crop,) = F.interpolate(crop[None].float(), size, mode="bilinear", antialias=True)
            crop = crop.round().clamp(0, 255).to(torch.uint8)
        for axis in (1, 2):
            if rng.random() < 0.5:
                crop = crop.flip(axis)
        return crop.transpose(1, 2) if rng.random() < 0.5 else crop

    def fill(self, batch: Tensor, rng: np.random.Generator) -> None:
        """Draw crops into a batch, uint8 [B, 3, side, side]."""
        for crop in batch:
            crop.copy_(self._draw(rng))
