"""Frequencies of trits that follow from what is known around them: FORMAT.md section 8."""

from __future__ import annotations

import functools

from .network import Grid, act, clip, conv
from .planes import State
from .weights import Weights

_ACTIVATION_LIMIT = 255
_FEATURE_LIMIT = 127


def _sum(x: Grid, y: Grid) -> Grid:
    return [
        [[a + b for a, b in zip(*lines, strict=True)] for lines in zip(*planes, strict=True)]
        for planes in zip(x, y, strict=True)
    ]


def _features(state: State, e: int, weights: Weights) -> tuple[int, int, int, int]:
    mean, level, unknown = state.mean(e), state.level[e], state.unknown(e)
    sign, width = (mean > 0) - (mean < 0), 8 * 3**unknown
    sigmas = abs(mean) * weights["crr.inverse_sigma"][level] + (1 << 21) >> 22
    widths = (2 * abs(mean) + width // 2) // width
    return sign * sigmas, sigmas, sign * widths, weights["crr.log_width"][level][unknown]


def moves(state: State, weights: Weights, h: int, w: int) -> list[tuple[int, int]]:
    """Shift and change of log sigma of every element."""
    n = weights.channels
    features: Grid = [[[0] * w for _ in range(h)] for _ in range(4 * n)]
    levels: Grid = [[[0] * w for _ in range(h)] for _ in range(n)]
    where = [(c, i, j) for c in range(n) for i in range(h) for j in range(w)]
    for e, (c, i, j) in enumerate(where):
        for f, value in enumerate(_features(state, e, weights)):
            features[4 * c + f][i][j] = clip(value, -_FEATURE_LIMIT, _FEATURE_LIMIT)
        levels[c][i][j] = state.level[e] - 40
    limit = _ACTIVATION_LIMIT
    t = act(conv(features + levels, weights, "crr.enter"), limit)
    u = act(conv(t, weights, "crr.mix"), limit)
    u = act(conv(u, weights, "crr.spread", groups=len(u)), limit)
    t = act(_sum(t, conv(u, weights, "crr.join")), limit)
    o = _sum(conv(t, weights, "crr.leave"), conv(features, weights, "crr.own", groups=n))
    return [(clip(o[2 * c][i][j], -128, 128), clip(o[2 * c + 1][i][j], -64, 64)) for c, i, j in where]


@functools.cache
def log2_64(f: int) -> int:
    """floor(64 log2 f)"""
    return (f**64).bit_length() - 1


@functools.cache
def exp2_64(d: int) -> int:
    """floor(2^(30 - (d mod 64) / 64)) >> (d // 64)"""
    low, high = 0, 1 << 31  # low^64 <= 2^(64 * 30 - d mod 64) < high^64
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**64 << d % 64 <= 1 << 64 * 30 else (low, middle)
    return low >> d // 64


def frequencies(row: list[int], slopes: list[list[int]], shift: int, change: int) -> list[int]:
    """Frequencies of three trits: those of the table, ``row``, moved."""
    odds = [0, 0, 0]
    for i, trit in ((0, 0), (1, 2)):
        moved = (shift * slopes[0][i] + change * slopes[1][i] + 8) >> 4
        odds[trit] = clip(log2_64(row[trit]) - log2_64(row[1]) + moved, -1536, 1536)
    shares = [exp2_64(max(odds) - value) for value in odds]
    out = [1 + 65533 * share // sum(shares) for share in shares]
    out[shares.index(max(shares))] += 65536 - sum(out)
    return out
