"""The state of latent elements as small integers, for context models to look at.

An element's state is the node of its level's ternary tree (:mod:`ctc_codec._planes`). Features and slopes
are tables over nodes; all that a stream depends on is computed from shipped integers by integer arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ._planes import (
    FREQUENCY_BITS,
    LEVELS,
    MAX_TRITS,
    MEAN_SCALE,
    TreeTables,
    rows_of_trees,
    sigma_of_level,
    unit_masses,
)

FEATURES = 4
"""Of every node: conditional mean over sigma, its magnitude, mean over the width of the interval, logarithm
(base 3) of that width over sigma, less 2."""
FEATURE_SCALE = 16
FEATURE_LIMIT = 127
"""Features are integers in 1/16, up to 127."""

_INVERSE_BITS = 20
SLOPE_SCALE = 16
_SLOPE_LIMIT = 127
ODDS_SCALE = 64
"""Log-odds are in 1/64 of log2."""

Int8Array = npt.NDArray[np.int8]
Int16Array = npt.NDArray[np.int16]
Int32Array = npt.NDArray[np.int32]


def remaining_trits(tables: TreeTables) -> Int8Array:
    """Trits not known yet at every node, int8 [nodes]."""
    out = np.zeros(len(tables.children), np.int8)
    for row, remaining in rows_of_trees(tables.trits, tables.bases):
        out[row] = remaining
    return out


def node_intervals(tables: TreeTables) -> tuple[Int32Array, Int32Array]:
    """Lowest and highest residual of every node, int32 [nodes] each."""
    low, high = (np.zeros(len(tables.children), np.int32) for _ in range(2))
    for row, remaining in rows_of_trees(tables.trits, tables.bases):
        count, width = row.stop - row.start, 3**remaining
        low[row] = width * np.arange(count) - (count * width - 1) // 2
        high[row] = low[row] + width - 1
    return low, high


def level_tables() -> tuple[Int32Array, Int8Array]:
    """What features need of every level: 2^20 / sigma, int32 [LEVELS], and the feature of the width for every
    number of remaining trits, int8 [LEVELS, MAX_TRITS + 1]. Floating point: at export only."""
    sigma = sigma_of_level(np.arange(LEVELS))
    inverse = np.rint((1 << _INVERSE_BITS) / sigma).astype(np.int32)
    width = np.arange(MAX_TRITS + 1) - np.log(sigma)[:, None] / math.log(3) - 2
    width = np.clip(np.rint(FEATURE_SCALE * width), -FEATURE_LIMIT, FEATURE_LIMIT)
    return inverse, width.astype(np.int8)


def node_features(tables: TreeTables, inverse_sigma: Int32Array, log_width: Int8Array) -> Int8Array:
    """Features of every node, int8 [FEATURES, nodes], from the tables of :func:`level_tables`."""
    remaining = remaining_trits(tables)
    sizes = np.diff(np.append(tables.bases, len(remaining)))
    level = np.repeat(np.arange(LEVELS), sizes)
    magnitude = np.abs(tables.means.astype(np.int64))
    sign = np.sign(tables.means).astype(np.int64)
    down = _INVERSE_BITS + (MEAN_SCALE // FEATURE_SCALE).bit_length() - 1
    in_sigmas = (magnitude * inverse_sigma[level] + (1 << (down - 1))) >> down
    width = MEAN_SCALE // FEATURE_SCALE * 3 ** remaining.astype(np.int64)
    in_widths = (2 * magnitude + width) // (2 * width)
    features = np.stack((sign * in_sigmas, in_sigmas, sign * in_widths, log_width[level, remaining]))
    return np.clip(features, -FEATURE_LIMIT, FEATURE_LIMIT).astype(np.int8)


def trit_slopes(tables: TreeTables) -> Int8Array:
    """How the log-odds of outer trits against the middle one move with a distribution's centre and width.

    int8 [inner nodes, 2, 2] in 1/16: derivatives, by the centre in sigmas and by log sigma, of log2 of the
    first trit's probability and of the last one's over the middle one's. Floating point: at export only.
    """
    step = 0.05
    rows = []
    for sigma, count in zip(sigma_of_level(np.arange(LEVELS)), tables.trits.tolist(), strict=True):
        half = (3**count - 1) // 2
        s = np.arange(-half, half + 1, dtype=np.float64)

        def odds(
            shift: float,
            log_scale: float,
            s: npt.NDArray[np.float64] = s,
            sigma: float = sigma,
            n: int = count,
        ) -> list[npt.NDArray[np.float64]]:
            p = np.maximum(unit_masses(s - shift * sigma, sigma * math.exp(log_scale)), 1e-200)
            by_depth = []
            for _ in range(n):
                log = np.log2(p.reshape(-1, 3))
                by_depth.append(log[:, [0, 2]] - log[:, [1]])
                p = p.reshape(-1, 3).sum(axis=1)
            return by_depth[::-1]

        moved = [odds(step, 0), odds(-step, 0), odds(0, step), odds(0, -step)]
        for up, down, wide, narrow in zip(*moved, strict=True):
            rows.append(np.stack((up - down, wide - narrow), axis=1) / (2 * step))
    slopes = np.clip(np.rint(SLOPE_SCALE * np.concatenate(rows)), -_SLOPE_LIMIT, _SLOPE_LIMIT)
    return slopes.astype(np.int8)


def _root_64(power: int) -> int:
    """floor(2^(power/64)) by integer arithmetic: six square roots of a number with enough fraction bits."""
    value = 1 << (power + 128)  # 2^(power + 128) has the 64th root 2^(power/64) 2^2
    for _ in range(6):
        value = math.isqrt(value)
    return value >> 2


def log2_table() -> Int16Array:
    """floor(64 log2(f)) of f = 1 .. 2^16 - 1, int16 [2^16], 0 at 0. By integers."""
    # The smallest f with f^64 >= 2^i begins the value i.
    starts = []
    for i in range(ODDS_SCALE * FREQUENCY_BITS):
        f = _root_64(i)
        starts.append(f if f**ODDS_SCALE >= 1 << i else f + 1)
    table = np.searchsorted(starts, np.arange(1 << FREQUENCY_BITS), side="right") - 1
    return np.maximum(table, 0).astype(np.int16)


def exp2_table(length: int, bits: int) -> npt.NDArray[np.float64]:
    """floor(2^(bits - d/64)) for d = 0 .. length - 1, float64 of whole numbers. By integers."""
    top = [_root_64(64 * bits - i) for i in range(ODDS_SCALE)]
    return np.array([top[d % ODDS_SCALE] >> d // ODDS_SCALE for d in range(length)], dtype=np.float64)


@dataclass(frozen=True)
class StateTables:
    """Tables over nodes that CRR needs.

    features: int8 [FEATURES, nodes]; slopes: float32 [nodes, 4], whole numbers in 1/16: of (first, last) trit
    by the centre, then by log sigma; odds: float32 [nodes, 2], whole numbers in 1/64: of the first and last
    trit against the middle one, by the table's frequencies. Zeros at leaves.
    """

    features: Int8Array
    slopes: npt.NDArray[np.float32]
    odds: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls, tables: TreeTables, inverse_sigma: Int32Array, log_width: Int8Array, inner_slopes: Int8Array
    ) -> StateTables:
        """Raises ValueError if the shipped arrays do not fit the trees."""
        inner = tables.inner
        if inverse_sigma.shape != (LEVELS,) or log_width.shape != (LEVELS, MAX_TRITS + 1):
            raise ValueError("levels of the context model do not fit")
        if inverse_sigma.min() < 0 or inverse_sigma.dtype != np.int32 or log_width.dtype != np.int8:
            raise ValueError("levels of the context model are not usable")
        if inner_slopes.shape != (int(inner.sum()), 2, 2) or inner_slopes.dtype != np.int8:
            raise ValueError("slopes do not fit the trees")
        slopes = np.zeros((len(inner), 4), np.float32)
        slopes[inner] = inner_slopes.reshape(-1, 4)
        log = log2_table()[tables.frequencies]
        odds = (log[:, [0, 2]] - log[:, [1]]).astype(np.float32)
        return cls(node_features(tables, inverse_sigma, log_width), slopes, odds)
