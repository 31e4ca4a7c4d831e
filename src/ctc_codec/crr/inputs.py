"""Inputs of the networks: 72 planes of 8-bit integers, by table lookup.

    0..5    what coarser levels alone predict, less its local mean, in two scalings, by colour
    6..14   the parents' values, 15..23 their magnitudes, 24..32 whether they are known at this plane
    33..41  the level's own values, 42..50 their magnitudes, 51..59 whether they are known at this plane
    60..68  magnitudes of the four children
    69..71  level, plane, 0

Values are logarithms in 1/16, whether something is known is 0 or 16. Only what is known before a slice is
used (CRR, Jeon et al., CVPR 2023, section 3.2, looks at the same kinds of things).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.int8]
Integers = npt.NDArray[np.int32]
Values = npt.NDArray[np.int16]
Flags = npt.NDArray[np.bool_]
_Integer = TypeVar("_Integer", np.int8, np.int32)
_Entry = TypeVar("_Entry", np.int8, np.uint16)

INPUTS = 72
CHANNELS = 9
ONE = 16
"""1 in the fixed point of activations."""
ZERO_POINT = 128
CONTEXT_BITS = 4
"""The context's reconstruction is in 1/16 of the plane's unit."""

LEVEL_CODES = (0, 3, 6, 10, 13, 16)
PLANE_CODES = (-10, -4, 2, 9, 15, 21, 28, 34, 40, 47)
"""16 (log2(unit) / 4 - 1), rounded."""
_DRAWN_IN = np.array([[0, 5, 2, 1], [0, 2, 1, 0]], np.int32)
"""By how much (1/16 unit) a value is drawn to zero, by its magnitude in intervals: of three units, of one."""


def _reconstructions() -> Integers:
    """By known flag and bits of the value, int32 [2^17]."""
    out = np.empty((2, 1 << 16), np.int32)
    magnitude = np.arange((1 << 15) + 1, dtype=np.int32)
    for known, interval in enumerate((3, 1)):
        drawn = _DRAWN_IN[known].repeat(interval)
        entry = (magnitude << CONTEXT_BITS) - drawn[-1]
        entry[: len(drawn)] += drawn[-1] - drawn
        out[known] = _by_bits(entry)
    return out.reshape(-1)


def _by_bits(entries: npt.NDArray[_Integer]) -> npt.NDArray[_Integer]:
    """A table of 16-bit integers by their bits [2^16] from one of their magnitudes [2^15 + 1], whose sign
    they get."""
    return np.concatenate((entries[:-1], -entries[:0:-1]))


_RECONSTRUCTION = _reconstructions()
_BLUR = 2
"""Samples to each side of the local mean."""


@dataclass(frozen=True)
class InputTables:
    """Signed logarithms of 16-bit integers by their bits, [65536] each.

    log: int8, 16 ln(1 + n) of magnitudes n up to 1023.
    children: int8, the same up to 4095.
    prediction: uint16, 16 ln(1 + 2 c / 16) of magnitudes c up to 8191 in the low byte, 16 ln(1 + c / 64) in
        the high one.
    """

    log: Bytes
    children: Bytes
    prediction: npt.NDArray[np.uint16]

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> InputTables:
        """Take the tensors of a weights file. Raises KeyError or ValueError if they are not usable."""
        tables = []
        for name, length, used in (
            ("log", 4096, 1024), ("log", 4096, 4096), ("fine", 8192, 8192), ("rough", 8192, 8192),
        ):  # fmt: skip
            table = arrays[f"exact.inputs.{name}"]
            if table.dtype != np.int8 or table.shape != (length,) or table.min() < 0:
                raise ValueError(f"input table {name} does not fit")
            entries = np.full((1 << 15) + 1, table[used - 1])
            entries[:used] = table[:used]
            tables.append(_by_bits(entries))
        log, children, fine, rough = tables
        return cls(
            log, children, fine.view(np.uint8) | rough.view(np.uint8).astype(np.uint16) << np.uint16(8)
        )


def look_up(table: npt.NDArray[_Entry], values: Values) -> npt.NDArray[_Entry]:
    """Entries of 16-bit integers."""
    return table.take(values.view(np.uint16))  # twice as fast as an index


class Context(Protocol):
    """What the coarser levels predict of a level's samples, in 1/16 of the plane's unit."""

    def window(self, rows: slice, columns: slice) -> Integers:
        """Some of the samples, int32 [colours, rows, columns]."""


@dataclass(frozen=True)
class Level:
    """Known values of a level and around it, at the resolution of each.

    number: 0 is the finest.
    plane: that is being coded.
    context: what the coarser levels predict.
    value, known: of the level, [channels, h, w].
    parents: the same of the next coarser level, None for the coarsest.
    children: values of the next finer level, None for the finest.
    """

    number: int
    plane: int
    context: Context
    value: Values
    known: Flags
    parents: tuple[Values, Flags] | None
    children: Values | None


def reconstruction(value: Values, known: Flags) -> Integers:
    """Details as the context sees them, int32 of the same shape in 1/16 of the plane's unit: interval
    centres, drawn in a little."""
    index = value.view(np.uint16) + known * np.int32(1 << 16)
    return _RECONSTRUCTION.take(index)


def _five(x: Integers, axis: int) -> Integers:
    """Sums of five neighbours along an axis of [C, h, w], which gets shorter by four."""
    length = x.shape[axis]

    def part(values: Integers, start: int, stop: int) -> Integers:
        return values[:, start:stop] if axis == 1 else values[..., start:stop]

    pairs = part(x, 0, length - 1) + part(x, 1, length)
    fours = part(pairs, 0, length - 3) + part(pairs, 2, length - 1)
    found = part(fours, 0, length - 4)
    found += part(x, 4, length)
    return found


def _prediction(context: Context, size: tuple[int, int], rows: slice, columns: slice) -> Values:
    """A window of samples less their mean over 5x5, beyond borders the last sample; [C, rows, columns].

    size: height and width of the level.
    """
    top, bottom = max(rows.start - _BLUR, 0), min(rows.stop + _BLUR, size[0])
    left, right = max(columns.start - _BLUR, 0), min(columns.stop + _BLUR, size[1])
    beyond = (
        (0, 0),
        (top - rows.start + _BLUR, rows.stop + _BLUR - bottom),
        (left - columns.start + _BLUR, columns.stop + _BLUR - right),
    )
    near = context.window(slice(top, bottom), slice(left, right))
    if any(map(any, beyond)):
        near = np.pad(near, beyond, mode="edge")
    # |x| is below 2^21, so 25 x fits.
    difference = near[:, _BLUR:-_BLUR, _BLUR:-_BLUR] * np.int32(25)
    difference -= _five(_five(near, 1), 2)
    difference += np.int32(12)
    difference //= np.int32(25)
    np.clip(difference, -8191, 8191, out=difference)
    return difference.astype(np.int16)


def _child_magnitudes(fine: Values, rows: slice, columns: slice) -> Values:
    """Sums over 2x2, at most 4095, for a window of the parents."""
    fine = np.abs(fine[:, 2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop])
    np.minimum(fine, 4095, out=fine)
    missing = [
        2 * (span.stop - span.start) - side
        for span, side in zip((rows, columns), fine.shape[1:], strict=True)
    ]
    if any(missing):
        fine = np.pad(fine, ((0, 0), (0, missing[0]), (0, missing[1])))
    # Neighbours in a row are the halves of an integer of 32 bits.
    pairs = (fine[:, ::2] + fine[:, 1::2]).view(np.uint32)
    sums = (pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16))
    return np.clip(sums, np.uint32(0), np.uint32(4095)).astype(np.int16)


def inputs(level: Level, rows: slice, columns: slice, tables: InputTables) -> npt.NDArray[np.uint8]:
    """Inputs of a window of a level, uint8 [1, 72, rows, columns], where 128 is zero.

    The chroma of a grey picture counts as known to be zero.
    """
    height, width = rows.stop - rows.start, columns.stop - columns.start
    out = np.empty((INPUTS, height, width), np.int8)
    colours = len(level.value) // 3
    step = 3 // colours
    if step > 1:
        out[:] = 0
    predicted = look_up(tables.prediction, _prediction(level.context, level.value.shape[1:], rows, columns))
    out[0:colours] = predicted.astype(np.int8)
    out[3 : 3 + colours] = (predicted >> np.uint16(8)).astype(np.int8)

    def describe(first: int, value: Bytes, known: Flags, put: Callable[[Bytes, Bytes], None]) -> None:
        end = first + CHANNELS
        put(out[first:end:step], value)
        np.abs(out[first:end], out=out[end : end + CHANNELS])
        if step > 1:
            out[end + CHANNELS : end + 2 * CHANNELS] = ONE
        put(out[end + CHANNELS : end + 2 * CHANNELS : step], known.view(np.int8) << np.int8(4))

    def put_doubled(to: Bytes, planes: Bytes) -> None:
        # Each byte twice in a row, and each row twice.
        pairs = np.ascontiguousarray(planes).view(np.uint8).astype(np.uint16)
        pairs |= pairs << np.uint16(8)
        wide = pairs.view(np.int8)[..., columns.start % 2 :][..., :width]
        odd = rows.start % 2
        to[:, ::2] = wide[:, : (height + 1) // 2]
        to[:, 1::2] = wide[:, odd : odd + height // 2]

    if level.parents is None:
        out[6:24] = 0
        out[24:33] = ONE
    else:
        up = slice(rows.start // 2, (rows.stop + 1) // 2), slice(columns.start // 2, (columns.stop + 1) // 2)
        value, known = level.parents[0][:, *up], level.parents[1][:, *up]
        describe(6, look_up(tables.log, value), known, put_doubled)
    value, known = level.value[:, rows, columns], level.known[:, rows, columns]
    describe(33, look_up(tables.log, value), known, np.copyto)
    if level.children is None:
        out[60:69] = 0
    else:
        out[60:69:step] = look_up(tables.children, _child_magnitudes(level.children, rows, columns))
    out[69] = LEVEL_CODES[level.number]
    out[70] = PLANE_CODES[level.plane]
    out[71] = 0
    offset = out.view(np.uint8)
    offset ^= np.uint8(ZERO_POINT)
    return offset[None]
