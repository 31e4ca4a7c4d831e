"""Hyperprior: side information z that tells sigma and mu of every latent element.

The mean-scale hyperprior of Minnen et al. (NeurIPS 2018) with z at 1/64 of the resolution. The
networks here are the floating-point ones: hyper-analysis runs in the encoder only (any z is valid,
so it may be float), hyper-synthesis is what training sees; :mod:`ctc_codec._exact` holds its integer
twin, the only one that the entropy coder ever sees.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._config import HYPER_STRIDE, ModelConfig
from ._wavelet import band_count, band_map

Z_LIMIT = 63
"""Hyper-latents are integers in -63..63; the encoder clamps."""

ACTIVATION_MAX = 64.0
"""Pre-activations of the hyper-synthesis are clamped to +-64, which bounds the integer twin."""

LEAK = 1 / 8
"""Slope of its activations below zero. With plain ReLU almost all units died within 500 steps."""

ANALYSIS_LEAK = 0.1

LEVEL_GAIN = 8.0
MU_GAIN = 16.0
"""The last layer's outputs are multiplied by these: its weights then have the size of the others'."""


_Z_START = 3.0
"""Deviation of z at the start: below 1 it would round to zero and say nothing, to learn nothing from."""


def _he_init(*layers: nn.Conv2d) -> None:
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def hyper_size(latent_side: int) -> int:
    """Side of z for a latent side, both in positions."""
    return -(-latent_side // HYPER_STRIDE)


class HyperAnalysis(nn.Module):
    """Latent to hyper-latent. Input float32 [B, N, h, w] (any size); output float32 z
    [B, Cz, ceil(h/4), ceil(w/4)], not rounded. Runs in float32.

    Latents differ in size by a factor of thousands between channels, and what z has to tell is their
    local magnitude: so each is divided by its channel's deviation, compressed by asinh, and handed on
    both with its sign and without.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, c = config.latent_channels, config.hyper_analysis_channels
        self.log_scale = nn.Parameter(torch.zeros(n))
        self.enter = nn.Conv2d(2 * n, c, 1)
        self.down1 = nn.Conv2d(c, c, 4, stride=2, padding=1)
        self.down2 = nn.Conv2d(c, config.hyper_channels, 4, stride=2, padding=1)
        _he_init(self.enter, self.down1, self.down2)
        with torch.no_grad():
            self.down2.weight *= _Z_START

    def forward(self, y: Tensor) -> Tensor:
        h, w = y.shape[-2:]
        pad = (0, -w % HYPER_STRIDE, 0, -h % HYPER_STRIDE)
        with torch.autocast(y.device.type, enabled=False):
            t = torch.asinh(y.float() * self.log_scale.exp()[:, None, None])
            if any(pad):
                t = F.pad(t, pad, mode="replicate")
            t = t.contiguous(memory_format=torch.channels_last)
            t = F.leaky_relu(self.enter(torch.cat((t, t.abs()), dim=1)), ANALYSIS_LEAK)
            t = F.leaky_relu(self.down1(t), ANALYSIS_LEAK)
            return self.down2(t)


def _activation(t: Tensor) -> Tensor:
    t = t.clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
    return torch.maximum(t, t * LEAK)


class HyperSynthesis(nn.Module):
    """Hyper-latent to entropy parameters. Input float32 z [B, Cz, hz, wz] (integers); outputs the
    sigma level (a real number; 0 is sigma 0.11, 79 is 1825) and mu, float32 [B, N, 4hz, 4wz] each.

    The levels of the channels that are wavelet coefficients get a constant added for each band.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c1, c2, c3 = config.hyper_synthesis_channels
        self.up1 = nn.Conv2d(config.hyper_channels, 4 * c1, 3, padding=1)
        self.up2 = nn.Conv2d(c1, 4 * c2, 3, padding=1)
        self.mix = nn.Conv2d(c2, c3, 1)
        self.leave = nn.Conv2d(c3, 2 * config.latent_channels, 1)
        self.band_level = nn.Parameter(
            torch.zeros(config.wavelet_channels, band_count(config.wavelet_levels))
        )
        self._wavelet_levels = config.wavelet_levels
        _he_init(self.up1, self.up2, self.mix)
        with torch.no_grad():
            self.up1.weight /= _Z_START
        nn.init.normal_(self.leave.weight, std=0.01)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(z.device.type, enabled=False):
            t = _activation(F.pixel_shuffle(self.up1(z), 2))
            t = _activation(F.pixel_shuffle(self.up2(t), 2))
            t = _activation(self.mix(t))
            level, mu = self.leave(t).chunk(2, dim=1)
            h, w = level.shape[2:]
            bands = band_map(h, w, self._wavelet_levels, level.device)
            count = len(self.band_level)
            level = torch.cat((level[:, :count] + self.band_level[:, bands], level[:, count:]), dim=1)
        return level * LEVEL_GAIN, mu * MU_GAIN


class FactorizedPrior(nn.Module):
    """Learned density of z, one per channel (Balle et al., ICLR 2018, appendix 6.1).

    The cumulative distribution is a small monotone network per channel.
    """

    def __init__(self, channels: int, widths: tuple[int, ...] = (1, 3, 3, 3, 1), scale: float = 8.0) -> None:
        super().__init__()
        self.matrices = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.factors = nn.ParameterList()
        layers = len(widths) - 1
        for i in range(layers):
            start = torch.full((channels, widths[i + 1], widths[i]), scale ** (-1 / layers) / widths[i + 1])
            self.matrices.append(nn.Parameter(start.expm1().log()))
            self.biases.append(nn.Parameter(torch.rand(channels, widths[i + 1], 1) - 0.5))
            if i < layers - 1:
                self.factors.append(nn.Parameter(torch.zeros(channels, widths[i + 1], 1)))

    def _logits_cumulative(self, v: Tensor) -> Tensor:
        """Logits of the cumulative distribution; v and the result float32 [C, 1, n]."""
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            # Not "@": autocast would do that in bfloat16, and a z of 30 needs its fractions.
            v = (F.softplus(matrix)[..., None] * v[:, None]).sum(2) + bias
            if i < len(self.factors):
                v = v + torch.tanh(self.factors[i]) * torch.tanh(v)
        return v

    def likelihood(self, z: Tensor) -> Tensor:
        """Probability of the unit interval around each value; float32 [B, C, h, w] in and out."""
        v = z.float().transpose(0, 1).flatten(1)[:, None]
        lower, upper = self._logits_cumulative(v - 0.5), self._logits_cumulative(v + 0.5)
        sign = -torch.sign(lower + upper).detach()
        p = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
        return p.view(z.shape[1], z.shape[0], *z.shape[2:]).transpose(0, 1)
