"""Densities: trit frequencies, classes, quiet elements. FORMAT.md section 6."""

from __future__ import annotations

from .state import Place, State
from .weights import Weights

_SIDE, _SCALES, _FARTHEST = 1 << 13, 64, 127
_QUIET = 262
_DEMOTION = 20


def row_of(value: int, centre: int, scale: int) -> int:
    """The density of an element whose trit is not known, as it sees it."""
    distance = 16 * value - centre
    return (_SIDE if distance < 0 else 0) + _SCALES * min(abs(distance), _FARTHEST) + scale


def frequencies(row: int, weights: Weights) -> list[int]:
    """Of the trits -1, 0 and 1."""
    found: list[int] = weights["density.frequencies"][row % _SIDE]
    return found[::-1] if row >= _SIDE else found


def class_of(row: int, place: Place, weights: Weights) -> int:
    """Of an element whose trit is not known."""
    found: int = weights["density.classes"][row % _SIDE]
    return max(found - _DEMOTION, 1) if (place.row + place.column) % 2 else found


def is_quiet(row: int, weights: Weights) -> bool:
    return frequencies(row, weights)[1] > 65536 - _QUIET


def group_frequencies(rows: list[int], weights: Weights) -> list[int]:
    """Of "all are zero" and "some are not", for a group of quiet elements."""
    cost = sum(weights["density.zero_cost"][row % _SIDE] for row in rows)
    zero = weights["density.group"][cost >> 5]
    return [zero, 65536 - zero]


def in_blank_cell(state: State, e: int, plane: int, weights: Weights) -> int:
    """Row of an element at a level that CRR looks at, where it does not look."""
    place = state.places[e]
    return row_of(0, 0, weights["density.blank"][plane][place.level][place.channel * 3 // state.colours])


def without_context(state: State, e: int, plane: int, weights: Weights) -> int:
    """Row of an element of which the tables alone tell; its value is at the plane already."""
    place, value = state.places[e], state.value[e]
    channel = place.channel * 3 // state.colours
    magnitude = min(abs(value) // 3, 3)
    return row_of(value, 0, weights["density.static"][plane][place.level][channel][magnitude])
