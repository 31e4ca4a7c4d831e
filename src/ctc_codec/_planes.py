"""Trit planes: what is known of a latent element is one integer, the node of a ternary tree.

The residual ``s = round(y - mu)`` of an element is modelled as symmetric with a scale sigma, one of
``LEVELS`` log-spaced levels. Level k gives its elements ``L(k)`` trits: the interval
``[-(3^L - 1)/2, (3^L - 1)/2]`` is cut in three, recursively (DPICT, Lee et al., CVPR 2022, section 3).
Nodes of one level are numbered breadth first, levels follow each other, so

    node = base[level] + (3^depth - 1)/2 + (first ``depth`` base-3 digits of s + (3^L - 1)/2)

and per node three things are tabulated, all integers: the frequencies of its three trits, the
conditional mean of s (1/64 units) and the priority of coding its trit now (expected distortion
decrease over expected rate). Planes are aligned at the least significant trit: plane p codes the
elements with more than p trits, highest priority first.

:func:`build_tables` is run when a model is exported, never when it is used: the last bit of ``erfc``
is not the same everywhere, and one different priority reorders a plane.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEVELS = 80
LEVEL_STEP = 0.123
"""Sigma of level k is SIGMA_MIN exp(k LEVEL_STEP), up to 1825."""
MAX_TRITS = 10
SIGMA_MIN = 0.11
"""Elements at level 0 (sigma at or below this) are never coded: 5e-6 of them are not zero."""
MIXTURE = ((0.78, 0.844), (0.22, 1.415))
"""Shares and deviations (in sigmas) of the two Gaussians that residuals are a mixture of: heavier tails than
one Gaussian's, as measured on training photographs. Saves 0.5 % of their rate."""
TAIL = 6.1
"""An interval reaches at least this many sigmas to each side."""

FREQUENCY_BITS = 16
MEAN_SCALE = 64
"""Conditional means and mu are in 1/64 of a quantiser step."""
PRIORITY_SCALE = 64
"""Priorities are log2(distortion decrease per bit) in 1/64."""
PRIORITY_LIMIT = 15000

IntArray = npt.NDArray[np.int32]


def sigma_of_level(level: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Sigma of a level (a real number between two integers is allowed), in quantiser steps."""
    return np.asarray(SIGMA_MIN * np.exp(LEVEL_STEP * np.asarray(level, dtype=np.float64)))


def trits_of_levels() -> IntArray:
    """Number of trits L(k) of every level, int32 [LEVELS]; 0 for level 0."""
    trits = np.ceil(np.log(2 * TAIL * sigma_of_level(np.arange(LEVELS))) / np.log(3))
    trits = np.maximum(trits, 1).astype(np.int32)
    trits[0] = 0
    return trits


def _bases(trits: IntArray) -> IntArray:
    """Node id of every level's root, int32 [LEVELS + 1]; the last is the number of nodes."""
    sizes = (3 ** (trits.astype(np.int64) + 1) - 1) // 2
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)


def rows_of_trees(trits: IntArray, bases: IntArray) -> Iterator[tuple[slice, int]]:
    """The nodes of one depth of one level's tree, and how many trits they still lack, tree after tree from
    the root down. trits, bases: int32 [LEVELS], as in :class:`TreeTables`."""
    for base, count in zip(bases.tolist(), trits.tolist(), strict=True):
        for depth in range(count + 1):
            first = base + (3**depth - 1) // 2
            yield slice(first, first + 3**depth), count - depth


def _children(trits: IntArray) -> IntArray:
    """Node id of every node's first child, int32 [nodes]; 0 at leaves."""
    bases = _bases(trits)
    out = np.zeros(bases[-1], dtype=np.int32)
    for row, remaining in rows_of_trees(trits, bases[:-1]):
        if remaining:
            out[row] = row.stop + 3 * np.arange(row.stop - row.start)
    return out


