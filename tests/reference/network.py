"""Integer convolutions and the network from z to the entropy parameters: FORMAT.md section 6."""

from __future__ import annotations

from operator import mul

from .weights import Weights

Grid = list[list[list[int]]]
"""[channels][rows][columns]"""

_LEVELS = 80
_ACTIVATION_LIMIT = 65536
_MU_LIMIT = 1 << 24


def clip(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def conv(x: Grid, weights: Weights, name: str, groups: int = 1) -> Grid:
    """``(sum weight * x + bias + 2^(shift - 1)) >> shift``, zeros around, the size kept."""
    weight, bias, shift = (weights[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
    rows, columns, side = len(x[0]), len(x[0][0]), len(weight[0][0])
    edge = side // 2
    empty, margin = [[0] * (columns + 2 * edge)] * edge, [0] * edge
    padded = [empty + [margin + line + margin for line in plane] + empty for plane in x]
    kernels = [[v for plane in kernel for line in plane for v in line] for kernel in weight]
    inputs, outputs = len(x) // groups, len(weight) // groups
    out = [[[0] * columns for _ in range(rows)] for _ in weight]
    for group in range(groups):
        planes = padded[group * inputs : (group + 1) * inputs]
        for i in range(rows):
            for j in range(columns):
                seen = [v for plane in planes for line in plane[i : i + side] for v in line[j : j + side]]
                for o in range(group * outputs, (group + 1) * outputs):
                    total = sum(map(mul, kernels[o], seen)) + bias[o]
                    out[o][i][j] = total + (1 << (shift[o] - 1)) >> shift[o]
    return out


def act(x: Grid, limit: int = _ACTIVATION_LIMIT) -> Grid:
    """Clamped, and an eighth of what is negative."""

    def one(value: int) -> int:
        value = clip(value, -limit, limit)
        return max(value, (value + 4) >> 3)

    return [[[one(v) for v in line] for line in plane] for plane in x]


def shuffle(x: Grid) -> Grid:
    """[4C, h, w] to [C, 2h, 2w]"""
    rows, columns = len(x[0]), len(x[0][0])
    return [
        [
            [x[4 * c + 2 * (i % 2) + j % 2][i // 2][j // 2] for j in range(2 * columns)]
            for i in range(2 * rows)
        ]
        for c in range(len(x) // 4)
    ]


def band(i: int, j: int, levels: int) -> int:
    """The wavelet's band of a position."""

    def trailing_zeros(k: int) -> int:
        return next((bit for bit in range(levels) if k >> bit & 1), levels)

    a, c = trailing_zeros(i), trailing_zeros(j)
    m = min(a, c)
    if m == levels:
        return 3 * m
    return 3 * m + (2 if a == c else 0 if a < c else 1)


def entropy_parameters(z: Grid, weights: Weights, h: int, w: int) -> tuple[list[int], list[int]]:
    """Level and mu (in 1/64 of a step) of every element, in the order channel, row, column."""
    t = act(shuffle(conv(z, weights, "up1")))
    t = act(shuffle(conv(t, weights, "up2")))
    o = conv(act(conv(t, weights, "mix")), weights, "leave")
    n, added = weights.channels, weights["band_level"]
    level, mu = [], []
    for c in range(n):
        for i in range(h):
            for j in range(w):
                b = added[c][band(i, j, len(added[c]) // 3)] if c < len(added) else 0
                level.append(clip(o[c][i][j] + b, 0, _LEVELS - 1))
                mu.append(clip(o[n + c][i][j], -_MU_LIMIT, _MU_LIMIT))
    return level, mu
