"""The stages of training: what each one trains, at which rates, and against which loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from .data import PatchStore
from .model import TrainingModel, draw_missing, rate_distortion_loss

REFERENCE_PIXELS = 4 * 256 * 256
"""Learning rates are given for steps of so many pixels."""

LARGEST_LR_FACTOR = 3.0


@dataclass(frozen=True)
class Settings:
    """One run of a stage.

    ``minutes`` is wall time from the start of :func:`ctc_codec.training.loop.train`, loading included.
    Learning rates fit steps of 4 crops of 256x256; they grow with the square root of a step's pixels, at
    most threefold. (With 1.5e-4 and batches of 2 the noise of the step size alone cost the live weights
    8 dB: 34.6 without any quantisation, against 43.2 of their running mean.) ``lr_matrices`` is that of
    the 1x1 layers inside the transforms' blocks, which then learn with Muon; with None they are left to
    Adam like everything else.
    ``latents``: crops that the stages of the context models learn from.
    ``full_share`` of the crops are decoded at full rate, the others from partial states.
    ``prefix_share`` of the rate is that of what those states hold, see
    :func:`ctc_codec.training.model.rate_distortion_loss`: every prefix pays for z and for the first planes,
    and only the longest one for the last plane, which is most of a whole file. The weight of z's rate
    grows from 0 to 1 over the first ``z_ramp_steps``.
    """

    minutes: float = 60.0
    max_steps: int | None = None
    batch: int = 4
    crop: int = 256
    lmbda: float = 0.05
    lr_transforms: float = 1e-4
    lr_entropy: float = 1e-3
    lr_matrices: float | None = None
    warmup_steps: int = 200
    z_ramp_steps: int = 1500
    prefix_share: float = 0.5
    decay_share: float = 0.4
    full_share: float = 0.35
    clip_norm: float = 2.0
    ema: float = 0.999
    save_every_s: float = 60.0
    log_every: int = 50
    seed: int = 1
    image_limit: int | None = None
    latents: int = 2400

    def for_smoke(self) -> Settings:
        """The same path within about a minute on two cores."""
        return dataclasses.replace(
            self,
            minutes=min(self.minutes, 0.5) if self.max_steps is None else self.minutes,
            batch=min(self.batch, 2),
            crop=min(self.crop, 128),
            warmup_steps=5,
            log_every=5,
            save_every_s=5.0,
            image_limit=16,
            latents=8,
        )

    def lr_factor(self, processes: int = 1) -> float:
        """How much larger than given the learning rates are, for the size of a step."""
        ratio = processes * self.batch * self.crop**2 / REFERENCE_PIXELS
        return min(math.sqrt(ratio), LARGEST_LR_FACTOR)

    def schedule(self, progress: float, run_step: int) -> float:
        """Factor on the learning rates: warm-up, constant, cosine decay over the last ``decay_share``."""
        warmup = min(1.0, (run_step + 1) / self.warmup_steps)
        left = (1 - progress) / self.decay_share
        decay = 1.0 if left >= 1 else 0.5 * (1 - math.cos(math.pi * max(left, 0.0)))
        return warmup * max(decay, 0.005)


def _is_matrix(parameter: Tensor) -> bool:
    """Whether these are the weights [out, in, 1, 1] of a 1x1 convolution."""
    return parameter.ndim == 4 and parameter.shape[1] > 1 and parameter.shape[2:].numel() == 1


class Batches(Protocol):
    """Where a stage's batches come from."""

    def batch(self, size: int, generator: torch.Generator) -> Tensor: ...


class Stage(nn.Module):
    """A model and the part of it that is trained. Subclasses say which, and define ``forward``:

    ``forward(x, missing, z_weight)`` with x float32 [B, 3, H, W] in 0..1, missing int64 [B] (planes hidden
    from the decoder) and z_weight a scalar tensor (of z's rate in the loss) returns the loss and a dict of
    detached sums and means for the log. It is what autocast, torch.compile and DistributedDataParallel run.
    """

    name: ClassVar[str]
    transforms: ClassVar[tuple[str, ...]] = ()
    """Modules with the small learning rate: the linear start is already good there."""
    entropy: ClassVar[tuple[str, ...]] = ()
    """Modules with the large one."""
    defaults: ClassVar[dict[str, float]] = {}
    """Settings that differ from the usual ones."""
    context: ClassVar[bool] = False
    """Whether the stage needs the context models, and a trained base to begin with."""

    def __init__(self, model: TrainingModel, settings: Settings) -> None:
        super().__init__()
        if self.context:
            model.add_context()
        self.model = model
        self.settings = settings
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(self.transforms + self.entropy))

    def prepare(self, store: PatchStore, generator: torch.Generator) -> Batches:
        """What the stage learns from: crops of the store or what is made of them. Called once, before the
        first step."""
        return store

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names (in the model) and parameters that this stage trains."""
        return ((n, p) for n, p in self.model.named_parameters() if p.requires_grad)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The trained parameters by the learning rate that they get: of Settings.lr_transforms, lr_entropy
        or lr_matrices."""
        groups: dict[str, list[nn.Parameter]] = {"transforms": [], "entropy": [], "matrices": []}
        for name, parameter in self.trained():
            if not name.startswith(self.transforms):
                group = "entropy"
            elif self.settings.lr_matrices and ".blocks_" in name and _is_matrix(parameter):
                group = "matrices"
            else:
                group = "transforms"
            groups[group].append(parameter)
        return groups

    def draw_missing(self, generator: torch.Generator, device: torch.device) -> Tensor:
        """Which states the decoder is trained on: planes missing of each crop, int64 [B]."""
        return draw_missing(self.settings.batch, self.settings.full_share, generator, device)


class Base(Stage):
    """Analysis, synthesis and hyperprior together, on partial states from the start."""

    name = "base"
    transforms = ("analysis", "synthesis")
    entropy = ("hyper_analysis", "hyper_synthesis", "prior")

    def forward(self, x: Tensor, missing: Tensor, z_weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        out = self.model(x, missing)
        settings = self.settings
        return rate_distortion_loss(out, x, missing, settings.lmbda, z_weight, settings.prefix_share)
