"""The networks as they are trained: CRR, which tells densities, and the synthesis network.

Their layers have the names that checkpoints and :mod:`ctc_codec.training.freeze` use: ``c.G`` is the network
of level group G, its ``b.N.a`` the convolution of residual block N.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..crr.density import SCALE_STEP, SCALE_ZERO
from ..crr.inputs import CHANNELS, INPUTS, ONE
from ..crr.network import WEIGHT_LIMIT
from ..synthesis import network as synthesis
from .tables import BIAS_RATIO, GATED_LEAK, LEAK, MIXTURE

GROUPS = (0, 1, 2, 2, 2, 2)
"""The network that serves each level, finest first."""
WIDTHS = (32, 48, 64)
"""Channels of each."""
BLOCKS = 2
SYNTHESIS_WIDTH, SYNTHESIS_BLOCKS = 96, 6
FIRST_LOG_SCALE = -1.2
"""Log scale that an untrained network tells: most details are zero."""
LEAST_LOG_SCALE, LARGEST_LOG_SCALE = -SCALE_ZERO, 63 / SCALE_STEP - SCALE_ZERO

Density = tuple[Tensor, Tensor]
"""Centre and log scale of elements, in units of their plane; float32 [B, 9, h, w] each."""


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether convolutions are faster in bfloat16: on a GPU, and on a CPU with instructions for it."""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()


