"""The 9/7 wavelet by lifting (Daubechies and Sweldens, 1998), six levels, near-orthonormal scaling.

A level turns a plane of h x w samples into four of ceil(h / 2) x ceil(w / 2): a side that is odd repeats its
last sample. Details are stacked orientation major: HL (high horizontally), LH, HH, each of all colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]

LEVELS = 6
STEPS = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
_GAIN = 1.230174104914001
LOW, HIGH = 2**0.5 / _GAIN, _GAIN / 2**0.5

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

Axis = Literal[-1, -2]
_Array = TypeVar("_Array", bound=npt.NDArray[Any])


def _at(axis: Axis, *which: Any) -> tuple[Any, ...]:
    """Index of a slice along one of the last two axes."""
    return (..., *which) if axis == -1 else (..., *which, slice(None))


def _add_to_odd(odd: Floats, even: Floats, weight: np.float32, axis: Axis) -> None:
    """odd[i] += weight (even[i] + even[i + 1]), the last even sample repeated."""
    first, rest, last = _at(axis, slice(None, -1)), _at(axis, slice(1, None)), _at(axis, slice(-1, None))
    odd[first] += weight * (even[first] + even[rest])
    odd[last] += 2 * weight * even[last]


def _add_to_even(even: Floats, odd: Floats, weight: np.float32, axis: Axis) -> None:
    """even[i] += weight (odd[i - 1] + odd[i]), the first odd sample repeated."""
    first, rest, begin = _at(axis, slice(None, -1)), _at(axis, slice(1, None)), _at(axis, slice(1))
    even[rest] += weight * (odd[rest] + odd[first])
    even[begin] += 2 * weight * odd[begin]


def _interleaved(even: _Array, odd: _Array, size: int, axis: Axis) -> _Array:
    shape = list(even.shape)
    shape[axis] = size
    out = np.empty(shape, even.dtype)
    out[_at(axis, slice(0, None, 2))] = even
    out[_at(axis, slice(1, None, 2))] = odd[_at(axis, slice(size // 2))]
    return out  # type: ignore[return-value]


def _split(x: Floats, axis: Axis) -> tuple[Floats, Floats]:
    """Low and high band along an axis."""
    size = x.shape[axis]
    even = x[_at(axis, slice(0, None, 2))].copy()
    odd = np.empty_like(even)
    odd[_at(axis, slice(size // 2))] = x[_at(axis, slice(1, None, 2))]
    if size % 2:
        odd[_at(axis, slice(-1, None))] = x[_at(axis, slice(-1, None))]
    weights = [np.float32(step) for step in STEPS]
    _add_to_odd(odd, even, weights[0], axis)
    _add_to_even(even, odd, weights[1], axis)
    _add_to_odd(odd, even, weights[2], axis)
    _add_to_even(even, odd, weights[3], axis)
    even *= np.float32(LOW)
    odd *= np.float32(HIGH)
    return even, odd


def _join(low: Floats, high: Floats, size: int, axis: Axis) -> Floats:
    """The inverse of :func:`_split` for ``size`` samples."""
    even, odd = low * np.float32(1 / LOW), high * np.float32(1 / HIGH)
    weights = [np.float32(-step) for step in STEPS]
    _add_to_even(even, odd, weights[3], axis)
    _add_to_odd(odd, even, weights[2], axis)
    _add_to_even(even, odd, weights[1], axis)
    _add_to_odd(odd, even, weights[0], axis)
    return _interleaved(even, odd, size, axis)


def analyse_level(x: Floats) -> tuple[Floats, Floats]:
    """One level: planes float32 [C, h, w] to the low band [C, h', w'] and details [3 C, h', w']."""
    low, high = _split(x, -1)
    ll, lh = _split(low, -2)
    hl, hh = _split(high, -2)
    return ll, np.concatenate((hl, lh, hh))


def synthesise_level(ll: Floats, details: Floats, sides: Sides) -> Floats:
    """The inverse of :func:`analyse_level` for planes of that height and width."""
    hl, lh, hh = np.split(details, 3)
    return _join(_join(ll, lh, sides[0], -2), _join(hl, hh, sides[0], -2), sides[1], -1)


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


FIXED_STEPS = tuple(fixed_constant(step) for step in STEPS)
FIXED_LOW, FIXED_HIGH = fixed_constant(1 / LOW), fixed_constant(1 / HIGH)


def _scale(x: Integers, constant: int) -> Integers:
    """Multiply by a constant in 1/4096, in place, halves up."""
    x *= np.int32(constant)
    x += np.int32(_HALF)
    x >>= np.int32(FIXED_BITS)
    return x


def _fixed_odd(odd: Integers, even: Integers, step: int, axis: Axis) -> None:
    """odd[i] -= step (even[i] + even[i + 1]). Whole multiples are split off, or 32 bits would not do."""
    whole, fraction = -(-step >> FIXED_BITS), step + (-step >> FIXED_BITS << FIXED_BITS)
    first, rest, last = _at(axis, slice(None, -1)), _at(axis, slice(1, None)), _at(axis, slice(-1, None))
    total = np.empty_like(even)
    np.add(even[first], even[rest], out=total[first])
    np.add(even[last], even[last], out=total[last])
    if whole:
        odd -= total if whole == 1 else total * np.int32(whole)
    odd -= _scale(total, fraction)


def _fixed_even(even: Integers, odd: Integers, step: int, axis: Axis) -> None:
    """even[i] -= step (odd[i - 1] + odd[i])."""
    first, rest, begin = _at(axis, slice(None, -1)), _at(axis, slice(1, None)), _at(axis, slice(1))
    total = np.empty_like(odd)
    np.add(odd[first], odd[rest], out=total[rest])
    np.add(odd[begin], odd[begin], out=total[begin])
    even -= _scale(total, step)


def _fixed_join(low: Integers, high: Integers, size: int, axis: Axis) -> Integers:
    """Low and high band, which are used up, along an axis."""
    even, odd = _scale(low, FIXED_LOW), _scale(high, FIXED_HIGH)
    _fixed_even(even, odd, FIXED_STEPS[3], axis)
    _fixed_odd(odd, even, FIXED_STEPS[2], axis)
    _fixed_even(even, odd, FIXED_STEPS[1], axis)
    _fixed_odd(odd, even, FIXED_STEPS[0], axis)
    return _interleaved(even, odd, size, axis)


def fixed_synthesise_level(ll: Integers, details: Integers, sides: Sides) -> Integers:
    """One level of the inverse in integers, the same on every machine.

    ll: int32 [C, h', w'], details: int32 [3 C, h', w'] -> int32 [C, h, w], all in the same unit and clamped
    to FIXED_LIMIT first. Every product with a constant of 1/4096 is rounded, halves up.
    """
    limit = np.int32(FIXED_LIMIT)
    ll, details = np.clip(ll, -limit, limit), np.clip(details, -limit, limit)
    hl, lh, hh = np.split(details, 3)
    low, high = _fixed_join(ll, lh, sides[0], -2), _fixed_join(hl, hh, sides[0], -2)
    return _fixed_join(low, high, sides[1], -1)
