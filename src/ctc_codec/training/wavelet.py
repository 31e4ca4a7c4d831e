"""The transform of :mod:`ctc_codec.transform` for batches of tensors with sides of multiples of 2^LEVELS."""

from __future__ import annotations

import torch
from torch import Tensor

from ..transform.colour import CENTRE
from ..transform.lifting import HIGH, LEVELS, LOW, STEPS


def rotate(samples: Tensor) -> Tensor:
    """Samples 0..255, float32 [B, 3, H, W], as planes of the wavelet."""
    red, green, blue = (samples - float(CENTRE)).unbind(1)
    planes = (
        (red + green + blue) * 3**-0.5,
        (red - blue) * 2**-0.5,
        (2 * green - red - blue) * 6**-0.5,
    )
    return torch.stack(planes, 1)


def _next(x: Tensor) -> Tensor:
    return torch.cat((x[..., 1:], x[..., -1:]), -1)


def _previous(x: Tensor) -> Tensor:
    return torch.cat((x[..., :1], x[..., :-1]), -1)


def _split(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Low and high band along an axis."""
    x = x.transpose(dim, -1)
    even, odd = x[..., ::2], x[..., 1::2]
    odd = odd + STEPS[0] * (even + _next(even))
    even = even + STEPS[1] * (odd + _previous(odd))
    odd = odd + STEPS[2] * (even + _next(even))
    even = even + STEPS[3] * (odd + _previous(odd))
    return (even * LOW).transpose(dim, -1), (odd * HIGH).transpose(dim, -1)


def _join(low: Tensor, high: Tensor, dim: int) -> Tensor:
    even, odd = low.transpose(dim, -1) / LOW, high.transpose(dim, -1) / HIGH
    even = even - STEPS[3] * (odd + _previous(odd))
    odd = odd - STEPS[2] * (even + _next(even))
    even = even - STEPS[1] * (odd + _previous(odd))
    odd = odd - STEPS[0] * (even + _next(even))
    return torch.stack((even, odd), -1).flatten(-2).transpose(dim, -1)


def analyse(planes: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Planes [B, C, H, W] to the low band and the details [B, 3 C, h, w] of every level, finest first."""
    details = []
    for _ in range(LEVELS):
        low, high = _split(planes, -1)
        planes, lh = _split(low, -2)
        hl, hh = _split(high, -2)
        details.append(torch.cat((hl, lh, hh), 1))
    return planes, details


def synthesise_level(low: Tensor, details: Tensor) -> Tensor:
    """The inverse of one level."""
    hl, lh, hh = details.chunk(3, 1)
    return _join(_join(low, lh, -2), _join(hl, hh, -2), -1)


def synthesise(low: Tensor, details: list[Tensor]) -> Tensor:
    """The inverse of :func:`analyse`."""
    for detail in reversed(details):
        low = synthesise_level(low, detail)
    return low
