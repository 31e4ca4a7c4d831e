"""Windows of a level in which its network is run: together they hold all cells that are active."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..planes.cells import CELL, Cells

_BAND = 4
"""Rows of cells that are taken together."""
_GAP = 2
"""Blank cells between two runs that do not part them."""
_CALL = 600
"""Positions that take as long as a window does beside its positions."""

Window = tuple[slice, slice]
"""Rows and columns of a level."""


@dataclass(frozen=True)
class _Box:
    """A rectangle of cells."""

    top: int
    bottom: int
    left: int
    right: int

    def cost(self, halo: int) -> int:
        height, width = self.bottom - self.top, self.right - self.left
        return (height * CELL + 2 * halo) * (width * CELL + 2 * halo) + _CALL

    @property
    def cells(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def union(self, other: _Box) -> _Box:
        return _Box(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )

    def meets(self, other: _Box) -> bool:
        return (
            self.top < other.bottom
            and other.top < self.bottom
            and self.left < other.right
            and other.left < self.right
        )


def _runs(active: Cells, most: int) -> Iterator[tuple[int, int]]:
    """Runs of active cells in a row of them, at most so long."""
    places = np.flatnonzero(active)
    breaks = np.flatnonzero(np.diff(places) > _GAP + 1)
    starts, stops = places[np.r_[0, breaks + 1]], places[np.r_[breaks, len(places) - 1]] + 1
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        count = -(-(stop - start) // most)
        for i in range(count):
            yield start + (stop - start) * i // count, start + (stop - start) * (i + 1) // count


def windows(active: Cells, size: tuple[int, int], halo: int, most: int) -> list[Window]:
    """Windows that hold all active cells of a level and do not meet, the largest first.

    active: bool [rows, columns] of cells.
    size: height and width of the level, in positions.
    halo: positions around a window that its network reads as well.
    most: positions of a window, about.
    """
    most_cells = max(most // CELL**2, 1)
    if active.size <= most_cells and active.all():
        return [(slice(0, size[0]), slice(0, size[1]))]
    done: list[_Box] = []
    growing: list[_Box] = []
    for top in range(0, len(active), _BAND):
        band = active[top : top + _BAND]
        columns: Cells = np.logical_or.reduce(band, axis=0)
        found: list[_Box] = []
        if columns.any():
            for left, right in _runs(columns, max(most_cells // len(band), 1)):
                box = _Box(top, top + len(band), left, right)
                for other in growing:
                    union = other.union(box)
                    if (
                        other.left < right
                        and left < other.right
                        and union.cells <= most_cells
                        and union.cost(halo) <= other.cost(halo) + box.cost(halo)
                        and not any(union.meets(rest) for rest in (*done, *growing, *found) if rest != other)
                    ):
                        growing.remove(other)
                        box = union
                        break
                found.append(box)
        done += growing
        growing = found
    boxes = sorted(done + growing, key=lambda box: -box.cells)
    height, width = size
    return [
        (
            slice(box.top * CELL, min(box.bottom * CELL, height)),
            slice(box.left * CELL, min(box.right * CELL, width)),
        )
        for box in boxes
    ]
