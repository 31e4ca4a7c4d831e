"""Large planes in tiles whose halo covers what a network looks at: bounded memory, the same result.

At the border of a plane a tile ends where the plane ends, so the padding of convolutions is the same there
too; at the other sides what is computed near the tile's edge is wrong, lies in the halo, and is not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SIDE = 64
"""Positions of the latent that a tile has in each direction at most, without halo."""

_UNIT = 8
"""Tiles begin at multiples of this: the wavelet's bands lie the same in all of them."""


@dataclass(frozen=True)
class Span:
    """Of rows or of columns: ``core`` is what a tile stands for, ``outer`` what it looks at; ``inner`` is the
    core seen from the beginning of ``outer``."""

    core: slice
    outer: slice

    @property
    def inner(self) -> slice:
        return slice(self.core.start - self.outer.start, self.core.stop - self.outer.start)

    def scaled(self, factor: int) -> Span:
        """The same on a plane of ``factor`` times the resolution."""
        return Span(_scaled(self.core, factor), _scaled(self.outer, factor))


@dataclass(frozen=True)
class Tile:
    """Rows and columns of a tile. ``core``, ``outer`` and ``inner`` index the last two dimensions."""

    rows: Span
    columns: Span

    @property
    def core(self) -> tuple[slice, slice]:
        return self.rows.core, self.columns.core

    @property
    def outer(self) -> tuple[slice, slice]:
        return self.rows.outer, self.columns.outer

    @property
    def inner(self) -> tuple[slice, slice]:
        return self.rows.inner, self.columns.inner

    def scaled(self, factor: int) -> Tile:
        """The same on a plane of ``factor`` times the resolution."""
        return Tile(self.rows.scaled(factor), self.columns.scaled(factor))


def _scaled(span: slice, factor: int) -> slice:
    return slice(span.start * factor, span.stop * factor)


def parts(length: int, size: int) -> Iterator[slice]:
    """Consecutive parts of a long dimension, at most so long."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def span(start: int, stop: int, length: int, halo: int) -> Span:
    """``start`` to ``stop`` of ``length`` positions, with as much of the halo as there is."""
    return Span(slice(start, stop), slice(max(start - halo, 0), min(stop + halo, length)))


def tiles(height: int, width: int, halo: int, stride: int = 1) -> Iterator[Tile]:
    """Tiles of a plane, row by row, with so many positions around them.

    stride: positions of the latent per position of the plane, in each direction. A plane that is no larger
    than a tile with a usual halo is one tile, whatever its shape.
    """
    side, unit = SIDE // stride, max(_UNIT // stride, 1)
    if 4 * height * width <= 5 * side * side:
        yield Tile(span(0, height, height, 0), span(0, width, width, 0))
        return
    for rows in _spans(height, side, unit, halo):
        for columns in _spans(width, side, unit, halo):
            yield Tile(rows, columns)


def _spans(length: int, side: int, unit: int, halo: int) -> list[Span]:
    """Spans of about equal length, at most ``side``, that begin at multiples of ``unit``."""
    count = -(-length // side)
    step = -(-length // (count * unit)) * unit
    return [span(start, min(start + step, length), length, halo) for start in range(0, length, step)]
