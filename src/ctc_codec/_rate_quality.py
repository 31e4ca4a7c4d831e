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
import torch.nn.functional as F

from ._config import LATENT_STRIDE
from ._device import branch_precision
from ._image import Pixels
from ._model import CodecModel
from ._planes import MEAN_SCALE, PRIORITY_SCALE, IntArray
from ._quality import QualityTable, table_of
from ._tiles import Span, Tile, span
from ._wavelet import compose

_FIRST_BYTES = 256
_EARLY, _EARLY_STEP = 5, 1.2
"""PSNR rises steeply after the hyper-latent: the first looks follow each other closely."""
_SHARES = (1.0, 2**-1.5, 2**-3.5)
"""Of the whole stream: about where pixels are looked at. Chosen on photographs: 0.3 dB rms."""
_TILE, _HALO = 6, 1
_TILES = 4
_SAMPLED_POSITIONS = 1 << 14
"""Positions at which the latent's error is summed, about: all of them in an image of up to 4 megapixels."""
_WHOLE_POSITIONS = 20 * 20
"""Latents of no more positions are one tile."""
_HIGHEST_PSNR = 99.99


@dataclass(frozen=True)
class _Moment:
    """nbytes: of the code word; error: of the whole latent, weighted; tile_error: in the tiles; blocks: their
    coefficients, float32 [tiles, N, rows, columns]."""

    nbytes: int
    error: float
    tile_error: float
    blocks: torch.Tensor


def _places(error: torch.Tensor) -> list[Tile]:
    """Tiles that stand for the error of the whole, float32 [h, w]: spread evenly over its sum."""
    h, w = error.shape
    if h * w <= _WHOLE_POSITIONS:
        return [Tile(span(0, h, h, 0), span(0, w, w, 0))]
    high, wide = min(_TILE, h), min(_TILE, w)
    sums = F.avg_pool2d(error[None, None], (high, wide))[0, 0].double().numpy()
    order = np.argsort(sums.reshape(-1), kind="stable")
    shares = np.cumsum(sums.reshape(-1)[order]) / max(sums.sum(), 1e-30)
    picks = {int(order[np.searchsorted(shares, (i + 0.5) / _TILES)]) for i in range(_TILES)}
    corners = [divmod(pick, sums.shape[1]) for pick in sorted(picks)]
    return [Tile(_span(high * row, high, h), _span(wide * column, wide, w)) for row, column in corners]


def _span(start: int, size: int, side: int) -> Span:
    """Of ``size`` positions, with all of the halo: at a border more of it lies at the other side."""
    wide = min(size + 2 * _HALO, side)
    first = min(max(start - _HALO, 0), side - wide)
    return Span(slice(start, start + size), slice(first, first + wide))


class QualityWatch:
    """Called by the encoder as it goes (see :func:`ctc_codec._stream.encode_planes`).

    pixels: uint8 [height, width, 3]; y: float32 [N, h, w]; mu: int32 [N, h, w] in 1/64; grey: the channels
    are averaged before they are compared. Neither y nor mu is kept whole: of a large image some rows are
    looked at.
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
        gain = torch.from_numpy(model.channel_priority.astype(np.float32)) / PRIORITY_SCALE
        self._gain = torch.exp2(gain)[:, None, None]
        self._pixels, self._grey = pixels, grey
        self._next = _FIRST_BYTES
        self._moments: list[_Moment] = []

        self._first, self._levels = model.config.wavelet_channels, model.config.wavelet_levels
        n, h, w = y.shape
        self._positions = h * w
        step = -(-h * w // _SAMPLED_POSITIONS)
        self._rows = slice(min(step // 2, h - 1), h, step)
        # What a decoder that knows the hyper-latent alone gets wrong: of the wavelet's channels everywhere.
        first_mu = torch.from_numpy(mu[: self._first]).float() / MEAN_SCALE
        self._first_mu = compose(first_mu, self._levels)
        self._first_rest = y[: self._first] - first_mu
        error = (compose(self._first_rest, self._levels).square_() * self._gain[: self._first]).sum(dim=0)
        for channel in range(self._first, n):
            rest = y[channel] - torch.from_numpy(mu[channel]).float() / MEAN_SCALE
            error += rest.square_() * self._gain[channel]
        self._tiles = _places(error)
        self._mu = [self._others(mu, *tile.outer) for tile in self._tiles]
        self._rest_of_tiles = [
            y[self._first :, *tile.outer] - mean for tile, mean in zip(self._tiles, self._mu, strict=True)
        ]
        self._rest_of_rows = y[self._first :, self._rows] - self._others(mu, self._rows)

    def _others(self, mu: IntArray, *window: slice) -> torch.Tensor:
        """Of a part of mu: the channels that are not the wavelet's, float32 in quantiser steps."""
        return torch.from_numpy(mu[self._first :, *window]).float() / MEAN_SCALE

    def _residual(self, node: IntArray) -> torch.Tensor:
        """Conditional means of nodes int32 of any shape, float32."""
        return self._means[torch.from_numpy(np.ascontiguousarray(node))]

    def _weighted(self, first: torch.Tensor, others: torch.Tensor) -> float:
        """Sum of squared errors [channels, rows, columns], by what a channel's error does to pixels."""
        gains = self._gain[: self._first], self._gain[self._first :]
        return sum(float((e.square() * gain).sum()) for e, gain in zip((first, others), gains, strict=True))

    @torch.inference_mode()
    def _record(self, nbytes: int, node: IntArray) -> None:
        first = self._residual(node[: self._first])
        blocks = self._first_mu + compose(first, self._levels)
        first_error = compose(self._first_rest - first, self._levels)
        others = self._residual(node[self._first :, self._rows])
        error = self._weighted(first_error[:, self._rows], self._rest_of_rows - others)
        error *= self._positions / others[0].numel()
        parts, tile_error = [], 0.0
        for tile, mean, rest in zip(self._tiles, self._mu, self._rest_of_tiles, strict=True):
            others = self._residual(node[self._first :, *tile.outer])
            parts.append(torch.cat((blocks[:, *tile.outer], mean + others)))
            tile_error += self._weighted(first_error[:, *tile.core], (rest - others)[:, *tile.inner])
        self._moments.append(_Moment(nbytes, error, tile_error, torch.stack(parts)))

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
        positions = 0
        for tile, picture in zip(self._tiles, decoded, strict=True):
            at = tile.scaled(LATENT_STRIDE)
            shown = picture[at.inner].astype(np.float64)
            original = self._pixels[at.core].astype(np.float64)
            shown = shown[: original.shape[0], : original.shape[1]]  # less padding
            if self._grey:
                original, shown = original[..., :1], shown.mean(axis=2, keepdims=True).round()
            total += float(np.square(original - shown).sum())
            count += original.size
            positions += math.prod(end.stop - end.start for end in tile.core)
        scale = moment.error / max(moment.tile_error, 1e-30) * positions / self._positions
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
