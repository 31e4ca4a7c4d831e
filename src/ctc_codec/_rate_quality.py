"""Measuring, while an image is encoded, what PSNR each length of its stream is going to have.

The error of the latent is known at any moment of encoding; weighted by how much the synthesis transform
amplifies each channel it is proportional to the squared error of pixels, but for what the transform
itself adds or takes away. So the latent's error is summed at every doubling of the bytes, and three times it
is compared with pixels, synthesised in a few tiles only: the cost does not grow with the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ._config import LATENT_STRIDE
from ._device import branch_precision
from ._image import Pixels
from ._model import CodecModel
from ._planes import MEAN_SCALE, PRIORITY_SCALE, IntArray
from ._quality import QualityTable, table_of

_FIRST_BYTES = 256
_EARLY, _EARLY_STEP = 5, 1.2
"""PSNR rises steeply after the hyper-latent: the first looks follow each other closely."""
_SHARES = (1.0, 2**-1.5, 2**-3.5)
"""Of the whole stream: about where pixels are looked at. Chosen on photographs: 0.3 dB rms."""
_TILE, _HALO = 6, 1
_TILES = 4
_WHOLE_POSITIONS = 20 * 20
"""Latents of no more positions are one tile."""
_HIGHEST_PSNR = 99.99


@dataclass(frozen=True)
class _Tile:
    """In latent positions: where the synthesis looks, and the part of that whose pixels count."""

    rows: slice
    columns: slice
    inner_rows: slice
    inner_columns: slice


@dataclass(frozen=True)
class _Moment:
    """nbytes: of the code word; error: of the whole latent, weighted; tile_error: in the tiles; blocks: their
    coefficients, float32 [tiles, N, rows, columns]."""

    nbytes: int
    error: float
    tile_error: float
    blocks: torch.Tensor


def _pixels(positions: slice) -> slice:
    return slice(positions.start * LATENT_STRIDE, positions.stop * LATENT_STRIDE)


def _shifted(inner: slice, outer: slice) -> slice:
    return slice(outer.start + inner.start, outer.start + inner.stop)


def _span(start: int, side: int) -> tuple[slice, slice]:
    size, wide = min(_TILE, side), min(_TILE + 2 * _HALO, side)
    first = min(max(start - _HALO, 0), side - wide)
    return slice(first, first + wide), slice(start - first, start - first + size)


def _tiles(error: torch.Tensor) -> list[_Tile]:
    """Tiles that stand for the error of the whole, float32 [h, w]: spread evenly over its sum."""
    h, w = error.shape
    if h * w <= _WHOLE_POSITIONS:
        return [_Tile(slice(0, h), slice(0, w), slice(0, h), slice(0, w))]
    high, wide = min(_TILE, h), min(_TILE, w)
    starts = [(r, c) for r in range(0, h - high + 1, high) for c in range(0, w - wide + 1, wide)]
    sums = np.array([float(error[r : r + high, c : c + wide].sum()) for r, c in starts])
    order = np.argsort(sums, kind="stable")
    shares = np.cumsum(sums[order]) / max(sums.sum(), 1e-30)
    picks = {int(order[np.searchsorted(shares, (i + 0.5) / _TILES)]) for i in range(_TILES)}
    tiles = []
    for r, c in (starts[pick] for pick in sorted(picks)):
        (rows, inner_rows), (columns, inner_columns) = _span(r, h), _span(c, w)
        tiles.append(_Tile(rows, columns, inner_rows, inner_columns))
    return tiles


class QualityWatch:
    """Called by the encoder as it goes (see :func:`ctc_codec._stream.encode_planes`).

    pixels: uint8 [height, width, 3]; y: float32 [N, h, w]; mu: int32 [N, h, w] in 1/64; grey: the channels
    are averaged before they are compared.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: CodecModel,
        pixels: Pixels,
        y: torch.Tensor,
        mu: IntArray,
        grey: bool,
        device: torch.device,
    ) -> None:
        self._device = device
        self._synthesis = model.networks(device).synthesis
        self._means = torch.from_numpy(model.tables.means).float() / MEAN_SCALE
        self._mu = torch.from_numpy(mu).float() / MEAN_SCALE
        self._y = self._blocks(y)
        gain = torch.from_numpy(model.channel_priority.astype(np.float32)) / PRIORITY_SCALE
        self._gain = torch.exp2(gain)[:, None, None]
        self._pixels, self._grey = pixels, grey
        self._next = _FIRST_BYTES
        self._moments: list[_Moment] = []
        self._tiles = _tiles(self._errors(self._blocks(self._mu)))
        tiled = torch.zeros(mu.shape[1:])
        for tile in self._tiles:
            tiled[tile.rows, tile.columns][tile.inner_rows, tile.inner_columns] = 1
        self._tiled = tiled

    def _blocks(self, latent: torch.Tensor) -> torch.Tensor:
        return self._synthesis.to_blocks(latent[None])[0]

    def _errors(self, blocks: torch.Tensor) -> torch.Tensor:
        """Weighted squared error at every position, float32 [h, w]."""
        return ((self._y - blocks).square_() * self._gain).sum(dim=0)

    @torch.inference_mode()
    def _record(self, nbytes: int, node: IntArray) -> None:
        residual = self._means[torch.from_numpy(node)].reshape(self._mu.shape)
        blocks = self._blocks(self._mu + residual)
        error = self._errors(blocks)
        parts = torch.stack([blocks[:, tile.rows, tile.columns] for tile in self._tiles])
        moment = _Moment(nbytes, float(error.sum()), float((error * self._tiled).sum()), parts)
        self._moments.append(moment)

    def __call__(self, nbytes: int, node: IntArray) -> None:
        self._node = node
        if nbytes >= self._next:
            self._record(nbytes, node)
            self._next = int(nbytes * (_EARLY_STEP if len(self._moments) < _EARLY else 2))

    def _pixel_error(self, moment: _Moment) -> float:
        """Mean squared error of the image, from that of the tiles by the ratio of the latent's errors."""
        with branch_precision(self._device):
            x = self._synthesis.from_blocks(moment.blocks.to(self._device))
        decoded = (x * 255).round().clamp(0, 255).permute(0, 2, 3, 1).cpu().numpy()
        total, count = 0.0, 0
        for tile, picture in zip(self._tiles, decoded, strict=True):
            shown = picture[_pixels(tile.inner_rows), _pixels(tile.inner_columns)].astype(np.float64)
            rows, columns = _shifted(tile.inner_rows, tile.rows), _shifted(tile.inner_columns, tile.columns)
            original = self._pixels[_pixels(rows), _pixels(columns)].astype(np.float64)
            shown = shown[: original.shape[0], : original.shape[1]]  # less padding
            if self._grey:
                original, shown = original[..., :1], shown.mean(axis=2, keepdims=True).round()
            total += float(np.square(original - shown).sum())
            count += original.size
        scale = moment.error / max(moment.tile_error, 1e-30) * float(self._tiled.mean())
        return total / count * scale

    def _nearest(self, nbytes: float) -> int:
        """Index of the moment whose bytes have about that logarithm."""
        logs = [abs(math.log(max(moment.nbytes, 1) / max(nbytes, 1))) for moment in self._moments]
        return logs.index(min(logs))

    @torch.inference_mode()
    def table(self, code_bytes: int) -> QualityTable:
        """Of the code word that has been watched and now has so many bytes."""
        while self._moments and self._moments[-1].nbytes >= code_bytes:
            self._moments.pop()
        self._record(code_bytes, self._node)
        moments = self._moments
        looked = {self._nearest(share * code_bytes) for share in _SHARES}
        known = sorted((moments[i].error, self._pixel_error(moments[i])) for i in looked)
        errors, pixel_errors = (np.array(column) for column in zip(*known, strict=True))
        points = []
        for moment in moments:
            mse = float(np.interp(moment.error, errors, pixel_errors))
            if moment.error > errors[-1]:
                mse *= moment.error / max(errors[-1], 1e-30)
            psnr = 10 * math.log10(255**2 / mse) if mse > 0 else _HIGHEST_PSNR
            points.append((moment.nbytes, min(psnr, _HIGHEST_PSNR)))
        return table_of(code_bytes, points)
