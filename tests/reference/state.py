"""Knowledge of the latent: FORMAT.md section 4."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

LEVELS = 6
_CELL = 8


@dataclass(frozen=True)
class Place:
    """Where an element stands: level, channel, row, column."""

    level: int
    channel: int
    row: int
    column: int


def packed(flags: list[bool]) -> bytes:
    """Eight flags a byte, the first one in the top bit; the last byte is filled with zeros."""
    bits = "".join("1" if flag else "0" for flag in flags)
    return bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))


class State:
    """value, known, row: of every element; places: where it stands. low, low_known: of the low band, in the
    order colour, row, column. sides: height and width of each level. slices: how many are decoded; low_held:
    the low band is there; ends: the bytes left a symbol open."""

    def __init__(self, height: int, width: int, colours: int, planes: int) -> None:
        self.colours = colours
        self.sides: list[tuple[int, int]] = []
        for _ in range(LEVELS):
            height, width = (height + 1) // 2, (width + 1) // 2
            self.sides.append((height, width))
        self.places = list(self._places())
        self.value = [0] * len(self.places)
        self.known = [True] * len(self.places)
        self.row = [0] * len(self.places)
        self.low = [0] * (colours * height * width)
        self.low_known = [True] * len(self.low)
        self.plane = self.low_plane = planes
        self.slices = 0
        self.low_held = self.ends = False

    def _places(self) -> Iterator[Place]:
        for level in range(LEVELS - 1, -1, -1):
            h, w = self.sides[level]
            for channel in range(3 * self.colours):
                for i in range(h):
                    for j in range(w):
                        yield Place(level, channel, i, j)

    def first(self, level: int) -> int:
        """Number of a level's first element."""
        return sum(3 * self.colours * h * w for h, w in self.sides[level + 1 :])

    def of_level(self, values: list[int], level: int) -> list[list[list[int]]]:
        """A level's part of one value for each element, as [channels][rows][columns]."""
        h, w = self.sides[level]
        starts = range(self.first(level), self.first(level) + 3 * self.colours * h * w, w)
        rows = [values[at : at + w] for at in starts]
        return [rows[at : at + h] for at in range(0, len(rows), h)]

    def sha256(self) -> str:
        """Of all that is known."""
        data = bytes([self.plane, self.low_plane])
        for letter, values in (("h", self.value), ("H", self.row), ("i", self.low)):
            data += struct.pack(f"<{len(values)}{letter}", *values)
        return hashlib.sha256(data + packed(self.known) + packed(self.low_known)).hexdigest()


def marked_cells(state: State, level: int) -> set[tuple[int, int]]:
    """Row and column of the cells of a level in which a value is not zero, or a parent's."""
    return {
        (place.row * scale // _CELL, place.column * scale // _CELL)
        for place, value in zip(state.places, state.value, strict=True)
        for scale in (1, 2)
        if value and place.level == level + scale - 1
    }


def is_active(place: Place, marked: set[tuple[int, int]]) -> bool:
    """Whether the cell of a place, or one around it, is among those."""
    row, column = place.row // _CELL, place.column // _CELL
    return any((i, j) in marked for i in range(row - 1, row + 2) for j in range(column - 1, column + 2))
