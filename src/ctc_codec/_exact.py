"""Exact networks: integers in float64, so that every machine computes the same.

Weights, biases and activations are integers and every partial sum stays below 2^51 (checked from the
weights at load), so float64 represents each of them exactly, in whatever order a library adds
them up. Rescaling is by powers of two. float64 is out of reach of every reduced-precision switch
(autocast, TF32, bf16 matrix products) and of NNPACK.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ._config import HYPER_STRIDE
from ._errors import WeightsError
from ._hyperprior import ACTIVATION_MAX, LEAK, LEVEL_GAIN, MU_GAIN, Z_LIMIT, HyperSynthesis
from ._planes import LEVELS, MEAN_SCALE
from ._tiles import tiles
from ._wavelet import band_map

SUM_LIMIT = float(1 << 51)
ACTIVATION_BITS = 10
"""Fraction bits of activations between layers."""
_ACTIVATION_LIMIT = int(ACTIVATION_MAX) << ACTIVATION_BITS
_WEIGHT_LIMIT = 32767

LAYERS = ("up1", "up2", "mix", "leave")

_HALO = 2
"""Positions of z to each side that a position of the result depends on."""


@dataclass(frozen=True)
class ExactConv:
    """``floor((w * a + b) / 2^shift + 1/2)`` with integer w, a, b.

    weight: [O, I, k, k]; bias: [O]; shift: [O] of whole numbers; all of one floating type, which is that
    of the input and of the output. groups: as in torch.nn.Conv2d.
    """

    weight: Tensor
    bias: Tensor
    shift: Tensor
    groups: int = 1

    def accumulate(self, a: Tensor, inputs: slice = slice(None)) -> Tensor:
        """``w * a``, of some of the input channels alone."""
        # One image at a time: for 16 of float32 torch uses NNPACK where oneDNN is off, which multiplies their
        # Fourier transforms, and that is not exact.
        sums = [self._accumulate(image, inputs) for image in a.split(1)]
        return sums[0] if len(sums) == 1 else torch.cat(sums)

    def _accumulate(self, a: Tensor, inputs: slice) -> Tensor:
        weight = self.weight[:, inputs]
        padding, per_group = weight.shape[-1] // 2, weight.shape[1]
        if self.groups == 1 or per_group == 1:
            return F.conv2d(a, weight, padding=padding, groups=self.groups)
        # Sums of depthwise layers: libraries have fast ones, and slow ones for many small groups.
        sums = [
            F.conv2d(a, part.reshape(-1, 1, *weight.shape[2:]), padding=padding, groups=a.shape[1])
            .unflatten(1, (self.groups, per_group))
            .sum(2)
            for part in weight.unflatten(0, (self.groups, -1)).unbind(1)
        ]
        return torch.stack(sums, dim=2).flatten(1, 2)

    def rescale(self, total: Tensor) -> Tensor:
        """The result for a sum of what :meth:`accumulate` gave."""
        # ldexp, not exp2: a power of two must not come from a vector library's approximation.
        scale = torch.from_numpy(np.ldexp(1.0, -self.shift.numpy().astype(np.int32))).to(total.dtype)
        return torch.floor((total + self.bias[:, None, None]) * scale[:, None, None] + 0.5)

    def __call__(self, a: Tensor) -> Tensor:
        return self.rescale(self.accumulate(a))

    def to(self, dtype: torch.dtype) -> ExactConv:
        """The same layer for another floating type."""
        return ExactConv(self.weight.to(dtype), self.bias.to(dtype), self.shift.to(dtype), self.groups)

    def validate(self, input_limit: int, sum_limit: float) -> None:
        """Raise WeightsError if a sum could leave the exact range for inputs up to ``input_limit``."""
        for values in (self.weight, self.bias, self.shift):
            if not torch.equal(values, values.round()):
                raise WeightsError("exact layer holds fractions")
        reach = self.weight.double().abs().sum((1, 2, 3)) * input_limit + self.bias.abs()
        if float(reach.max()) > sum_limit or float(self.shift.min()) < 1 or float(self.shift.max()) > 50:
            raise WeightsError("exact layer may leave the exact range")


def _activation(t: Tensor) -> Tensor:
    t = t.clamp(-_ACTIVATION_LIMIT, _ACTIVATION_LIMIT)
    return torch.maximum(t, torch.floor(t * LEAK + 0.5))


def quantise_conv(
    weight: Tensor,
    bias: Tensor,
    input_bits: int,
    output_bits: Tensor,
    *,
    operand_limit: int = _WEIGHT_LIMIT,
    input_limit: int = 1,
    sum_limit: float = float("inf"),
    per_channel: bool = False,
    groups: int = 1,
) -> ExactConv:
    """Integer version of a float convolution, float64.

    input_bits: fraction bits of its input; output_bits: of every output channel, [O]. Weights get as many
    fraction bits, at most 20, as keep them within ``operand_limit`` and sums over inputs up to
    ``input_limit`` within ``sum_limit``; the same for all channels or ``per_channel``.
    """
    weight, bias = weight.detach().double().cpu(), bias.detach().double().cpu()
    peak = weight.abs().amax((1, 2, 3)).clamp(min=1e-12)
    reach = weight.abs().sum((1, 2, 3)) * input_limit + bias.abs() * 2.0**input_bits
    # Half a step less for each weight that is rounded up.
    room = (sum_limit - weight[0].numel() / 2 * input_limit - 1) / reach.clamp(min=1e-12)
    fraction = torch.minimum(operand_limit / peak, room).log2().floor().clamp(max=20)
    # A shift is at least 1.
    fraction = torch.maximum(fraction, 1 - input_bits + output_bits.double())
    if not per_channel:
        fraction = fraction.min().expand_as(fraction)
    scale = 2.0**fraction
    return ExactConv(
        (weight * scale[:, None, None, None]).round(),
        (bias * scale * 2.0**input_bits).round(),
        fraction + input_bits - output_bits.double(),
        groups,
    )


def _fraction_bits(name: str, channels: int) -> tuple[int, Tensor]:
    """Fraction bits of a layer's input, and of each of its output channels, float32 [channels]."""
    output = torch.full((channels,), float(ACTIVATION_BITS))
    if name == "leave":
        output[: channels // 2] = np.log2(LEVEL_GAIN)
        output[channels // 2 :] = np.log2(MU_GAIN * MEAN_SCALE)
    return (0 if name == "up1" else ACTIVATION_BITS), output


class ExactHyperSynthesis:
    """Integer twin of :class:`ctc_codec._hyperprior.HyperSynthesis`. Always on the CPU."""

    def __init__(self, layers: dict[str, ExactConv], band_level: np.ndarray) -> None:
        """band_level: int16 [channels, 3 levels + 1], added to the levels of the wavelet's bands."""
        self.layers = layers
        self.band_level = band_level
        limit = Z_LIMIT
        for name in LAYERS:
            layers[name].validate(limit, SUM_LIMIT)
            limit = _ACTIVATION_LIMIT

    @classmethod
    def from_float(cls, network: HyperSynthesis) -> ExactHyperSynthesis:
        """Quantise a trained network: 16-bit weights, activations in 1/1024."""
        layers = {}
        for name in LAYERS:
            conv = getattr(network, name)
            layers[name] = quantise_conv(conv.weight, conv.bias, *_fraction_bits(name, conv.out_channels))
        band_level = (network.band_level.detach() * LEVEL_GAIN).round().cpu().numpy().astype(np.int16)
        return cls(layers, band_level)

    @torch.no_grad()
    def to_float(self, network: HyperSynthesis) -> None:
        """Put the integers' values back into a float network: what :meth:`from_float` rounded them to."""
        for name in LAYERS:
            layer, conv = self.layers[name], getattr(network, name)
            input_bits, output_bits = _fraction_bits(name, conv.out_channels)
            fraction = layer.shift - input_bits + output_bits
            conv.weight.copy_(layer.weight / 2 ** fraction[:, None, None, None])
            conv.bias.copy_(layer.bias / 2 ** (fraction + input_bits))
        network.band_level.copy_(torch.from_numpy(self.band_level / LEVEL_GAIN))

    @torch.inference_mode()
    def __call__(
        self, z: np.ndarray, sides: tuple[int, int] | None = None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """Sigma levels, uint8 [N, h, w], and mu, int32 [N, h, w] in 1/64 steps.

        z: int32 [Cz, hz, wz] in -63..63. sides: h and w, up to 4hz and 4wz; None: these. In tiles of z.
        """
        hz, wz = z.shape[1:]
        h, w = sides or (HYPER_STRIDE * hz, HYPER_STRIDE * wz)
        channels = len(self.layers["leave"].bias) // 2
        levels, mu = np.empty((channels, h, w), np.uint8), np.empty((channels, h, w), np.int32)
        bands = band_map(h, w, self.band_level.shape[1] // 3).numpy()
        for tile in tiles(hz, wz, _HALO, HYPER_STRIDE):
            fine = tile.scaled(HYPER_STRIDE)
            level, mean = (part[:, *fine.inner] for part in self.unbanded(z[:, *tile.outer]))
            at = (slice(None), *fine.core)
            shape = mu[at].shape[1:]  # at the lower and right edge less than a multiple of 4
            level, mean = (part[:, : shape[0], : shape[1]] for part in (level, mean))
            levels[at], mu[at] = self.banded(level, bands[fine.core]), mean
        return levels, mu

    @torch.inference_mode()
    def unbanded(self, z: np.ndarray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Levels without what :meth:`banded` adds, and mu, int32 [N, 4hz, 4wz] each, of a small z."""
        with torch.autocast("cpu", enabled=False):
            t = torch.from_numpy(z.astype(np.float64))[None]
            t = _activation(F.pixel_shuffle(self.layers["up1"](t), 2))
            t = _activation(F.pixel_shuffle(self.layers["up2"](t), 2))
            t = _activation(self.layers["mix"](t))
            level, mu = self.layers["leave"](t)[0].chunk(2)
        # The type's limits are out of reach of any band and far outside those of levels.
        far = float(1 << 24)
        return level.clamp(-far, far).to(torch.int32).numpy(), mu.clamp(-far, far).to(torch.int32).numpy()

    def banded(
        self, level: npt.NDArray[np.int32], bands: npt.NDArray[np.int64], channels: slice = slice(None)
    ) -> npt.NDArray[np.uint8]:
        """Levels as they count, uint8 [channels, h, w]: with the wavelet's bands (int64 [h, w], of
        :func:`ctc_codec._wavelet.band_map`) added, and in range."""
        level, added = level.copy(), self.band_level[channels]
        level[: len(added)] += added[:, bands]
        return np.clip(level, 0, LEVELS - 1).astype(np.uint8)

    def known_answer(self) -> str:
        """SHA-256 of the outputs for a fixed input, compared at load with the exporting machine's."""
        channels = self.layers["up1"].weight.shape[1]
        # Knuth's multiplicative hash: small numbers, all signs, the same everywhere.
        ramp = np.arange(channels * 6, dtype=np.int64) * 2654435761 % (1 << 32)
        z = (ramp * 13 // (1 << 32) - 6).astype(np.int32).reshape(channels, 2, 3)
        digest = hashlib.sha256()
        for array in self(z):
            digest.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
        return digest.hexdigest()
