"""Losses of a batch: bits of the trits to come for CRR, the picture's error for the synthesis network.

The synthesis network learns on partial latents of all planes (the decoder's retraining of Jeon et al., CVPR
2023, section 3.4).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .networks import CRR, Density, Synthesis, corrected, synthesis_inputs
from .partial_latent import PartialLatent
from .wavelet import rotate

_FURTHER = 0.5
"""Weight of an element's place inside its trit, which conditional means live on."""
_LEAST_RATE, _LEAST_ERROR = 0.01, 0.02
"""Bits per pixel and squared grey levels below which less is not told from nothing."""


@dataclass(frozen=True)
class Batch:
    """A batch of crops, each at a state of its own.

    pixels: uint8 [B, 3, side, side].
    unit: of the plane, float32 [B].
    known: share of the plane's bits that is known, float32 [B]; 1.5: all of it.
    noise: standard deviation in grey levels, float32 [B].
    """

    pixels: Tensor
    unit: Tensor
    known: Tensor
    noise: Tensor

    @classmethod
    def empty(cls, crops: int, side: int, device: torch.device) -> Batch:
        """Tensors to be filled."""
        numbers = (torch.ones(crops, device=device) for _ in range(3))
        return cls(torch.zeros(crops, 3, side, side, dtype=torch.uint8, device=device), *numbers)

    def pictures(self) -> Tensor:
        """Rotated planes, float32 [B, 3, side, side], of the crops with their noise."""
        samples = self.pixels.float()
        noise = self.noise[:, None, None, None] * torch.randn_like(samples)
        return rotate((samples + noise).round().clamp(0, 255))


@dataclass(frozen=True)
class Example:
    """A batch for the synthesis network, float32.

    planes: the picture, [B, 3, H, W].
    refined: the picture of the conditional means, [B, 3, H, W].
    inputs: [B, 72, h, w].
    unit: of the plane, [B].
    """

    planes: Tensor
    refined: Tensor
    inputs: Tensor
    unit: Tensor

    def __getitem__(self, index: Tensor) -> Example:
        return Example(*(getattr(self, field.name)[index] for field in fields(self)))

    @classmethod
    def joined(cls, parts: list[Example]) -> Example:
        return cls(*(torch.cat([getattr(p, field.name) for p in parts]) for field in fields(cls)))


@torch.no_grad()
def partial(crr: CRR, batch: Batch) -> PartialLatent:
    """The latents of a batch, with the known share of each revealed."""
    latent = PartialLatent(batch.pictures(), batch.unit)
    latent.reveal(batch.known, latent.look(crr))
    return latent


@torch.no_grad()
def example(latent: PartialLatent, now: list[Density], means: Tensor) -> Example:
    """The example of a partial latent.

    now: densities after a last look.
    means: the tensor of that name of weights files.
    """
    refined = latent.picture(now, means)
    inputs = synthesis_inputs(refined, latent.deviations(now), latent.unit)
    return Example(latent.planes, refined, inputs, latent.unit.clone())  # the batch's is filled anew


def crr_loss(latent: PartialLatent, now: list[Density]) -> tuple[Tensor, Tensor]:
    """Loss, and bits per pixel [B] of the trits that are not known yet.

    Bits count relative to themselves, so that all planes weigh alike. Conditional means live on the trits
    that would follow: of known elements in the next plane, of others inside the trit to come.
    """
    area = 4 * latent.value[0][0, 0].numel()
    rate = latent.trit_bits(now) / area
    further = latent.further_bits(now) / area
    relative = rate / (rate.detach() + _LEAST_RATE) + _FURTHER * further / (further.detach() + _LEAST_RATE)
    return relative.mean(), rate.detach()


def error_left(synthesis: Synthesis, example: Example) -> Tensor:
    """Squared error after the network over that before it, [B]."""
    before = (example.refined - example.planes).square().mean((1, 2, 3))
    out = corrected(example.refined, synthesis(example.inputs), example.unit)
    # The logarithm of this would be eaten up by synthetic pictures, where tenfold gains are possible.
    return (out - example.planes).square().mean((1, 2, 3)) / (before + _LEAST_ERROR)