def _bfloat16(x: Tensor, enabled: bool) -> contextlib.AbstractContextManager[None]:
    return torch.autocast(x.device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


# --- the arithmetic of 8-bit kernels ----------------------------------------------------------------


def mixed(x: Tensor, rounded: Tensor, share: Tensor) -> Tensor:
    """x at share 0, exactly ``rounded`` at 1; the gradient is that of x."""
    value = x.detach()
    return torch.lerp(value, rounded.detach(), share.to(x.dtype)) + (x - value)


def activation(x: Tensor) -> Tensor:
    """x as 8 bits hold it, multiples of 1/16 in -8..127/16; the gradient passes through the rounding."""
    x = x.clamp(-128 / ONE, 127 / ONE)
    value = x.detach()
    return (value * ONE).round() / ONE + (x - value)


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU of a layer's output, which 8-bit kernels round and clamp first. Where they clamp, nothing
    changes, so there is no gradient either: one that passes lets weights grow until nearly all is clamped."""
    return F.leaky_relu(activation(x), LEAK)


def weight_scale(weight: Tensor, bias: Tensor) -> Tensor:
    """The largest power of two for each output that keeps its weights within 7 bits, and its bias, which is
    counted in 1/16 of a weight's step, below 2^22."""
    peak = torch.maximum(weight.abs().amax((1, 2, 3)), (bias.abs() + 1) / BIAS_RATIO)
    return torch.exp2(torch.floor(torch.log2(WEIGHT_LIMIT / peak)))


class QuantisedConv(nn.Conv2d):
    """A convolution whose weights and biases are, at ``quantised`` 1, those of the integer network."""

    def forward(self, x: Tensor, quantised: Tensor) -> Tensor:  # type: ignore[override]
        weight, bias = self.weight, self.bias
        assert bias is not None
        scale = weight_scale(weight.detach(), bias.detach())
        columns = scale[:, None, None, None]
        integers = (weight * columns).round().clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
        weight = mixed(weight, integers / columns, quantised)
        bias = mixed(bias, (bias * ONE * scale).round() / (ONE * scale), quantised)
        return F.conv2d(x, weight, bias, padding=self.padding)


# --- CRR --------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """x plus a branch of one convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = QuantisedConv(width, width, 3, padding=1)

    def forward(self, x: Tensor, quantised: Tensor) -> Tensor:
        return activation(x + activation(leaky(self.a(x, quantised))))


class Core(nn.Module):
    """One level group's network: inputs [B, 72, h, w] of a level to the densities of its elements.

    in_bfloat16: compute convolutions in bfloat16.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_bfloat16 = False
        self.enter = QuantisedConv(INPUTS, width, 3, padding=1)
        self.b = nn.ModuleList(Residual(width) for _ in range(BLOCKS))
        self.leave = QuantisedConv(width, 2 * CHANNELS, 1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        with torch.no_grad():
            self.leave.bias[:CHANNELS] = 0
            self.leave.bias[CHANNELS:] = FIRST_LOG_SCALE

    def forward(self, x: Tensor, quantised: Tensor) -> Density:
        with _bfloat16(x, self.in_bfloat16):
            x = activation(leaky(self.enter(activation(x), quantised)))
            for block in self.b:
                x = block(x, quantised)
            out = self.leave(x, quantised)
        centre, log_scale = out.float().chunk(2, 1)
        step = (log_scale * SCALE_STEP).round() / SCALE_STEP
        return (
            mixed(centre, activation(centre), quantised),
            mixed(log_scale, step.clamp(LEAST_LOG_SCALE, LARGEST_LOG_SCALE), quantised),
        )


class CRR(nn.Module):
    """Context-based rate reduction: a network for each level group, of ``widths`` channels.

    quantised: 0 for float weights, 1 for the frozen networks' arithmetic; a buffer, which training fills.
    """

    quantised: Tensor

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.c = nn.ModuleList(Core(width) for width in widths)
        self.register_buffer("quantised", torch.ones(()))

    def forward(self, level: int, x: Tensor) -> Density:
        """Densities of a level from its inputs [B, 72, h, w]."""
        density: Density = self.c[GROUPS[level]](x, self.quantised)
        return density


def widths_of(state: Mapping[str, Any]) -> tuple[int, ...]:
    """Widths of the CRR whose layers, ``crr.c.G.LAYER`` for group G, a state holds; those of a new one if it
    holds none."""
    biases = [state.get(f"crr.c.{group}.enter.bias") for group in sorted(set(GROUPS))]
    return tuple(width if bias is None else len(bias) for bias, width in zip(biases, WIDTHS, strict=True))


def synthesis_shape_of(state: Mapping[str, Any]) -> tuple[int, int]:
    """Width and blocks of the synthesis network, whose layers are ``synthesis.LAYER``; as above."""
    bias = state.get("synthesis.enter.bias")
    if bias is None:
        return SYNTHESIS_WIDTH, SYNTHESIS_BLOCKS
    return len(bias), len({name.split(".")[2] for name in state if name.startswith("synthesis.b.")})


# --- densities --------------------------------------------------------------------------------------


def thirds(middle: Tensor, width: Tensor | float, density: Density) -> tuple[Tensor, Tensor, Tensor]:
    """Masses of the three thirds of intervals, as shares of the whole.

    middle: of the intervals, in units.
    width: of the intervals, in units.
    """
    centre, log_scale = density
    steepness = torch.exp(-log_scale.clamp(-5, 6))
    x = middle - centre
    above = x >= 0
    x = x.abs()  # the tail that keeps its precision
    (share, steep), (other_share, flat) = MIXTURE
    tails = []
    for edge in (-1 / 2, -1 / 6, 1 / 6, 1 / 2):
        z = (x + edge * width) * -steepness
        tails.append(share * torch.sigmoid(z * steep) + other_share * torch.sigmoid(z * flat))
    near, inner, far = ((a - b).clamp_min(1e-8) for a, b in itertools.pairwise(tails))
    total = near + inner + far
    near, inner, far = near / total, inner / total, far / total
    return torch.where(above, near, far), inner, torch.where(above, far, near)


def bits(trit: Tensor, p: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Code lengths of trits -1, 0, 1."""
    chosen = torch.where(trit < 0, p[0], torch.where(trit > 0, p[2], p[1]))
    return -torch.log2(chosen.clamp_min(1e-7))


def priority(p: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Expected fall of squared error per bit, in squared units, and expected bits."""
    entropy = torch.zeros_like(p[0])
    for share in p:
        entropy = entropy - share * torch.log2(share.clamp_min(1e-9))
    return (p[0] + p[2] - (p[2] - p[0]).square()) / (entropy + 1e-6), entropy


# --- synthesis --------------------------------------------------------------------------------------


class Gated(nn.Module):
    """A block of a depthwise 3x3 branch and a gated 1x1 branch, each added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(width, width, 1)
        self.d = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.b = nn.Conv2d(width, width, 1)
        self.e = nn.Conv2d(width, 4 * width, 1)
        self.p = nn.Conv2d(2 * width, width, 1)
        for layer in (self.b, self.p):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.b(self.d(F.leaky_relu(self.a(x), GATED_LEAK)))
        gate, value = self.e(x).chunk(2, 1)
        return x + self.p(F.silu(gate) * value)


class Synthesis(nn.Module):
    """The synthesis network, see :mod:`ctc_codec.synthesis.network`. 34 kMAC a pixel.

    Inputs float32 [B, 72, h, w] at a quarter of the picture's sides to corrections [B, 48, h, w], unbounded.

    in_bfloat16: compute all convolutions but the first in bfloat16.
    """

    def __init__(self, width: int = SYNTHESIS_WIDTH, blocks: int = SYNTHESIS_BLOCKS) -> None:
        super().__init__()
        self.in_bfloat16 = False
        self.enter = nn.Conv2d(synthesis.INPUTS, width, 3, padding=1)
        self.b = nn.ModuleList(Gated(width) for _ in range(blocks))
        self.leave = nn.Conv2d(width, synthesis.COLOURS * synthesis.SCALE**2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        x = self.enter(inputs)  # float32 or TF32: samples need their fractions
        with _bfloat16(x, self.in_bfloat16):
            for block in self.b:
                x = block(x)
            x = self.leave(x)
        return x.float()


class Networks(nn.Module):
    """Both networks, with the names of layers that checkpoints have."""

    def __init__(
        self, widths: Sequence[int] = WIDTHS, width: int = SYNTHESIS_WIDTH, blocks: int = SYNTHESIS_BLOCKS
    ) -> None:
        super().__init__()
        self.crr, self.synthesis = CRR(widths), Synthesis(width, blocks)


def synthesis_inputs(planes: Tensor, deviations: tuple[Tensor, Tensor], unit: Tensor) -> Tensor:
    """The inputs [B, 72, h, w] of :func:`ctc_codec.synthesis.network.network_inputs` for a batch.

    planes: [B, 3, H, W].
    deviations: of the two finest levels, [B, 9, h, w] each.
    unit: [B].
    """
    picture = F.pixel_unshuffle(planes, synthesis.SCALE) / 64
    fine = F.avg_pool2d(deviations[0], 2)
    plane = (torch.log2(unit) / 4 - 1)[:, None, None, None].expand(-1, 6, *fine.shape[2:])
    return torch.cat((picture, fine, deviations[1], plane), 1).contiguous(memory_format=torch.channels_last)


def corrected(planes: Tensor, out: Tensor, unit: Tensor) -> Tensor:
    """Planes [B, 3, H, W] with the network's corrections, bounded in units of the plane."""
    correction = F.pixel_shuffle(out.clamp(-synthesis.LIMIT, synthesis.LIMIT), synthesis.SCALE)
    return planes + correction * (synthesis.GAIN * unit[:, None, None, None])
