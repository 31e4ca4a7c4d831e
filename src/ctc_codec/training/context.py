"""Stages that train the context models on a frozen base: CRR, CDR, and CDR with the synthesis."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .._planes import LEVEL_STEP, SIGMA_MIN
from .model import CUT_SHARES, TrainingModel, TreeState, integers, weighted_distortion
from .stages import Stage

_RATE_FLOOR = 0.01
"""Bits per pixel added to a plane's rate where rates are compared: nearly empty planes are mostly noise."""

_RESIDUAL_LIMIT = 8.0


class Latent:
    """The quantised latent of images under the frozen base, and features of its partial states."""

    @torch.no_grad()
    def __init__(self, model: TrainingModel, x: Tensor) -> None:
        self.model = model
        y = model.analysis(x)
        level, self.mu = model.entropy_parameters(model.hyper_analysis(y), y)
        self.level = integers(level)
        self.s = integers(y - self.mu)
        self._scale = model.hyper_analysis.log_scale.exp()[:, None, None]
        self._sigma = SIGMA_MIN * torch.exp(self.level * LEVEL_STEP)
        self.static = torch.cat((self.level / 16 - 2, torch.asinh(self.mu * self._scale)), dim=1)

    def state(self, missing: Tensor) -> TreeState:
        """What is known with ``missing`` planes missing (integers that broadcast to the latent)."""
        return self.model.tree_state(self.s, self.level, missing)

    @torch.no_grad()
    def features(self, state: TreeState) -> Tensor:
        """Input of the context networks, float32 [B, 4N, h, w]."""
        residual = (state.mean / self._sigma).clamp(-_RESIDUAL_LIMIT, _RESIDUAL_LIMIT)
        reconstruction = torch.asinh((self.mu + state.mean) * self._scale)
        width = torch.log((state.high - state.low + 1) / self._sigma) / math.log(3)
        return torch.cat((residual, residual.abs(), reconstruction, width - 2), dim=1)

    def trit_bits(self, state: TreeState, plane: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bits of the next trit by the table's probabilities and by CRR's, and where there is one:
        float32, float32, bool, all [B, N, h, w]. ``plane`` broadcasts to that; its trit is the next."""
        assert self.model.crr is not None
        trit = self.model.offset(self.s, state.trits) // self.model.powers[plane] % 3
        table = self.model.log_frequencies[state.node].movedim(-1, 1)
        added = self.model.crr(self.features(state), self.static)
        active = (state.trits > plane) & (state.drop == plane + 1)
        bits = [
            F.cross_entropy(t.float(), trit, reduction="none") / math.log(2) for t in (table, table + added)
        ]
        return bits[0], bits[1], active

    def refined(self, state: TreeState) -> Tensor:
        """Residuals as CDR sees them, float32 [B, N, h, w]."""
        assert self.model.cdr is not None
        return self.model.cdr(self.features(state), self.static, state.mean, state.low, state.high)


def _partly(plane: Tensor, like: Tensor, none: float) -> Tensor:
    """Trits of a plane that are known already, bool like ``like``: a random share of them in each image,
    none at all with probability ``none``. plane: [B, 1, 1, 1]."""
    share = (torch.rand_like(plane, dtype=torch.float32) - none).clamp(min=0) / (1 - none)
    return torch.rand_like(like) < share


class Crr(Stage):
    """Cross-entropy of trits at random states, relative to that of the table. Base frozen."""

    name = "crr"
    context = True
    entropy = ("crr",)
    defaults: ClassVar[dict[str, float]] = {"lr_entropy": 5e-4, "clip_norm": 1.0}

    def draw_missing(self, generator: torch.Generator, device: torch.device) -> Tensor:
        """The plane whose trits are predicted, uniform: each counts by its relative saving."""
        return torch.randint(
            0, len(CUT_SHARES) + 1, (self.settings.batch,), generator=generator, device=device
        )

    def forward(self, x: Tensor, missing: Tensor, z_weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        latent = Latent(self.model, x)
        plane = missing[:, None, None, None]
        state = latent.state(plane + 1 - _partly(plane, latent.mu, none=0.5).long())
        table, reduced, active = latent.trit_bits(state, plane)
        pixels = x.shape[2] * x.shape[3]
        bpp_table, bpp = ((bits * active).sum((1, 2, 3)) / pixels for bits in (table, reduced))
        loss = (bpp / (bpp_table.detach() + _RATE_FLOOR)).mean()
        metrics = {"loss": loss, "bpp": bpp.mean(), "bpp_table": bpp_table.mean()}
        return loss, {name: value.detach() for name, value in metrics.items()}


class Cdr(Stage):
    """Distortion of pictures from partial states; only CDR learns."""

    name = "cdr"
    context = True
    entropy = ("cdr",)
    defaults: ClassVar[dict[str, float]] = {"lr_entropy": 3e-4, "full_share": 0.0}

    def forward(self, x: Tensor, missing: Tensor, z_weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        latent = Latent(self.model, x)
        plane = missing[:, None, None, None]
        known = _partly(plane, latent.mu, none=0.5) & (plane > 0)
        state = latent.state(plane - known.long())
        x_hat = self.model.synthesis(latent.mu + latent.refined(state))
        distortion, metrics = weighted_distortion(x_hat, x, missing, self.settings.lmbda)
        loss = distortion.mean()
        return loss, metrics | {"loss": loss.detach()}


class Joint(Cdr):
    """CDR and the synthesis together, over the whole range of rates (the paper's decoder retraining)."""

    name = "joint"
    transforms = ("synthesis",)
    defaults: ClassVar[dict[str, float]] = {"lr_entropy": 3e-4, "lr_transforms": 5e-5, "full_share": 0.3}
