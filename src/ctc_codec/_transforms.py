"""Analysis and synthesis transforms: pixels to latent and back.

All the work is done at 1/8 and 1/16 of the image's resolution (PixelUnshuffle in, PixelShuffle out,
as in DCVC-RT, Jia et al., CVPR 2025), with gated blocks of 1x1 and depthwise 3x3 convolutions. Between
transform and latent the channels of local means go through a wavelet (:mod:`ctc_codec._wavelet`).
Both transforms start as a *linear* transform codec: residual branches end in zeros, so at step 0 only
the 16x16 block transform is left (see :func:`ctc_codec.training.klt.init_linear`).

The residual stream stays in the dtype of the input (float32): with the 8 bits of bfloat16's mantissa
a latent of some hundreds would be rounded by a whole quantiser step. Only the branches may run in
bfloat16 (autocast).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._config import PATCH, ModelConfig
from ._wavelet import compose, decompose

_BLOCK_CHANNELS = 3 * PATCH * PATCH


class GatedBlock(nn.Module):
    """Residual block: (1x1, depthwise 3x3, 1x1), then a gated (1x1, 1x1); 8 C^2 MAC per position.

    Input and output: float [B, C, h, w]. Both branches end in a zero-initialised layer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, channels, 1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.leave = nn.Conv2d(channels, channels, 1)
        self.expand = nn.Conv2d(channels, 4 * channels, 1)
        self.project = nn.Conv2d(2 * channels, channels, 1)
        for layer in (self.leave, self.project):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.leave(self.depthwise(F.leaky_relu(self.enter(x), 0.1)))
        gate, value = self.expand(x).chunk(2, dim=1)
        return x + self.project(F.silu(gate) * value)


class Analysis(nn.Module):
    """Pixels to latent. Input [B, 3, 16h, 16w] in 0..1; output float32 y [B, N, h, w]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n = config.latent_channels
        self.blocks_8 = nn.Sequential(*(GatedBlock(_BLOCK_CHANNELS) for _ in range(config.blocks_8)))
        self.down = nn.Conv2d(_BLOCK_CHANNELS, n, 2, stride=2)
        self.blocks_16 = nn.Sequential(*(GatedBlock(n) for _ in range(config.blocks_16)))
        self.log_gain = nn.Parameter(torch.zeros(n))
        self._wavelet = (config.wavelet_channels, config.wavelet_levels)

    def forward(self, x: Tensor) -> Tensor:
        return self.from_blocks(self.to_blocks(x))

    def to_blocks(self, x: Tensor) -> Tensor:
        """All but the wavelet: coefficients of 16x16 blocks, float32 [B, N, h, w]."""
        t = F.pixel_unshuffle(x - 0.5, PATCH).contiguous(memory_format=torch.channels_last)
        t = self.blocks_8(t)
        with torch.autocast(t.device.type, enabled=False):
            t = self.down(t.float())
        t = self.blocks_16(t)
        return t.float() * self.log_gain.exp()[:, None, None]

    def from_blocks(self, y: Tensor) -> Tensor:
        """The latent of what :meth:`to_blocks` gives: with the wavelet."""
        count, levels = self._wavelet
        return torch.cat((decompose(y[:, :count], levels), y[:, count:]), dim=1)


class Synthesis(nn.Module):
    """Latent to pixels. Input float32 [B, N, h, w]; output [B, 3, 16h, 16w], about 0..1, not clamped."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n = config.latent_channels
        self.log_gain = nn.Parameter(torch.zeros(n))
        self.blocks_16 = nn.Sequential(*(GatedBlock(n) for _ in range(config.blocks_16)))
        self.up = nn.Conv2d(n, 4 * _BLOCK_CHANNELS, 1)
        self.blocks_8 = nn.Sequential(*(GatedBlock(_BLOCK_CHANNELS) for _ in range(config.blocks_8)))
        self._wavelet = (config.wavelet_channels, config.wavelet_levels)

    def forward(self, y: Tensor) -> Tensor:
        return self.from_blocks(self.to_blocks(y))

    def to_blocks(self, y: Tensor) -> Tensor:
        """Undo the wavelet: coefficients of 16x16 blocks, [B, N, h, w]."""
        count, levels = self._wavelet
        return torch.cat((compose(y[:, :count], levels), y[:, count:]), dim=1)

    def from_blocks(self, y: Tensor) -> Tensor:
        """Pixels of what :meth:`to_blocks` gives."""
        t = (y * self.log_gain.exp()[:, None, None]).contiguous(memory_format=torch.channels_last)
        t = self.blocks_16(t)
        with torch.autocast(t.device.type, enabled=False):
            t = self.up(t.float())
        t = F.pixel_shuffle(t, 2).contiguous(memory_format=torch.channels_last)
        t = self.blocks_8(t)
        return F.pixel_shuffle(t.float(), PATCH) + 0.5
