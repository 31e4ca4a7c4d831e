"""The order of a slice's trits: by tile, in a tile by class, then coarse to fine, then raster; after them the
quiet ones, coarse to fine and raster.

A class says how much squared error an element's trit is expected to take away per bit (priority of DPICT,
section 3.3). On every other position of a level (a checkerboard) it counts as DEMOTION less, so that
neighbours fall into different slices and become each other's context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .state import State

Classes = npt.NDArray[np.uint8]
Elements = npt.NDArray[np.intp]

TILE = 1024
"""Pixels of a tile's side."""
DEMOTION = 20
KNOWN = 0
"""Class of an element that has no trit to come; others have 1 to 255."""
GROUP = 64
"""Quiet elements that share a symbol."""


def demotion(state: State) -> npt.NDArray[np.uint8]:
    """Reduction of every element's class, uint8 [n]."""
    out = np.empty(state.count, np.uint8)
    for level, (height, width) in enumerate(state.sides):
        odd = np.add.outer(np.arange(height), np.arange(width)) & 1
        state.level(out, level)[:] = (odd * DEMOTION).astype(np.uint8)
    return out


def demoted(classes: Classes, demotion: npt.NDArray[np.uint8]) -> Classes:
    """Classes 1 to 255 less their reduction, at least 1."""
    return np.maximum(classes, demotion + np.uint8(1)) - demotion


@dataclass(frozen=True)
class Tile:
    """Rows and columns of every level, finest first."""

    windows: Sequence[tuple[slice, slice]]

    def elements(self, state: State) -> Elements:
        """Elements in the tile, coarse to fine, then channel and raster."""
        parts = []
        for level in range(len(self.windows) - 1, -1, -1):
            (rows, columns), (height, width) = self.windows[level], state.sides[level]
            channels = np.arange(state.channels)[:, None, None] * (height * width)
            lines = np.arange(rows.start, rows.stop)[:, None] * width
            places = channels + lines + np.arange(columns.start, columns.stop)
            parts.append(places.reshape(-1) + state.spans[level].start)
        return np.concatenate(parts)


def _cuts(side: int) -> list[tuple[int, int]]:
    return [(start, min(start + TILE, side)) for start in range(0, side, TILE)]


def tiles(height: int, width: int, levels: int) -> list[Tile]:
    """Tiles of a picture in raster order."""

    def windows(top: int, bottom: int, left: int, right: int) -> Iterator[tuple[slice, slice]]:
        for _ in range(levels):
            top, bottom, left, right = top // 2, (bottom + 1) // 2, left // 2, (right + 1) // 2
            yield slice(top, bottom), slice(left, right)

    return [
        Tile(list(windows(top, bottom, left, right)))
        for top, bottom in _cuts(height)
        for left, right in _cuts(width)
    ]


def slice_elements(
    classes: Classes, threshold: int, quiet: npt.NDArray[np.bool_]
) -> tuple[Elements, Elements]:
    """Elements of classes from a threshold on, in coding order: those coded one by one, and the quiet ones.

    classes: uint8 [n], of a tile.
    quiet: bool [n].
    """
    chosen = classes >= threshold
    quiet = chosen & quiet
    single = np.flatnonzero(chosen ^ quiet)
    # A radix sort. Quiet ones stay as they lie: those that are not zero are neighbours, and share groups.
    return single[np.argsort(np.uint8(255) - classes[single], kind="stable")], np.flatnonzero(quiet)
