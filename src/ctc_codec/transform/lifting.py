"""The 9/7 wavelet by lifting (Daubechies and Sweldens, 1998), six levels, near-orthonormal scaling.

A level turns a plane of h x w samples into four of ceil(h / 2) x ceil(w / 2): a side that is odd repeats its
last sample. Details are stacked orientation major: HL (high horizontally), LH, HH, each of all colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]

LEVELS = 6
_STEPS = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
_GAIN = 1.230174104914001
_LOW, _HIGH = 2**0.5 / _GAIN, _GAIN / 2**0.5

Sides = tuple[int, int]
"""Height and width."""


def half(side: int) -> int:
    """Samples of a side one level up."""
    return (side + 1) // 2


def level_sides(height: int, width: int) -> list[Sides]:
    """Height and width of the details of each level, finest first; the last is the low band's too."""
    sides = []
    for _ in range(LEVELS):
        height, width = half(height), half(width)
        sides.append((height, width))
    return sides


# --- floating point ---------------------------------------------------------------------------------


def _add_to_odd(odd: npt.NDArray[Any], even: npt.NDArray[Any], weight: np.float32) -> None:
    """odd[i] += weight (even[i] + even[i + 1]), the last even sample repeated."""
    odd[..., :-1] += weight * (even[..., :-1] + even[..., 1:])
    odd[..., -1] += 2 * weight * even[..., -1]


def _add_to_even(even: npt.NDArray[Any], odd: npt.NDArray[Any], weight: np.float32) -> None:
    """even[i] += weight (odd[i - 1] + odd[i]), the first odd sample repeated."""
    even[..., 1:] += weight * (odd[..., 1:] + odd[..., :-1])
    even[..., 0] += 2 * weight * odd[..., 0]


