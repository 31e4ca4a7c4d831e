"""A wavelet across the positions of the latent's first channels, which carry the local means of the image.

A block transform leaves neighbouring means correlated (0.92 to 0.96 in luma), and the hyperprior, at 1/64
of the resolution, cannot tell them: they were 8 % of a whole file and far more of its beginning. So these
channels are decomposed once more by the biorthogonal 9/7 wavelet that JPEG 2000 uses (Cohen, Daubechies and
Feauveau, 1992; ISO/IEC 15444-1, annex F), scaled to be nearly orthonormal: an error weighs about the same
in every band.

Coefficients stay in place: position (i, j) belongs to the band that the factors of two in i and j name,
whatever the size of the image. Floating point; it never feeds the entropy coder.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LIFTING = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
_LOW_GAIN = 1.149604398860241
"""Low-pass samples are multiplied by this, high-pass ones divided: then both norms are about 1."""


def band_count(levels: int) -> int:
    """Bands of a decomposition: three details a level, and the means."""
    return 3 * levels + 1


def band_map(height: int, width: int, levels: int, device: torch.device | None = None) -> Tensor:
    """Band of every position, int64 [height, width]: 3l for details of level l between rows, 3l + 1 between
    columns, 3l + 2 between both, 3 levels for what is left: the means. Integer arithmetic: the entropy
    model depends on it."""

    def octave(length: int) -> Tensor:
        i = torch.arange(length, device=device)
        zeros = torch.zeros_like(i)  # at the end of i in binary, at most ``levels``
        for k in range(levels):
            zeros += i % (2 << k) == 0
        return zeros

    rows, columns = octave(height)[:, None], octave(width)[None]
    level = torch.minimum(rows, columns)
    kind = torch.where(rows == columns, 2, (rows > columns).long())
    return torch.where(level == levels, 3 * levels, 3 * level + kind)


def _between(even: Tensor, odd_count: int) -> Tensor:
    """For every odd sample the sum of the even ones beside it; the last is mirrored."""
    right = torch.cat((even[..., 1:], even[..., -1:]), dim=-1)
    return (even + right)[..., :odd_count]


def _around(odd: Tensor, even_count: int) -> Tensor:
    """For every even sample the sum of the odd ones beside it; the ends are mirrored."""
    left = torch.cat((odd[..., :1], odd), dim=-1)[..., :even_count]
    right = torch.cat((odd, odd[..., -1:]), dim=-1)[..., :even_count]
    return left + right


def _interleave(even: Tensor, odd: Tensor) -> Tensor:
    length = even.shape[-1] + odd.shape[-1]
    if even.shape[-1] > odd.shape[-1]:
        odd = torch.cat((odd, odd[..., -1:]), dim=-1)
    return torch.stack((even, odd), dim=-1).flatten(-2)[..., :length]


def _forward_rows(x: Tensor) -> Tensor:
    """One level along the last dimension, in place order; a single sample stays."""
    if x.shape[-1] == 1:
        return x
    even, odd = x[..., 0::2], x[..., 1::2]
    for i in (0, 2):
        odd = odd + _LIFTING[i] * _between(even, odd.shape[-1])
        even = even + _LIFTING[i + 1] * _around(odd, even.shape[-1])
    return _interleave(even * _LOW_GAIN, odd / _LOW_GAIN)


def _inverse_rows(x: Tensor) -> Tensor:
    if x.shape[-1] == 1:
        return x
    even, odd = x[..., 0::2] / _LOW_GAIN, x[..., 1::2] * _LOW_GAIN
    for i in (2, 0):
        even = even - _LIFTING[i + 1] * _around(odd, even.shape[-1])
        odd = odd - _LIFTING[i] * _between(even, odd.shape[-1])
    return _interleave(even, odd)


def _with_means(x: Tensor, means: Tensor) -> Tensor:
    """``x`` with other values at the even positions of both dimensions."""
    x = x.clone()
    x[..., ::2, ::2] = means
    return x


def decompose(x: Tensor, levels: int) -> Tensor:
    """Wavelet coefficients of planes, float32 [..., h, w] in and out, in place order."""
    if levels == 0:
        return x
    x = _forward_rows(_forward_rows(x).transpose(-1, -2)).transpose(-1, -2)
    return _with_means(x, decompose(x[..., ::2, ::2], levels - 1))


def compose(x: Tensor, levels: int) -> Tensor:
    """Inverse of :func:`decompose`."""
    if levels == 0:
        return x
    x = _with_means(x, compose(x[..., ::2, ::2], levels - 1))
    return _inverse_rows(_inverse_rows(x.transpose(-1, -2)).transpose(-1, -2))