@dataclass(frozen=True)
class TreeTables:
    """The integer tables of all levels' trees.

    trits: int32 [LEVELS], number of trits L(k).
    bases: int32 [LEVELS], node id of every level's root.
    children: int32 [nodes], node id of the first child, 0 at leaves.
    frequencies: uint16 [nodes, 3], of each trit, sum 2^16, each >= 1; zero rows at leaves.
    means: int32 [nodes], conditional mean of s in 1/64.
    priorities: int16 [nodes], larger is coded earlier; zero at leaves.
    """

    trits: IntArray
    bases: IntArray
    children: IntArray
    frequencies: npt.NDArray[np.uint16]
    means: IntArray
    priorities: npt.NDArray[np.int16]

    @classmethod
    def from_inner(
        cls,
        trits: IntArray,
        frequencies: npt.NDArray[np.uint16],
        means: IntArray,
        priorities: npt.NDArray[np.int16],
    ) -> TreeTables:
        """Tables from the rows of the inner nodes alone, in node order: leaves follow from them.

        Raises ValueError unless shapes, ranges and sums are what the codec relies on.
        """
        if trits.shape != (LEVELS,) or trits.min() < 0 or trits.max() > MAX_TRITS:
            raise ValueError("bad numbers of trits")
        bases, children = _bases(trits), _children(trits)
        inner = children > 0
        count = int(inner.sum())
        if frequencies.shape != (count, 3) or means.shape != (count,) or priorities.shape != (count,):
            raise ValueError("tables do not fit the levels")
        if frequencies.min() < 1 or (frequencies.sum(axis=1, dtype=np.int64) != 1 << FREQUENCY_BITS).any():
            raise ValueError("trit frequencies do not add up")
        if np.abs(priorities.astype(np.int32)).max() > PRIORITY_LIMIT:
            raise ValueError("priority out of range")
        all_frequencies = np.zeros((len(inner), 3), dtype=np.uint16)
        all_means = np.zeros(len(inner), dtype=np.int32)
        all_priorities = np.zeros(len(inner), dtype=np.int16)
        for end, level_trits in zip(bases[1:].tolist(), trits.tolist(), strict=True):
            half = (3**level_trits - 1) // 2
            all_means[end - 2 * half - 1 : end] = MEAN_SCALE * np.arange(-half, half + 1)
        all_frequencies[inner], all_means[inner], all_priorities[inner] = frequencies, means, priorities
        return cls(trits, bases[:-1], children, all_frequencies, all_means, all_priorities)

    @property
    def inner(self) -> npt.NDArray[np.bool_]:
        """Nodes that have children, bool [nodes]."""
        return self.children > 0


