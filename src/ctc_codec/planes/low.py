"""The low band, a few hundred values: at its first plane differences of neighbours, later plain trits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..container.header import MAX_PLANES
from .trits import VALUE_LIMIT

Integers = npt.NDArray[np.int32]
Frequencies = npt.NDArray[np.uint16]

UNIFORM = np.array([21845, 21846, 21845], np.uint16)
"""Frequencies of a trit of which nothing is known."""

_ZERO = (27000, 47000, 60000, 63500, 65000, 65300, 65400, 65400, 65400, 65400)
"""Frequency of a zero as digit j (3^j) of a difference whose higher digits are all zero, least digit
first."""

LEADING = np.array([((65536 - zero) // 2, zero, (65536 - zero) // 2) for zero in _ZERO], np.uint16)
"""Frequencies of such a digit, [MAX_PLANES, 3]."""


def digits_at(plane: int) -> int:
    """Digits of a difference at a plane: enough for twice the largest value."""
    return MAX_PLANES - plane


def digit_rows(difference: Integers, digit: int) -> Frequencies:
    """Frequencies [n, 3] of digit 3^digit of differences whose higher digits make up ``difference`` [n]."""
    return np.where((difference == 0)[:, None], LEADING[digit], UNIFORM)


def digit_of(difference: Integers, digit: int) -> Integers:
    """Digit 3^digit, -1 to 1, of differences in balanced ternary."""
    half = (3**digit - 1) // 2
    upper = (difference + half) // 3**digit
    return upper - 3 * ((upper + 1) // 3)


def differences(low: Integers) -> Integers:
    """Values int32 [C, h, w] less their left neighbours, in the first column less those above; [C h w]."""
    out = low.copy()
    out[..., 1:] -= low[..., :-1]
    out[..., 1:, 0] -= low[..., :-1, 0]
    return out.reshape(-1)


def from_differences(difference: Integers, shape: tuple[int, int, int]) -> Integers:
    """The inverse of :func:`differences`, clamped to what 16 bits hold."""
    out = difference.reshape(shape).astype(np.int64)
    out[..., 0] = out[..., 0].cumsum(axis=1)
    out = out.cumsum(axis=2)
    return np.clip(out, -VALUE_LIMIT, VALUE_LIMIT).astype(np.int32)
