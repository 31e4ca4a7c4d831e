"""How much the synthesis amplifies errors of each channel: the channels' share of trit priorities."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .._planes import PRIORITY_SCALE
from .data import PatchStore

_BATCHES = 8
_LIMIT = 2000


def channel_priorities(
    analysis: nn.Module, synthesis: nn.Module, store: PatchStore, seed: int = 0
) -> np.ndarray:
    """How much the synthesis amplifies an error in each channel, int16 [N].

    log2 of the pixel energy caused by a unit error, in 1/64, relative to the median; estimated with
    random projections of the output (E |J^T v|^2 for white v is the squared norm of J's columns). The
    priority of a trit is its expected decrease of *latent* distortion per bit, so this turns it into
    one of pixel distortion. Worth 0.02 to 0.12 dB at equal rate on a lightly trained model.
    """
    generator = torch.Generator(store.device).manual_seed(seed)
    energy: Tensor | None = None
    for _ in range(_BATCHES):
        with torch.no_grad():
            y = analysis(store.batch(4, generator)).round()
        y.requires_grad_(True)
        x_hat = synthesis(y)
        v = torch.randn(x_hat.shape, generator=generator, device=x_hat.device)
        (gradient,) = torch.autograd.grad((x_hat * v).sum(), y)
        batch = gradient.double().square().mean((0, 2, 3))
        energy = batch if energy is None else energy + batch
    assert energy is not None
    log = torch.log2(energy.clamp(min=1e-30))
    priority = (PRIORITY_SCALE * (log - log.median())).round()
    return priority.clamp(-_LIMIT, _LIMIT).to(torch.int16).cpu().numpy()