def _split(x: Floats) -> tuple[Floats, Floats]:
    """Low and high band along the last axis."""
    even = x[..., ::2].copy()
    odd = np.empty_like(even)
    odd[..., : x.shape[-1] // 2] = x[..., 1::2]
    if x.shape[-1] % 2:
        odd[..., -1] = x[..., -1]
    weights = [np.float32(step) for step in _STEPS]
    _add_to_odd(odd, even, weights[0])
    _add_to_even(even, odd, weights[1])
    _add_to_odd(odd, even, weights[2])
    _add_to_even(even, odd, weights[3])
    even *= np.float32(_LOW)
    odd *= np.float32(_HIGH)
    return even, odd


def _join(low: Floats, high: Floats, size: int) -> Floats:
    """The inverse of :func:`_split` for ``size`` samples."""
    even, odd = low * np.float32(1 / _LOW), high * np.float32(1 / _HIGH)
    weights = [np.float32(-step) for step in _STEPS]
    _add_to_even(even, odd, weights[3])
    _add_to_odd(odd, even, weights[2])
    _add_to_even(even, odd, weights[1])
    _add_to_odd(odd, even, weights[0])
    out = np.empty((*even.shape[:-1], size), even.dtype)
    out[..., ::2] = even
    out[..., 1::2] = odd[..., : size // 2]
    return out


def _turned(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return x.swapaxes(-1, -2)


def analyse_level(x: Floats) -> tuple[Floats, Floats]:
    """One level: planes float32 [C, h, w] to the low band [C, h', w'] and details [3 C, h', w']."""
    low, high = _split(x)
    ll, lh = (_turned(band) for band in _split(_turned(low)))
    hl, hh = (_turned(band) for band in _split(_turned(high)))
    return np.ascontiguousarray(ll), np.concatenate((hl, lh, hh))


def synthesise_level(ll: Floats, details: Floats, sides: Sides) -> Floats:
    """The inverse of :func:`analyse_level` for planes of that height and width."""
    hl, lh, hh = np.split(details, 3)
    low = _turned(_join(_turned(ll), _turned(lh), sides[0]))
    high = _turned(_join(_turned(hl), _turned(hh), sides[0]))
    return _join(low, high, sides[1])


def analyse(planes: Floats) -> tuple[Floats, list[Floats]]:
    """Planes float32 [C, height, width] to the low band and the details of every level, finest first."""
    details = []
    ll = planes
    for _ in range(LEVELS):
        ll, detail = analyse_level(ll)
        details.append(detail)
    return ll, details


def synthesise(ll: Floats, details: Sequence[Floats], height: int, width: int, stop: int = 0) -> Floats:
    """The inverse of :func:`analyse`; with ``stop`` the low band after so many levels instead, which is the
    picture at 1 / 2^stop of its sides and of 2^stop times its values."""
    sides = [(height, width), *level_sides(height, width)]
    for level in range(LEVELS - 1, stop - 1, -1):
        ll = synthesise_level(ll, details[level], sides[level])
    return ll


# --- integers ---------------------------------------------------------------------------------------

FIXED_BITS = 12
FIXED_LIMIT = (1 << 17) - 1
"""Values are clamped to this before each level: then no sum leaves 32 bits."""
_HALF = 1 << (FIXED_BITS - 1)


def fixed_constant(value: float) -> int:
    """A constant in 1/4096."""
    return round(value * (1 << FIXED_BITS))


FIXED_STEPS = tuple(fixed_constant(step) for step in _STEPS)
FIXED_LOW, FIXED_HIGH = fixed_constant(1 / _LOW), fixed_constant(1 / _HIGH)


def _scaled(x: Integers, constant: int) -> Integers:
    out = x * np.int32(constant)
    out += np.int32(_HALF)
    out >>= np.int32(FIXED_BITS)
    return out


def _fixed_odd(odd: Integers, even: Integers, step: int) -> None:
    """odd[i] -= step (even[i] + even[i + 1]). Whole multiples are split off, or 32 bits would not do."""
    whole, fraction = -(-step >> FIXED_BITS), step + (-step >> FIXED_BITS << FIXED_BITS)
    total = even.copy()
    total[..., :-1] += even[..., 1:]
    total[..., -1] += even[..., -1]
    odd -= _scaled(total, fraction)
    if whole:
        total *= np.int32(whole)
        odd -= total


def _fixed_even(even: Integers, odd: Integers, step: int) -> None:
    total = odd.copy()
    total[..., 1:] += odd[..., :-1]
    total[..., 0] += odd[..., 0]
    even -= _scaled(total, step)


def _fixed_join(low: Integers, high: Integers, size: int) -> Integers:
    even, odd = _scaled(low, FIXED_LOW), _scaled(high, FIXED_HIGH)
    _fixed_even(even, odd, FIXED_STEPS[3])
    _fixed_odd(odd, even, FIXED_STEPS[2])
    _fixed_even(even, odd, FIXED_STEPS[1])
    _fixed_odd(odd, even, FIXED_STEPS[0])
    out = np.empty((*even.shape[:-1], size), np.int32)
    out[..., ::2] = even
    out[..., 1::2] = odd[..., : size // 2]
    return out


def fixed_synthesise_level(ll: Integers, details: Integers, sides: Sides) -> Integers:
    """One level of the inverse in integers, the same on every machine.

    ll: int32 [C, h', w'], details: int32 [3 C, h', w'] -> int32 [C, h, w], all in the same unit and clamped
    to FIXED_LIMIT first. Every product with a constant of 1/4096 is rounded, halves up.
    """
    limit = np.int32(FIXED_LIMIT)
    ll, details = np.clip(ll, -limit, limit), np.clip(details, -limit, limit)
    hl, lh, hh = np.split(details, 3)
    low = _turned(_fixed_join(_turned(ll), _turned(lh), sides[0]))
    high = _turned(_fixed_join(_turned(hl), _turned(hh), sides[0]))
    return _fixed_join(low, high, sides[1])
