"""Latents of random crops under a frozen base, computed once: what context models learn from."""

from __future__ import annotations

import torch
from torch import Tensor

from .._device import branch_precision
from .data import PatchStore
from .model import TrainingModel

_AT_ONCE = 8
_RESIDUAL_LIMIT = 32767


class LatentStore:
    """Residuals and levels of ``crops`` random crops of a store, int16 [crops, 2N, h, w] on its device."""

    def __init__(
        self, model: TrainingModel, store: PatchStore, crops: int, generator: torch.Generator
    ) -> None:
        parts = []
        for start in range(0, crops, _AT_ONCE):
            with branch_precision(store.device):
                s, level, _ = model.quantised(store.batch(min(_AT_ONCE, crops - start), generator))
            s = s.clamp(-_RESIDUAL_LIMIT, _RESIDUAL_LIMIT)
            parts.append(torch.cat((s, level), dim=1).to(torch.int16))
        self._latents = torch.cat(parts)

    def batch(self, size: int, generator: torch.Generator) -> Tensor:
        """Random ones, int16 [size, 2N, h, w]."""
        count = len(self._latents)
        return self._latents[torch.randint(count, (size,), generator=generator, device=self._latents.device)]
