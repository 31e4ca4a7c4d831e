"""Start as a linear codec: the Karhunen-Loeve transform of 16x16 blocks as initial weights.

Random initialisation spends its first thousands of steps learning to copy. Eigenvectors of colour
blocks in the analysis, their transpose in the synthesis and zeros at the end of every residual branch
make step 0 a transform codec of about JPEG's quality. The hyperprior starts as a linear code too: some
channels of z carry local means of the latent to mu.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._config import HYPER_STRIDE, LATENT_STRIDE, PATCH
from .._hyperprior import ANALYSIS_LEAK, LEAK, LEVEL_GAIN, MU_GAIN
from .._planes import LEVEL_STEP, LEVELS, SIGMA_MIN
from .._wavelet import band_count, band_map
from .data import PatchStore
from .model import TrainingModel

_START_GAIN = 16.0

_CARRIED = 24
"""Channels whose local means z carries at the start (measured: 24 save 1.3 % of the loss after 600 steps)."""

_LOUD = 2.0
"""Standard deviation, in quantiser steps, from which a channel's mean is worth carrying."""

_STEPS_PER_DEVIATION = 4.0
"""Quantiser steps of z per standard deviation of what it carries."""


def _patches(store: PatchStore, count: int, generator: torch.Generator) -> Tensor:
    """16x16 blocks as float32 rows [blocks, 768], channel order that of two nested unshuffles."""
    rows = []
    for _ in range(count):
        x = store.batch(16, generator) - 0.5
        side = x.shape[-1] // LATENT_STRIDE * LATENT_STRIDE
        t = F.pixel_unshuffle(F.pixel_unshuffle(x[..., :side, :side], PATCH), 2)
        rows.append(t.permute(0, 2, 3, 1).reshape(-1, t.shape[1]))
    return torch.cat(rows)


@torch.no_grad()
def init_linear(model: TrainingModel, store: PatchStore, generator: torch.Generator) -> None:
    """Put the KLT into both transforms, and the linear start into the hyperprior."""
    blocks = _patches(store, 24, generator)
    second_moment = (blocks.T @ blocks).double().cpu() / len(blocks)
    _, vectors = torch.linalg.eigh(second_moment)
    n = model.config.latent_channels
    basis = vectors.flip(1)[:, :n].T.float().to(blocks.device)  # [N, 768]
    basis = basis[_means_first(basis, model.config.wavelet_channels)]

    taps = basis.view(n, -1, 2, 2)  # second unshuffle: channel, row, column of the 2x2
    model.analysis.down.weight.copy_(taps)
    model.analysis.down.bias.zero_()  # type: ignore[union-attr]
    model.analysis.log_gain.fill_(math.log(_START_GAIN))
    model.synthesis.up.weight.copy_(basis.T[:, :, None, None])
    model.synthesis.up.bias.zero_()  # type: ignore[union-attr]
    model.synthesis.log_gain.fill_(-math.log(_START_GAIN))
    _init_hyperprior(model, torch.cat([model.analysis(store.batch(8, generator)) for _ in range(12)]))


def _means_first(basis: Tensor, count: int) -> list[int]:
    """Order of the basis [N, 768] in which the ``count`` vectors that hold most of the blocks' means stand
    first: those channels go through the wavelet."""
    means = basis.view(len(basis), 3, PATCH**2, -1).sum((2, 3)).square().sum(1)
    first = means.topk(count).indices.sort().values.tolist()
    return first + [i for i in range(len(basis)) if i not in first]


