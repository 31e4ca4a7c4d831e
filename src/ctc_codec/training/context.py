"""Stages that train the context models on a frozen base: CRR, CDR, and CDR with the synthesis; and the
control that the paper's comparison needs, a synthesis for the full rate alone."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .._context import stack_features, static_features
from .._planes import CONTEXT_PLANES, LEVEL_STEP, SIGMA_MIN
from .data import PatchStore
from .latents import LatentStore
from .model import TrainingModel, TreeState, weighted_distortion
from .stages import Batches, Stage

_RATE_FLOOR = 0.01
"""Bits per pixel added to a plane's rate where rates are compared: nearly empty planes are mostly noise."""

_IN_PLANE_SHARE = 0.5
"""So many of the states that CRR learns from are inside a plane: those that a refresh sees."""


class Latent:
    """Quantised latents and what a decoder knows of them.

    s, level: integers [B, N, h, w], residuals and the levels of their sigmas.
    """

    def __init__(self, model: TrainingModel, s: Tensor, level: Tensor) -> None:
        self.model = model
        self.s, self.level = s.int(), level.int()
        self.sigma = SIGMA_MIN * torch.exp(self.level * LEVEL_STEP)
        self._static = static_features(self.level).contiguous(memory_format=torch.channels_last)

    @classmethod
    def of(cls, model: TrainingModel, x: Tensor) -> tuple[Latent, Tensor]:
        """The latent of images float32 [B, 3, 16h, 16w] under the frozen base, and mu."""
        s, level, mu = model.quantised(x)
        return cls(model, s, level), mu

    def state(self, missing: Tensor) -> TreeState:
        """What is known with ``missing`` planes missing (integers that broadcast to the latent)."""
        return self.model.tree_state(self.s, self.level, missing)

    def cut(self, plane: Tensor, share: Tensor) -> TreeState:
        """What is known with a share of a plane decoded, in the order of the codec. [B, 1, 1, 1] each."""
        before = self.state(plane + 1)
        key = self.model.priorities[before.node] + self.model.channel_priority[:, None, None]
        active = before.trits > plane
        key = torch.where(active, key, -(1 << 20))
        known = torch.zeros(active.shape, dtype=torch.bool, device=active.device)
        for at, image, count, part in zip(
            known, key, active.sum((1, 2, 3)).tolist(), share.flatten().tolist(), strict=True
        ):
            first = round(count * part)
            if first:
                at.view(-1)[image.reshape(-1).topk(first, sorted=False).indices] = True
        return self.state(plane + 1 - known.int())

    def _features(self, state: TreeState) -> Tensor:
        features = stack_features(self.model.features, state.node)
        return features.contiguous(memory_format=torch.channels_last)

    def trit_bits(self, state: TreeState, plane: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bits of the next trit by the table's probabilities and by CRR's, and where there is one:
        float32, float32, bool, all [B, N, h, w]. ``plane`` broadcasts to that; its trit is the next."""
        assert self.model.crr is not None
        trit = (self.model.offset(self.s, state.trits) // self.model.powers[plane] % 3).long()
        shift, log_scale = self.model.crr(self._features(state), self._static)
        slopes = self.model.slopes[state.node]
        outer = shift[..., None] * slopes[..., :2] + log_scale[..., None] * slopes[..., 2:]
        first, last = (outer * math.log(2)).unbind(-1)
        table = self.model.log_frequencies[state.node].movedim(-1, 1)
        moved = table + torch.stack((first, torch.zeros_like(first), last), dim=1)
        active = (state.trits > plane) & (state.drop == plane + 1)
        bits = [F.cross_entropy(t.float(), trit, reduction="none") / math.log(2) for t in (table, moved)]
        return bits[0], bits[1], active

    def refined(self, state: TreeState) -> Tensor:
        """Residuals as CDR sees them, float32 [B, N, h, w]."""
        assert self.model.cdr is not None
        return self.model.cdr(
            self._features(state), self._static, state.mean, state.low, state.high, self.sigma
        )


class _OnLatents(Stage):
    """Learns from the latents of crops, which are computed once: the transforms are most of a step."""

    context = True
    defaults: ClassVar[dict[str, float]] = {"lr_entropy": 5e-4, "clip_norm": 1.0, "batch": 8}

    def prepare(self, store: PatchStore, generator: torch.Generator) -> Batches:
        self.model.measure_channel_priority(store)
        return LatentStore(self.model, store, self.settings.latents, generator)

    def draw_missing(self, generator: torch.Generator, device: torch.device) -> Tensor:
        """The plane that a state ends in, uniform: each counts by its relative gain."""
        return torch.randint(0, CONTEXT_PLANES, (self.settings.batch,), generator=generator, device=device)


class Crr(_OnLatents):
    """Cross-entropy of trits at random states, relative to that of the table. Base frozen."""

    name = "crr"
    entropy = ("crr",)

    def forward(self, x: Tensor, missing: Tensor, z_weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """x: int16 [B, 2N, h, w], residuals and levels."""
        latent = Latent(self.model, *x.chunk(2, dim=1))
        plane = missing[:, None, None, None]
        share = torch.rand(plane.shape, device=x.device)
        share = torch.where(torch.rand(plane.shape, device=x.device) < _IN_PLANE_SHARE, share, 0.0)
        table, reduced, active = latent.trit_bits(latent.cut(plane, share), plane)
        pixels = self.settings.crop**2
        bpp_table, bpp = ((bits * active).sum((1, 2, 3)) / pixels for bits in (table, reduced))
        loss = (bpp / (bpp_table.detach() + _RATE_FLOOR)).mean()
        metrics = {"loss": loss, "bpp": bpp.mean(), "bpp_table": bpp_table.mean()}
        return loss, {name: value.detach() for name, value in metrics.items()}


class Cdr(_OnLatents):
    """Error of partial latents, weighted by how much the synthesis amplifies each channel, relative to that
    of conditional means. Base frozen."""

    name = "cdr"
    entropy = ("cdr",)

    def prepare(self, store: PatchStore, generator: torch.Generator) -> Batches:
        self.model.begin_cdr()
        return super().prepare(store, generator)

    def forward(self, x: Tensor, missing: Tensor, z_weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """x: int16 [B, 2N, h, w], residuals and levels."""
        latent = Latent(self.model, *x.chunk(2, dim=1))
        plane = missing[:, None, None, None]
        state = latent.cut(plane, torch.rand(plane.shape, device=x.device))
        weight = self.model.channel_energy()[:, None, None]
        errors = (
            (weight * (residual - latent.s).square()).mean((1, 2, 3))
            for residual in (latent.refined(state), state.mean)
        )
        refined, mean = errors
        loss = (refined / (mean.detach() + 1e-6)).mean()
        return loss, {"loss": loss.detach()}


class _OnPictures(Stage):
    """Distortion of the pictures that the synthesis makes of partial or whole latents. Base frozen else."""

    transforms = ("synthesis",)

    def _judge(self, y_hat: Tensor, x: Tensor, missing: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x_hat = self.model.synthesis(y_hat)
        distortion, metrics = weighted_distortion(x_hat, x, missing, self.settings.lmbda)
        loss = distortion.mean()
        return loss, metrics | {"loss": loss.detach()}


class Joint(_OnPictures):
    """CDR and the synthesis together, over the whole range of rates (the paper's decoder retraining)."""

    name = "joint"
    context = True
    entropy = ("cdr",)
    defaults: ClassVar[dict[str, float]] = {"lr_entropy": 1e-4, "lr_transforms": 5e-5, "full_share": 0.3}

    def prepare(self, store: PatchStore, generator: torch.Generator) -> Batches:
        self.model.measure_channel_priority(store)
        return store

    def forward(self, x: Tensor, missing: Tensor, z_weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        latent, mu = Latent.of(self.model, x)
        plane = (missing - 1).clamp(min=0)[:, None, None, None]
        share = torch.rand(plane.shape, device=x.device)
        share = torch.where(missing[:, None, None, None] > 0, share, 1.0)
        return self._judge(mu + latent.refined(latent.cut(plane, share)), x, missing)


class FullRate(_OnPictures):
    """The synthesis alone, for whole latents alone: what the paper's baseline has, and nothing that is
    released."""

    name = "full-rate"
    defaults: ClassVar[dict[str, float]] = {"lr_transforms": 5e-5, "full_share": 1.0}

    def forward(self, x: Tensor, missing: Tensor, z_weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        s, _, mu = self.model.quantised(x)
        return self._judge(mu + s, x, missing)