def quantise_frequencies(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """Rows of probabilities [n, K] to rows of 16-bit frequencies, each >= 1, sum 2^16."""
    total, symbols = 1 << FREQUENCY_BITS, probabilities.shape[1]
    p = probabilities / probabilities.sum(axis=1, keepdims=True)
    out = 1 + np.floor(p * (total - symbols) + 0.5).astype(np.int64)
    out[np.arange(len(out)), out.argmax(axis=1)] += total - out.sum(axis=1)
    if (out < 1).any() or (out >= total).any():
        raise ValueError("a frequency left its range")
    return out.astype(np.uint16)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def unit_masses(s: npt.NDArray[np.float64], sigma: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Probabilities of integer residuals s under the mixture, float64; sigma is broadcast to them."""
    p = np.zeros_like(s)
    for share, deviation in MIXTURE:
        scale = np.broadcast_to(deviation * np.sqrt(2) * np.asarray(sigma), s.shape)
        # P(|s| - 1/2 < |x| < |s| + 1/2) from upper tails, which keep their precision far out.
        p += 0.5 * share * (_erfc((np.abs(s) - 0.5) / scale) - _erfc((np.abs(s) + 0.5) / scale))
    return p


def build_tables() -> TreeTables:
    """Compute the tables from the mixture (float64, at export and in training only)."""
    trits = trits_of_levels()
    frequencies, means, priorities = [], [], []
    for sigma, count in zip(sigma_of_level(np.arange(LEVELS)), trits.tolist(), strict=True):
        half = (3**count - 1) // 2
        s = np.arange(-half, half + 1, dtype=np.float64)
        p = unit_masses(s, sigma)
        moments = [(p, p * s)]  # of the leaves, then of their parents, up to the root
        for _ in range(count):
            p, first = moments[-1]
            moments.append((p.reshape(-1, 3).sum(axis=1), first.reshape(-1, 3).sum(axis=1)))
        for depth in range(count):
            p, first = moments[count - depth]
            child_p, child_first = moments[count - depth - 1]
            mean, child_mean = first / p, (child_first / child_p).reshape(-1, 3)
            q = child_p.reshape(-1, 3) / p[:, None]
            decrease = (q * (child_mean - mean[:, None]) ** 2).sum(axis=1)
            rate = -(q * np.log2(np.maximum(q, 1e-300))).sum(axis=1)
            priority = PRIORITY_SCALE * np.log2(np.maximum(decrease, 1e-30) / np.maximum(rate, 1e-30))
            frequencies.append(quantise_frequencies(q))
            means.append(np.floor(mean * MEAN_SCALE + 0.5).astype(np.int32))
            priorities.append(np.clip(np.round(priority), -PRIORITY_LIMIT, PRIORITY_LIMIT).astype(np.int16))
    return TreeTables.from_inner(
        trits, np.concatenate(frequencies), np.concatenate(means), np.concatenate(priorities)
    )


def code_lengths(tables: TreeTables) -> npt.NDArray[np.float64]:
    """Bits of the trits that lead to each node, float64 [nodes]."""
    lengths = np.zeros(len(tables.children))
    inner = np.flatnonzero(tables.inner)
    own = FREQUENCY_BITS - np.log2(tables.frequencies[inner].astype(np.float64))
    for node, bits in zip(inner.tolist(), own, strict=True):  # parents come before their children
        child = tables.children[node]
        lengths[child : child + 3] = lengths[node] + bits
    return lengths


def clip_residual(s: IntArray, level: IntArray, tables: TreeTables) -> IntArray:
    """Bring residuals into their level's interval, int32, same shape."""
    half = ((3 ** tables.trits.astype(np.int64) - 1) // 2).astype(np.int32)[level]
    return np.clip(s, -half, half)


CONTEXT_PLANES = 6
"""CRR serves so many of the last planes; those above hold some trits of the first channels only."""

_SLICE_ELEMENTS = 256
"""No slice of a plane is shorter: context that is refreshed more often than it changes costs time only."""


class Planes:
    """State of all latent elements of one image, and the order in which their trits are coded.

    level: int32 [n], sigma level of every element, n elements in the order channel, row, column.
    weight: int16 [n], added to the priorities of the element (how much the synthesis amplifies its
        channel, log2 in 1/64).
    order: inside a plane. "priority": most distortion removed per bit first (DPICT, section 3.3); "sigma":
        largest sigma first (PLONQ, Lu et al., DCC 2021); "raster": by channel, row and column.
    slices: parts of equal length that a plane's order is cut into.
    """

    def __init__(
        self,
        level: IntArray,
        weight: npt.NDArray[np.int16],
        tables: TreeTables,
        order: str = "priority",
        slices: int = 1,
    ) -> None:
        self._tables = tables
        self._weight = weight
        self._level = level
        self._order = order
        self._slices = slices
        self._trits = tables.trits.astype(np.int8)[level]
        self.count = int(self._trits.max(initial=0))
        """Number of planes."""
        self.active = [int((self._trits > plane).sum()) for plane in range(self.count)]
        """Trits of every plane."""
        self.node: IntArray = tables.bases[level]
        """Node of every element, int32 [n]: the whole state."""

    def __iter__(self) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
        """Yield (plane, elements of a slice in coding order), most significant plane first.

        The order of a plane depends on the state at its beginning, so :meth:`advance` the slice before
        asking for the next.
        """
        for plane in range(self.count - 1, -1, -1):
            elements = self._ordered(np.flatnonzero(self._trits > plane))
            slices = max(1, min(self._slices, len(elements) // _SLICE_ELEMENTS))
            for part in np.array_split(elements, slices):
                yield plane, part

    def _ordered(self, active: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        if self._order == "raster":
            return active
        if self._order == "sigma":
            key = (LEVELS - self._level[active]).astype(np.uint16)
        else:
            priority = self._tables.priorities[self.node[active]] + self._weight[active]
            # Descending, ties in element order: a stable (radix) sort of the complement.
            key = (32767 - priority).astype(np.uint16)
        return active[np.argsort(key, kind="stable")]

    def digits(self, s: IntArray, plane: int, elements: npt.NDArray[np.intp]) -> IntArray:
        """Trits of residuals ``s`` (int32 [n], inside their intervals) for a plane, int32 0..2."""
        half = (3 ** self._trits[elements].astype(np.int32) - 1) // 2
        return ((s[elements] + half) // 3**plane % 3).astype(np.int32)

    def advance(self, elements: npt.NDArray[np.intp], trits: IntArray) -> None:
        """Move elements to the children that their trits name."""
        self.node[elements] = self._tables.children[self.node[elements]] + trits

    def residual(self) -> IntArray:
        """Conditional mean of every element's residual, int32 [n] in 1/64."""
        return self._tables.means[self.node]