def _init_hyperprior(model: TrainingModel, y: Tensor) -> None:
    """The deviations of latents y [B, N, h, w] go into the bias of the sigma levels, and their local means
    through z into mu where that saves most."""
    deviation = y.square().mean((0, 2, 3)).sqrt().clamp(min=SIGMA_MIN)
    model.hyper_analysis.log_scale.copy_(-deviation.log())
    bias = model.hyper_synthesis.leave.bias
    assert bias is not None
    level = _level_of(deviation)
    bias[: len(level)] = level / LEVEL_GAIN
    fit_bands(model, y, level[:, None, None].expand_as(y))

    explained = F.avg_pool2d(y, HYPER_STRIDE).square().mean((0, 2, 3)) / deviation**2
    explained[deviation < _LOUD] = 0  # nearly silent: there is little to save
    explained[: model.config.wavelet_channels] = 0
    widths = (model.hyper_analysis.enter.out_channels, *model.config.hyper_synthesis_channels)
    count = min(_CARRIED, model.config.hyper_channels // 2, min(widths) // 4, len(level))
    _carry_means(model, explained.topk(count).indices.tolist(), deviation)


def _level_of(deviation: Tensor) -> Tensor:
    """Sigma level, a real number, of standard deviations in quantiser steps."""
    return ((deviation / SIGMA_MIN).log() / LEVEL_STEP).clamp(0, LEVELS - 1)


@torch.no_grad()
def fit_bands(model: TrainingModel, y: Tensor, level: Tensor) -> None:
    """Set what is added to the levels of the wavelet's bands: deviations of latents y [B, N, h, w] over
    the sigmas that ``level``, of the same shape, stands for."""
    channels, levels = model.config.wavelet_channels, model.config.wavelet_levels
    bands = band_map(y.shape[2], y.shape[3], levels, y.device)
    normalised = y[:, :channels] / (SIGMA_MIN * torch.exp(LEVEL_STEP * level[:, :channels]))
    added = model.hyper_synthesis.band_level
    for band in range(band_count(levels)):
        if (bands == band).any():
            spread = normalised[..., bands == band].square().mean((0, 2)).sqrt()
            added[:, band] = spread.clamp(min=1e-3).log() / LEVEL_STEP / LEVEL_GAIN
        else:  # small crops have no such place: an octave louder than the finer band
            added[:, band] = added[:, band - 3] + math.log(2) / LEVEL_STEP / LEVEL_GAIN


def _carry_means(model: TrainingModel, channels: list[int], deviation: Tensor) -> None:
    """Let z's j-th channel carry the local mean of latent channel ``channels[j]`` (over its deviation,
    compressed by asinh) and mu give it back.

    A pair of leaky units a(x), a(-x) is linear: a(x) - a(-x) = (1 + slope) x.
    """
    analysis, synthesis = model.hyper_analysis, model.hyper_synthesis
    sums, means = 1 / (1 + ANALYSIS_LEAK), 1 / (1 + LEAK)
    for layer in (analysis.enter, analysis.down1, analysis.down2):
        _clear(layer, range(2 * len(channels)) if layer is not analysis.down2 else range(len(channels)))
    for layer, shuffled in ((synthesis.up1, 4), (synthesis.up2, 4), (synthesis.mix, 1)):
        _clear(layer, range(2 * shuffled * len(channels)))
    _clear(synthesis.leave, [model.config.latent_channels + channel for channel in channels])
    for j, channel in enumerate(channels):
        pair = ((2 * j, 1.0), (2 * j + 1, -1.0))
        for unit, sign in pair:
            analysis.enter.weight[unit, channel] = sign
            synthesis.up1.weight[4 * unit : 4 * unit + 4, j, 1, 1] = sign
            for source, other in pair:
                # The middle 2x2 of the 4x4 taps with stride 2: means of blocks that don't overlap.
                analysis.down1.weight[unit, source, 1:3, 1:3] = sign * other * sums / 4
                synthesis.up2.weight[4 * unit : 4 * unit + 4, source, 1, 1] = sign * other * means
                synthesis.mix.weight[unit, source] = sign * other * means
            analysis.down2.weight[j, unit, 1:3, 1:3] = _STEPS_PER_DEVIATION * sign * sums / 4
            synthesis.leave.weight[model.config.latent_channels + channel, unit] = (
                sign * means * deviation[channel] / _STEPS_PER_DEVIATION / MU_GAIN
            )


def _clear(layer: nn.Conv2d, units: Iterable[int]) -> None:
    for unit in units:
        layer.weight[unit] = 0
        if layer.bias is not None:
            layer.bias[unit] = 0
