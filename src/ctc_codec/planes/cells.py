"""Cells of 8x8 positions of the finest levels, and which of them are blank: all that is known there, around
them and at the parents is zero. Where an encoder says so, CRR does not look at them, as a table tells as
much."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .state import State
from .trits import Values

CELL = 8
"""Positions of a cell's side."""
BLANK_LEVELS = 2
"""Levels that can have blank cells, from the finest on: the others take little time."""

Cells = npt.NDArray[np.bool_]


def _any(values: Values, side: int) -> Cells:
    """Whether one of the values [channels, h, w] is not zero, by squares of ``side`` positions."""
    height, width = values.shape[1:]
    rows, columns = -(-height // side), -(-width // side)
    found = np.zeros((rows * side, columns * side), np.int16)
    np.bitwise_or.reduce(values, axis=0, out=found[:height, :width])
    lines = np.bitwise_or.reduce(found.reshape(rows, side, columns * side), axis=1)
    return lines.reshape(rows, columns, side).any(axis=2)


def every_cell(state: State, level: int) -> Cells:
    """All cells of a level, bool [ceil(h / 8), ceil(w / 8)]."""
    height, width = state.sides[level]
    return np.ones((-(-height // CELL), -(-width // CELL)), bool)


def active_cells(state: State, level: int) -> Cells:
    """Cells of a level below BLANK_LEVELS that are not blank, as :func:`every_cell`."""
    found = _any(state.level(state.value, level), CELL)
    found |= _any(state.level(state.value, level + 1), CELL // 2)
    for axis in (0, 1):
        lines = np.moveaxis(found, axis, 0)
        before = lines.copy()
        lines[1:] |= before[:-1]
        lines[:-1] |= before[1:]
    return found


def positions(cells: Cells, height: int, width: int) -> Cells:
    """The same for every position, bool [height, width]."""
    return cells.repeat(CELL, axis=0)[:height].repeat(CELL, axis=1)[:, :width]
