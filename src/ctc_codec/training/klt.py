"""Start as a linear codec: the Karhunen-Loeve transform of 16x16 blocks as initial weights.

Random initialisation spends its first thousands of steps learning to copy. Eigenvectors of colour
blocks in the analysis, their transpose in the synthesis and zeros at the end of every residual branch
make step 0 a transform codec of about JPEG's quality.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .._config import LATENT_STRIDE, PATCH
from .._hyperprior import LEVEL_GAIN
from .._planes import LEVELS, SIGMA_MAX, SIGMA_MIN
from .data import PatchStore
from .model import TrainingModel

_START_GAIN = 16.0


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
    """Put the KLT into both transforms and the channels' sigmas into the hyperprior's bias."""
    blocks = _patches(store, 24, generator)
    second_moment = (blocks.T @ blocks).double().cpu() / len(blocks)
    values, vectors = torch.linalg.eigh(second_moment)
    n = model.config.latent_channels
    basis = vectors.flip(1)[:, :n].T.float().to(blocks.device)  # [N, 768]
    deviation = values.flip(0)[:n].clamp(min=1e-12).sqrt().float().to(blocks.device)

    taps = basis.view(n, -1, 2, 2)  # second unshuffle: channel, row, column of the 2x2
    model.analysis.down.weight.copy_(taps)
    model.analysis.down.bias.zero_()  # type: ignore[union-attr]
    model.analysis.log_gain.fill_(math.log(_START_GAIN))
    model.synthesis.up.weight.copy_(basis.T[:, :, None, None])
    model.synthesis.up.bias.zero_()  # type: ignore[union-attr]
    model.synthesis.log_gain.fill_(-math.log(_START_GAIN))

    step = math.log(SIGMA_MAX / SIGMA_MIN) / (LEVELS - 1)
    level = (deviation * _START_GAIN / SIGMA_MIN).log() / step
    bias = model.hyper_synthesis.leave.bias
    assert bias is not None
    bias[:n] = level.clamp(0, LEVELS - 1) / LEVEL_GAIN
    model.hyper_analysis.log_scale.copy_(-(deviation * _START_GAIN).clamp(min=SIGMA_MIN).log())
