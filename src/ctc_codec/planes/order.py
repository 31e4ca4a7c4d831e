"""The order of a slice's trits: by tile, in a tile by class, then coarse to fine, then raster; after them the
quiet ones, coarse to fine and raster.

A class says how much squared error an element's trit is expected to take away per bit (priority of DPICT,
section 3.3). On every other position of a level (a checkerboard) it counts as DEMOTION less, so that
neighbours fall into different slices and become each other's context.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .state import State

Classes = npt.NDArray[np.uint8]
Elements = npt.NDArray[np.intp]
_Scalar = TypeVar("_Scalar", bound=np.generic)

TILE = 1024
"""Pixels of a tile's side."""
DEMOTION = 20
KNOWN = 0
"""Class of an element that has no trit to come; others have 1 to 255."""
GROUP = 64
"""Quiet elements that share a symbol."""


def demoted(classes: Classes, rows: slice, columns: slice) -> Classes:
    """Classes 1 to 255 of a window of a level, [..., rows, columns], less their reduction, at least 1."""
    odd = ((np.arange(side.start, side.stop) % 2 * DEMOTION).astype(np.uint8) for side in (rows, columns))
    demotion = np.bitwise_xor.outer(*odd)
    return np.maximum(classes, demotion + np.uint8(1)) - demotion


@dataclass(frozen=True)
class Tile:
    """Rows and columns of every level, finest first. whole: they are all that there are."""

    windows: Sequence[tuple[slice, slice]]
    whole: bool

    def _part(self, state: State, array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """What an array [n] says of elements in the tile, coarse to fine, then channel and raster."""
        if self.whole:
            return array
        levels = range(len(self.windows) - 1, -1, -1)
        return np.concatenate(
            [state.level(array, level)[:, *self.windows[level]].reshape(-1) for level in levels]
        )

    def elements(self, state: State, where: npt.NDArray[np.bool_]) -> Elements:
        """Those of the elements in the tile that are chosen, in the same order."""
        if self.whole:
            return np.flatnonzero(where)
        parts, start = [], 0
        for level in range(len(self.windows) - 1, -1, -1):
            (rows, columns), (height, width) = self.windows[level], state.sides[level]
            length = columns.stop - columns.start
            lines = np.add.outer(
                np.arange(state.channels) * height, np.arange(rows.start, rows.stop)
            ).reshape(-1)
            before = state.spans[level].start + lines * width + columns.start - np.arange(len(lines)) * length
            chosen = np.flatnonzero(where[start : start + len(lines) * length])
            parts.append(chosen + before.take(chosen // max(length, 1)))
            start += len(lines) * length
        return np.concatenate(parts)

    def slice_elements(
        self, state: State, classes: Classes, threshold: int, quiet_rows: npt.NDArray[np.bool_]
    ) -> tuple[Elements, npt.NDArray[np.bool_]]:
        """Elements of classes from a threshold on that are coded one by one, in coding order; and which
        elements of the tile are quiet ones of such classes, which come after them as they lie: those that
        are not zero are neighbours, and share groups.

        classes: uint8 [n].
        quiet_rows: which rows are those of quiet elements.
        """
        own = self._part(state, classes)
        chosen = own >= threshold
        quiet = quiet_rows.take(self._part(state, state.row), mode="wrap")  # quicker than with a check
        quiet &= chosen
        chosen ^= quiet
        by_class = np.argsort(np.uint8(255) - own.compress(chosen), kind="stable")  # a radix sort
        return self.elements(state, chosen).take(by_class), quiet


def _cuts(side: int) -> list[tuple[int, int]]:
    return [(start, min(start + TILE, side)) for start in range(0, side, TILE)]


def tiles(height: int, width: int, levels: int) -> list[Tile]:
    """Tiles of a picture in raster order."""

    def windows(top: int, bottom: int, left: int, right: int) -> Iterator[tuple[slice, slice]]:
        for _ in range(levels):
            top, bottom, left, right = top // 2, (bottom + 1) // 2, left // 2, (right + 1) // 2
            yield slice(top, bottom), slice(left, right)

    cuts = list(itertools.product(_cuts(height), _cuts(width)))
    return [Tile(list(windows(*rows, *columns)), len(cuts) == 1) for rows, columns in cuts]
