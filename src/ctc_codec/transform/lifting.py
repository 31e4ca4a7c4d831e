"""The 9/7 wavelet by lifting (Daubechies and Sweldens, 1998), six levels, near-orthonormal scaling.

A level turns a plane of h x w samples into four of ceil(h / 2) x ceil(w / 2): a side that is odd repeats its
last sample. Details are stacked orientation major: HL (high horizontally), LH, HH, each of all colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from .tiles import Floats, Share, Sink, Source, Tile, count_of, every_other, reading, serially, tiles, writing

Integers = npt.NDArray[np.int32]

LEVELS = 6
STEPS = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
_GAIN = 1.230174104914001
LOW, HIGH = 2**0.5 / _GAIN, _GAIN / 2**0.5

Sides = tuple[int, int]
"""Height and width."""
Shape = tuple[int, int, int]
"""Planes, height and width."""


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

_LOW, _HIGH = np.float32(LOW), np.float32(HIGH)
_FROM_LOW, _FROM_HIGH = np.float32(1 / LOW), np.float32(1 / HIGH)


def _at(axis: Axis, *which: Any) -> tuple[Any, ...]:
    """Index of a slice along one of the last two axes."""
    return (..., *which) if axis == -1 else (..., *which, slice(None))


def _add_next(even: _Array, axis: Axis, total: _Array) -> None:
    """total[i] = even[i] + even[i + 1], the last even sample repeated.

    Both are contiguous, which makes neighbours along either axis neighbours in memory.
    """
    flat, out = even.reshape(-1), total.reshape(-1)
    step = 1 if axis == -1 else even.shape[-1]
    last = _at(axis, slice(-1, None))
    np.add(flat[:-step], flat[step:], out=out[:-step])
    np.add(even[last], even[last], out=total[last])


def _add_previous(odd: _Array, axis: Axis, total: _Array) -> None:
    """total[i] = odd[i - 1] + odd[i], the first odd sample repeated. Both are contiguous."""
    flat, out = odd.reshape(-1), total.reshape(-1)
    step = 1 if axis == -1 else odd.shape[-1]
    first = _at(axis, slice(1))
    np.add(flat[step:], flat[:-step], out=out[step:])
    np.add(odd[first], odd[first], out=total[first])


def _lift_odd(odd: Floats, even: Floats, weight: np.float32, axis: Axis, spare: Floats) -> None:
    """odd[i] += weight (even[i] + even[i + 1])."""
    _add_next(even, axis, spare)
    spare *= weight
    odd += spare


def _lift_even(even: Floats, odd: Floats, weight: np.float32, axis: Axis, spare: Floats) -> None:
    """even[i] += weight (odd[i - 1] + odd[i])."""
    _add_previous(odd, axis, spare)
    spare *= weight
    even += spare


def _lift(
    even: Floats, odd: Floats, steps: Sequence[float], odd_first: bool, axis: Axis, spare: Floats
) -> None:
    """Steps in place, each on the other half of the samples along an axis than the one before."""
    for number, step in enumerate(steps):
        if odd_first == (number % 2 == 0):
            _lift_odd(odd, even, np.float32(step), axis, spare)
        else:
            _lift_even(even, odd, np.float32(step), axis, spare)


def _split(even: Floats, odd: Floats, axis: Axis, spare: Floats) -> None:
    """Even and odd samples along an axis to low and high band, but for their scale, in place."""
    _lift(even, odd, STEPS, True, axis, spare)


def _join(even: Floats, odd: Floats, axis: Axis, spare: Floats) -> None:
    """The inverse of :func:`_split`."""
    _lift(even, odd, [-step for step in reversed(STEPS)], False, axis, spare)


def _split_adjoint(even: Floats, odd: Floats, axis: Axis, spare: Floats) -> None:
    """The transpose of :func:`_join`, but for the ends of a side."""
    _lift(even, odd, [-step for step in STEPS], False, axis, spare)


def _room(colours: int, tile: Tile) -> tuple[Floats, Floats]:
    """Room for a tile: float32 [2, 2, C, h, w], first and second of rows by first and second of columns or
    LL, HL, LH, HH; and for sums, [2, C, h, w]."""
    height, width = (span.outer.stop - span.outer.start for span in tile)
    parts = np.empty((2, 2, colours, height, width), np.float32)
    return parts, np.empty_like(parts[0])


def analyse_level(
    planes: Source, shape: Shape, details: Sink, share: Share = serially, *, adjoint: bool = False
) -> Floats:
    """One level: planes of a shape [C, h, w] to the low band [C, h', w'] and details [3 C, h', w'].

    adjoint: by the transpose of the inverse instead: what each coefficient's part of a picture has in common
        with the planes. At edges a sample is repeated, as in the analysis: then its energy is nearly the same
        everywhere.
    """
    colours, height, width = shape
    sides = half(height), half(width)
    ll = np.empty((colours, *sides), np.float32)
    split, low, high = (_split_adjoint, _FROM_LOW, _FROM_HIGH) if adjoint else (_split, _LOW, _HIGH)

    def work(tile: Tile) -> None:
        rows, columns = tile
        parts, spare = _room(colours, tile)
        for i, j in product(range(2), range(2)):
            own = every_other(rows.outer, i, height), every_other(columns.outer, j, width)
            planes(*own, parts[i, j, :, : count_of(own[0]), : count_of(own[1])])
        if columns.outer.stop > width // 2:  # the last pair has one sample, which is repeated
            parts[:, 1, ..., -1] = parts[:, 0, ..., -1]
        if rows.outer.stop > height // 2:
            parts[1, ..., -1, :] = parts[0, ..., -1, :]
        for i in range(2):
            split(parts[i, 0], parts[i, 1], -1, spare[i])
        parts[:, 0] *= low
        parts[:, 1] *= high
        split(parts[0], parts[1], -2, spare)
        parts[0] *= low
        parts[1] *= high
        bands = parts.reshape(4 * colours, *parts.shape[-2:])[:, rows.inner, columns.inner]
        ll[:, rows.core, columns.core] = bands[:colours]
        details(rows.core, columns.core, bands[colours:])

    share(work, tiles(sides))
    return ll


def synthesise_level(
    ll: Floats, details: Source, sides: Sides, planes: Sink, share: Share = serially
) -> None:
    """The inverse of :func:`analyse_level` for planes of that height and width."""
    colours = len(ll)

    def work(tile: Tile) -> None:
        rows, columns = tile
        parts, spare = _room(colours, tile)
        bands = parts.reshape(4 * colours, *parts.shape[-2:])
        np.multiply(ll[:, rows.outer, columns.outer], _FROM_LOW, out=bands[:colours])
        details(rows.outer, columns.outer, bands[colours:])
        parts[0, 1] *= _FROM_LOW
        parts[1] *= _FROM_HIGH
        _join(parts[0], parts[1], -2, spare)
        parts[:, 0] *= _FROM_LOW
        parts[:, 1] *= _FROM_HIGH
        for i in range(2):
            _join(parts[i, 0], parts[i, 1], -1, spare[i])
        for i, j in product(range(2), range(2)):
            own = every_other(rows.core, i, sides[0]), every_other(columns.core, j, sides[1])
            inner = parts[i, j, :, rows.inner, columns.inner]
            planes(*own, inner[:, : count_of(own[0]), : count_of(own[1])])

    share(work, tiles(ll.shape[1:]))


def analyse_source(planes: Source, shape: Shape, share: Share = serially) -> tuple[Floats, list[Floats]]:
    """Planes of a shape [C, height, width] to the low band and the details of every level, finest first."""
    details: list[Floats] = []
    while True:
        details.append(np.empty((3 * shape[0], half(shape[1]), half(shape[2])), np.float32))
        ll = analyse_level(planes, shape, writing(details[-1]), share)
        if len(details) == LEVELS:
            return ll, details
        planes, shape = reading(ll), ll.shape


def analyse(planes: Floats) -> tuple[Floats, list[Floats]]:
    """:func:`analyse_source` of planes [C, height, width] that are at hand."""
    return analyse_source(reading(planes), planes.shape)


def synthesise_to(
    planes: Sink, ll: Floats, details: Sequence[Source], sides: Sides, stop: int = 0, share: Share = serially
) -> None:
    """The inverse of :func:`analyse_source` for planes of that height and width.

    details: of every level, finest first.
    stop: give the low band after so many levels instead, which is the picture at 1 / 2^stop of its sides and
        of 2^stop times its values.
    """
    all_sides = [sides, *level_sides(*sides)]
    for level in range(LEVELS - 1, stop, -1):
        out = np.empty((len(ll), *all_sides[level]), np.float32)
        synthesise_level(ll, details[level], all_sides[level], writing(out), share)
        ll = out
    synthesise_level(ll, details[stop], all_sides[stop], planes, share)


def synthesise(
    ll: Floats, details: Sequence[Floats], height: int, width: int, *, share: Share = serially
) -> Floats:
    """:func:`synthesise_to` of details that are at hand, to planes [C, height, width]."""
    out = np.empty((len(ll), height, width), np.float32)
    synthesise_to(writing(out), ll, [reading(level) for level in details], (height, width), share=share)
    return out


# --- integers ---------------------------------------------------------------------------------------

FIXED_BITS = 12
FIXED_LIMIT = (1 << 17) - 1
"""Values are clamped to this before each level: then no sum leaves 32 bits."""
_HALF = 1 << (FIXED_BITS - 1)
FIXED_HALO = 3
"""Pairs of samples around a window on which its samples depend, and one more."""


def fixed_constant(value: float) -> int:
    """A constant in 1/4096."""
    return round(value * (1 << FIXED_BITS))


FIXED_STEPS = tuple(fixed_constant(step) for step in STEPS)
FIXED_LOW, FIXED_HIGH = fixed_constant(1 / LOW), fixed_constant(1 / HIGH)


def _scale(x: Integers, constant: int) -> None:
    """Multiply by a constant in 1/4096, in place, halves up."""
    x *= np.int32(constant)
    x += np.int32(_HALF)
    x >>= np.int32(FIXED_BITS)


def _fixed_odd(odd: Integers, even: Integers, step: int, axis: Axis, spare: Integers) -> None:
    """odd[i] -= step (even[i] + even[i + 1]). Whole multiples are split off, or 32 bits would not do."""
    _add_next(even, axis, spare)
    whole = -(-step >> FIXED_BITS)
    for _ in range(abs(whole)):
        (np.subtract if whole > 0 else np.add)(odd, spare, out=odd)
    _scale(spare, step - (whole << FIXED_BITS))
    odd -= spare


def _fixed_even(even: Integers, odd: Integers, step: int, axis: Axis, spare: Integers) -> None:
    """even[i] -= step (odd[i - 1] + odd[i])."""
    _add_previous(odd, axis, spare)
    _scale(spare, step)
    even -= spare


def _fixed_join(even: Integers, odd: Integers, axis: Axis, spare: Integers) -> None:
    """Scaled low and high band to even and odd samples along an axis, in place."""
    _fixed_even(even, odd, FIXED_STEPS[3], axis, spare)
    _fixed_odd(odd, even, FIXED_STEPS[2], axis, spare)
    _fixed_even(even, odd, FIXED_STEPS[1], axis, spare)
    _fixed_odd(odd, even, FIXED_STEPS[0], axis, spare)


def fixed_synthesise_level(ll: Integers, details: Integers, sides: Sides) -> Integers:
    """One level of the inverse in integers, the same on every machine.

    ll: int32 [C, h', w'], details: int32 [3 C, h', w'] -> int32 [C, h, w], all in the same unit and clamped
    to FIXED_LIMIT first. Every product with a constant of 1/4096 is rounded, halves up.
    """
    bands = np.concatenate((ll, details))
    np.clip(bands, np.int32(-FIXED_LIMIT), np.int32(FIXED_LIMIT), out=bands)
    parts = bands.reshape(2, 2, *ll.shape)
    spare = np.empty_like(parts[0])
    _scale(parts[0], FIXED_LOW)
    _scale(parts[1], FIXED_HIGH)
    _fixed_join(parts[0], parts[1], -2, spare)
    _scale(parts[:, 0], FIXED_LOW)
    _scale(parts[:, 1], FIXED_HIGH)
    out = np.empty((len(ll), *sides), np.int32)
    for i in range(2):
        _fixed_join(parts[i, 0], parts[i, 1], -1, spare[i])
        for j in range(2):
            every = out[:, i::2, j::2]
            every[:] = parts[i, j, :, : every.shape[1], : every.shape[2]]
    return out
