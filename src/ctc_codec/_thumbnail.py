"""A picture of 1/8 of each side, straight from the latent.

Means of 8x8 pixels depend almost linearly on the first channels of the latent, which training began as a KLT:
what the synthesis transform answers to one element of one channel, averaged over 8x8 pixels, is the kernel
of one convolution that stands in for all of it. Measured on photographs from 0.05 bpp up: 36 to 43 dB from
the averaged decoded picture, for a hundredth of the arithmetic.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._config import LATENT_STRIDE, PATCH
from ._planes import MEAN_SCALE, IntArray
from ._transforms import Synthesis

THUMBNAIL_SCALE = PATCH
"""A thumbnail's side is the image's over this, rounded up."""

THUMBNAIL_CHANNELS = 48
"""Channels of the latent that a thumbnail is made of, at most."""

_PROBE = 10.0
"""Quantiser steps: about what the first channels vary by."""
_FIELD = 5
_BATCH = 16


def _answers(synthesis: Synthesis, blocks: Tensor) -> Tensor:
    return F.avg_pool2d(synthesis.from_blocks(blocks), THUMBNAIL_SCALE)


@torch.inference_mode()
def measure_kernel(synthesis: Synthesis) -> tuple[Tensor, Tensor]:
    """Kernel [3 * 2 * 2, channels, 3, 3] and bias [3 * 2 * 2] of the convolution."""
    channels = min(THUMBNAIL_CHANNELS, synthesis.log_gain.shape[0])
    middle, cells = _FIELD // 2, LATENT_STRIDE // THUMBNAIL_SCALE
    count = synthesis.log_gain.shape[0]
    rest = _answers(synthesis, torch.zeros(1, count, _FIELD, _FIELD, dtype=torch.float32))[0]
    bias = rest[:, cells * middle : cells * (middle + 1), cells * middle : cells * (middle + 1)]
    kernel = torch.zeros(3, cells, cells, channels, 3, 3, dtype=torch.float32)
    for start in range(0, channels, _BATCH):
        which = torch.arange(start, min(start + _BATCH, channels))
        blocks = torch.zeros(len(which), count, _FIELD, _FIELD, dtype=torch.float32)
        blocks[torch.arange(len(which)), which, middle, middle] = _PROBE
        change = (_answers(synthesis, blocks) - _answers(synthesis, -blocks)) / (2 * _PROBE)
        # [channels, 3, cells of 5x5 blocks] to the 3x3 blocks around the probe
        near = change.unflatten(2, (_FIELD, cells)).unflatten(4, (_FIELD, cells))
        near = near[:, :, middle - 1 : middle + 2, :, middle - 1 : middle + 2]
        # A block answers to the one above it through the kernel's upper row: mirror.
        kernel[:, :, :, which] = near.flip(2, 4).permute(1, 3, 5, 0, 2, 4)
    return kernel.reshape(-1, channels, 3, 3), bias.reshape(-1)


@torch.inference_mode()
def thumbnail_pixels(
    synthesis: Synthesis, kernel: tuple[Tensor, Tensor], latent: IntArray, width: int, height: int
) -> Tensor:
    """Small picture, uint8 [ceil(height / 8), ceil(width / 8), 3].

    kernel: as :func:`measure_kernel` gives it; latent: int32 [at least its channels, h, w] in 1/64.
    """
    latent = latent[: kernel[0].shape[1]]
    blocks = synthesis.to_blocks(torch.from_numpy(latent).float()[None] / MEAN_SCALE)
    cells = F.conv2d(blocks, *kernel, padding=1)
    small = F.pixel_shuffle(cells, LATENT_STRIDE // THUMBNAIL_SCALE)[0]
    small = small[:, : -(-height // THUMBNAIL_SCALE), : -(-width // THUMBNAIL_SCALE)]
    return (small * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
