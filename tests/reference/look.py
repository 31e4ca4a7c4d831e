"""Inputs of the networks, and the networks: FORMAT.md sections 7 and 8."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable
from operator import mul

from .state import LEVELS, State
from .weights import Weights

Grid = list[list[list[int]]]
"""[channels][rows][columns]"""
Seen = tuple[tuple[tuple[int, ...], ...], ...]
"""The same, which can be a key."""

_INPUTS = 72
_LEVEL_CODES = (0, 3, 6, 10, 13, 16)
_PLANE_CODES = (-10, -4, 2, 9, 15, 21, 28, 34, 40, 47)
_LOW_LIMIT = 1 << 17
_LIMIT = (1 << 17) - 1
_STEPS = (-6497, -217, 3616, 1817)
_LOW, _HIGH = 3563, 4709
_FIELD_BITS, _FIELD_ZERO = 32, 1 << 31


def clip(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


# --- context ----------------------------------------------------------------------------------------


def _scaled(value: int, constant: int) -> int:
    return (value * constant + 2048) >> 12


def _join(low: list[int], high: list[int], size: int) -> list[int]:
    """Samples of a line from its two bands, by lifting."""
    even, odd = [_scaled(v, _LOW) for v in low], [_scaled(v, _HIGH) for v in high]
    last = len(even) - 1
    for step in (3, 2, 1, 0):
        if step % 2:
            even = [v - _scaled(odd[max(i - 1, 0)] + odd[i], _STEPS[step]) for i, v in enumerate(even)]
        else:
            odd = [v - _scaled(even[i] + even[min(i + 1, last)], _STEPS[step]) for i, v in enumerate(odd)]
    return [(odd if i % 2 else even)[i // 2] for i in range(size)]


def _transposed(lines: list[list[int]]) -> list[list[int]]:
    return [list(line) for line in zip(*lines, strict=True)]


def _join_rows(low: list[list[int]], high: list[list[int]], size: int) -> list[list[int]]:
    return [_join(a, b, size) for a, b in zip(low, high, strict=True)]


def synthesised(low: Grid, details: Grid, height: int, width: int) -> Grid:
    """One level of the inverse wavelet: [colours][h][w] from bands of half of the sides."""
    out = []
    colours = len(low)
    for c in range(colours):
        bands = [low[c], *(details[orientation * colours + c] for orientation in range(3))]
        ll, hl, lh, hh = ([[clip(v, -_LIMIT, _LIMIT) for v in line] for line in band] for band in bands)
        left = _transposed(_join_rows(_transposed(ll), _transposed(lh), height))
        right = _transposed(_join_rows(_transposed(hl), _transposed(hh), height))
        out.append(_join_rows(left, right, width))
    return out


def reconstruction(value: int, known: bool) -> int:
    """A detail as the context has it, in 1/16 of the plane's unit."""
    magnitude = abs(value)
    drawn = (0, 2, 1, 0)[min(magnitude, 3)] if known else (0, 5, 2, 1)[min(magnitude // 3, 3)]
    return (16 * magnitude - drawn) * (-1 if value < 0 else 1)


def _known(state: State, level: int) -> Grid:
    return state.of_level([int(known) for known in state.known], level)


def context(state: State, level: int) -> Grid:
    """Prediction of a level from all coarser ones: its low band, 1/16 of the plane's unit."""
    h, w = state.sides[-1]
    flat = [16 * clip(v, -_LOW_LIMIT, _LOW_LIMIT) for v in state.low]
    out = [[flat[(c * h + i) * w : (c * h + i + 1) * w] for i in range(h)] for c in range(state.colours)]
    for coarser in range(LEVELS - 1, level, -1):
        values, known = state.of_level(state.value, coarser), _known(state, coarser)
        details = [
            [
                [reconstruction(v, bool(k)) for v, k in zip(*lines, strict=True)]
                for lines in zip(*both, strict=True)
            ]
            for both in zip(values, known, strict=True)
        ]
        out = synthesised(out, details, *state.sides[coarser - 1])
    return out


# --- inputs -----------------------------------------------------------------------------------------


def _entry(table: list[int], value: int, limit: int) -> int:
    entry = table[min(abs(value), limit)]
    return -entry if value < 0 else entry


def _less_mean(x: list[list[int]], i: int, j: int) -> int:
    """A sample less the mean of 5x5 samples around it."""
    h, w = len(x), len(x[0])
    columns = [clip(j + d, 0, w - 1) for d in range(-2, 3)]
    box = sum(x[clip(i + d, 0, h - 1)][k] for d in range(-2, 3) for k in columns)
    return clip((25 * x[i][j] - box + 12) // 25, -8191, 8191)


def inputs(state: State, level: int, weights: Weights) -> Grid:
    """[72][h][w] for a level."""
    h, w = state.sides[level]
    out = [[[0] * w for _ in range(h)] for _ in range(_INPUTS)]
    log, fine, rough = (weights[f"inputs.{name}"] for name in ("log", "fine", "rough"))
    own, own_known = state.of_level(state.value, level), _known(state, level)
    above = (state.of_level(state.value, level + 1), _known(state, level + 1)) if level + 1 < LEVELS else None
    below = state.of_level(state.value, level - 1) if level else None
    predicted = context(state, level)
    for i in range(h):
        for j in range(w):
            for c, plane in enumerate(predicted):
                difference = _less_mean(plane, i, j)
                out[c][i][j] = _entry(fine, difference, 8191)
                out[3 + c][i][j] = _entry(rough, difference, 8191)
            for k in range(9):
                if k % 3 >= state.colours:  # chroma of a grey picture
                    out[24 + k][i][j] = out[51 + k][i][j] = 16
                    continue
                c = k * state.colours // 3
                out[24 + k][i][j] = 16
                if above is not None:
                    out[6 + k][i][j] = _entry(log, above[0][c][i // 2][j // 2], 1023)
                    out[24 + k][i][j] = 16 * above[1][c][i // 2][j // 2]
                out[15 + k][i][j] = abs(out[6 + k][i][j])
                out[33 + k][i][j] = _entry(log, own[c][i][j], 1023)
                out[42 + k][i][j] = abs(out[33 + k][i][j])
                out[51 + k][i][j] = 16 * own_known[c][i][j]
                if below is not None:
                    children = [v for line in below[c][2 * i : 2 * i + 2] for v in line[2 * j : 2 * j + 2]]
                    out[60 + k][i][j] = log[min(sum(min(abs(v), 4095) for v in children), 4095)]
            out[69][i][j], out[70][i][j] = _LEVEL_CODES[level], _PLANE_CODES[state.plane]
    return out


# --- networks ---------------------------------------------------------------------------------------


def rounded(value: int, bits: int) -> int:
    """value / 2^bits, rounded, halves to even."""
    if bits <= 0:
        return value << -bits
    below, half = value & ((1 << bits) - 1), 1 << (bits - 1)
    value >>= bits
    return value + (below > half or (below == half and value % 2 == 1))


def _byte(value: int) -> int:
    return clip(value, -128, 127)


def _packed(values: Iterable[int]) -> int:
    return sum(value << _FIELD_BITS * i for i, value in enumerate(values))


@functools.cache
def _layer(weights: Weights, name: str) -> tuple[list[int], int, list[int], int]:
    """Weights, by input and kernel position; biases; right shifts; the kernel's side.

    The sums of all outputs are 32 bits each of one large integer, which is much faster than one after the
    other; 2^31 on top of each keeps them from borrowing from each other.
    """
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    kernels = [[v for plane in kernel for line in plane for v in line] for kernel in weight]
    columns = [_packed(column) for column in zip(*kernels, strict=True)]
    return columns, _packed(v + _FIELD_ZERO for v in bias), weights.bits(f"{name}.scale"), len(weight[0][0])


def _conv(x: Grid, weights: Weights, name: str) -> Grid:
    """A convolution with zeros around, the size kept."""
    kernel, bias, bits, side = _layer(weights, name)
    rows, columns, edge = len(x[0]), len(x[0][0]), side // 2
    empty, margin = [[0] * (columns + 2 * edge)] * edge, [0] * edge
    padded = [empty + [margin + line + margin for line in plane] + empty for plane in x]
    out = [[[0] * columns for _ in range(rows)] for _ in bits]
    for i in range(rows):
        for j in range(columns):
            seen = [v for plane in padded for line in plane[i : i + side] for v in line[j : j + side]]
            sums = sum(map(mul, kernel, seen), bias).to_bytes(_FIELD_BITS // 8 * len(bits), "little")
            for o, field in enumerate(struct.unpack(f"<{len(bits)}I", sums)):
                out[o][i][j] = _byte(rounded(field - _FIELD_ZERO, bits[o]))
    return out


def _act(x: Grid) -> Grid:
    """An eighth of what is negative."""
    return [[[v if v >= 0 else rounded(v, 3) for v in line] for line in plane] for plane in x]


def _sum(x: Grid, y: Grid) -> Grid:
    return [
        [[_byte(a + b) for a, b in zip(*lines, strict=True)] for lines in zip(*planes, strict=True)]
        for planes in zip(x, y, strict=True)
    ]


@functools.lru_cache(maxsize=512)  # cuts of the same file ask the same
def network(seen: Seen, group: int, weights: Weights) -> tuple[Grid, Grid]:
    """Centres and scales, [9][h][w] each."""
    name = f"crr.{group}"
    x = _act(_conv([[list(line) for line in plane] for plane in seen], weights, f"{name}.enter"))
    for block in ("b.0.a", "b.1.a"):
        x = _sum(x, _act(_conv(x, weights, f"{name}.{block}")))
    out = _conv(x, weights, f"{name}.leave")
    return out[:9], [[[clip(v + 32, 0, 63) for v in line] for line in plane] for plane in out[9:18]]


def look(state: State, level: int, weights: Weights) -> tuple[Grid, Grid]:
    """Centres and scales of a level, [channels][h][w] each."""
    seen = tuple(tuple(map(tuple, plane)) for plane in inputs(state, level, weights))
    centres, scales = network(seen, weights["crr.groups"][level], weights)
    step = 3 // state.colours
    return centres[::step], scales[::step]
