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
from typing import Any

import numpy as np
import numpy.typing as npt

from ._tiles import parts

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
LevelArray = npt.NDArray[np.uint8]


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
    def half_widths(self) -> IntArray:
        """Largest residual of every level, int32 [LEVELS]."""
        return (3 ** self.trits.astype(np.int32) - 1) // 2

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


def clip_residual(s: IntArray, level: LevelArray, tables: TreeTables) -> IntArray:
    """Bring residuals into their level's interval, int32, same shape."""
    half = tables.half_widths[level]
    return np.clip(s, -half, half)


def look_up(table: npt.NDArray[Any], index: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``table[index]`` for a large contiguous index of integers, in parts."""
    out = np.empty(index.shape, table.dtype)
    flat, flat_index = out.reshape(-1), index.reshape(-1)
    for part in parts(len(flat), _PART):
        flat[part] = table[flat_index[part]]
    return out


CONTEXT_PLANES = 6
"""CRR serves so many of the last planes; those above hold some trits of the first channels only."""

_SLICE_ELEMENTS = 256
"""No slice of a plane is shorter: context that is refreshed more often than it changes costs time only."""

_PART = 1 << 18
"""Elements that are looked up at a time: numpy makes 8 bytes of every index that it is given."""
_GROUP = 1 << 22
"""Elements that are sorted at a time."""

_NOT_IN_PLANE = 0xFFFF
"""Key of an element that has no trit in a plane; those of others are below it."""


class Planes:
    """State of all latent elements of one image, and the order in which their trits are coded.

    level: uint8 [n], sigma level of every element, n elements in the order channel, row, column.
    weight: int16, added to the priorities of elements (how much the synthesis amplifies a channel, log2 in
        1/64): one for each of len(weight) runs of equal length.
    order: inside a plane. "priority": most distortion removed per bit first (DPICT, section 3.3); "sigma":
        largest sigma first (PLONQ, Lu et al., DCC 2021); "raster": by channel, row and column.
    slices: parts of equal length that a plane's order is cut into.

    Large images are sorted in groups, so that beside the state there are 2 bytes for each element.
    """

    def __init__(
        self,
        level: LevelArray,
        weight: npt.NDArray[np.int16],
        tables: TreeTables,
        order: str = "priority",
        slices: int = 1,
    ) -> None:
        self._tables = tables
        self._weight = weight
        self._run = len(level) // max(len(weight), 1)
        self._level = level
        self._order = order
        self._slices = slices
        counts = np.zeros(LEVELS, np.int64)
        for part in parts(len(level), _PART):
            counts += np.bincount(level[part], minlength=LEVELS)
        self.count = int(tables.trits[counts > 0].max(initial=0))
        """Number of planes."""
        self.active = [int(counts[tables.trits > plane].sum()) for plane in range(self.count)]
        """Trits of every plane."""
        self.node: IntArray = look_up(tables.bases, level)
        """Node of every element, int32 [n]: the whole state."""

    def __iter__(self) -> Iterator[tuple[int, npt.NDArray[np.intp], bool]]:
        """Yield (plane, elements in coding order, whether a slice begins), most significant plane first.

        A slice comes in pieces of limited length. The order of a plane depends on the state at its
        beginning, so :meth:`advance` each piece before asking for the next.
        """
        for plane in range(self.count - 1, -1, -1):
            count = self.active[plane]
            slices = max(1, min(self._slices, count // _SLICE_ELEMENTS))
            groups, group = self._ordered(plane), np.zeros(0, np.intp)
            for i in range(slices):
                left, begins = count // slices + (i < count % slices), True
                while left:
                    group = group if len(group) else next(groups)
                    piece, group = np.split(group, [min(left, _PART)])
                    yield plane, piece, begins
                    left, begins = left - len(piece), False

    def _ordered(self, plane: int) -> Iterator[npt.NDArray[np.intp]]:
        """The elements of a plane in coding order, in groups."""
        if self.active[plane] <= _GROUP:
            elements, keys = zip(
                *(self._keys(plane, part) for part in parts(len(self._level), _PART)), strict=True
            )
            yield _sorted(np.concatenate(elements), np.concatenate(keys))
            return
        every_key = np.full(len(self._level), _NOT_IN_PLANE, np.uint16)
        histogram = np.zeros(_NOT_IN_PLANE, np.int64)
        for part in parts(len(every_key), _PART):
            active, key = self._keys(plane, part)
            every_key[active] = key
            histogram += np.bincount(key, minlength=len(histogram))
        before = np.concatenate(([0], np.cumsum(histogram)))
        low = 0
        while before[low] < before[-1]:
            high = max(int(np.searchsorted(before, before[low] + _GROUP, side="right")) - 1, low + 1)
            if before[high] - before[low] > _GROUP:  # one key: in the order of elements
                yield from (found for found, _ in _with_keys(every_key, low, high))
            elif before[high] > before[low]:
                elements, keys = zip(*_with_keys(every_key, low, high), strict=True)
                yield _sorted(np.concatenate(elements), np.concatenate(keys))
            low = high

    def _keys(self, plane: int, part: slice) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint16]]:
        """Elements of a part that have a trit in a plane, ascending, and by what they are sorted."""
        active = np.flatnonzero((self._tables.trits > plane)[self._level[part]]) + part.start
        if self._order == "raster":
            return active, np.zeros(len(active), np.uint16)
        if self._order == "sigma":
            return active, LEVELS - self._level[active].astype(np.uint16)
        priority = self._tables.priorities[self.node[active]] + self._weight[active // self._run]
        return active, (32767 - priority.astype(np.int32)).astype(np.uint16)

    def digits(self, s: npt.NDArray[np.int16], plane: int, elements: npt.NDArray[np.intp]) -> IntArray:
        """Trits of residuals ``s`` (integers [n], inside their intervals) for a plane, int32 0..2."""
        half = self._tables.half_widths[self._level[elements]]
        return ((s[elements] + half) // 3**plane % 3).astype(np.int32)

    def advance(self, elements: npt.NDArray[np.intp], trits: IntArray) -> None:
        """Move elements to the children that their trits name."""
        self.node[elements] = self._tables.children[self.node[elements]] + trits


def _sorted(elements: npt.NDArray[np.intp], keys: npt.NDArray[np.uint16]) -> npt.NDArray[np.intp]:
    """By ascending key; those of one key stay in order (a radix sort)."""
    return elements[np.argsort(keys, kind="stable")]


def _with_keys(
    keys: npt.NDArray[np.uint16], low: int, high: int
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.uint16]]]:
    """Elements whose key is at least ``low`` and below ``high``, and their keys, part by part."""
    for part in parts(len(keys), _PART):
        found = np.flatnonzero((keys[part] >= low) & (keys[part] < high)) + part.start
        yield found, keys[found]
