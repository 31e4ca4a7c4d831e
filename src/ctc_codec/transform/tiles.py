"""Planes in tiles: pairs of rows by pairs of columns, few enough for a core's own cache, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

Source = Callable[[slice, slice, Floats], None]
"""Writes rows and columns of planes to a float32 [planes, rows, columns]."""
Sink = Callable[[slice, slice, Floats], None]
"""Takes rows and columns of planes, float32 [planes, rows, columns], which it may change."""
Share = Callable[[Callable[[Any], None], Sequence[Any]], None]
"""Runs a function on every part of some work, maybe side by side."""

_HALO = 2
"""Pairs of samples on either side that a pair of coefficients depends on, and the other way round."""
_TILE_WIDTH = 512
_TILE = 32 * _TILE_WIDTH
"""Pairs of columns, and of rows by columns, that are worked on at a time."""


@dataclass(frozen=True)
class Span:
    """Pairs of rows or columns. core: those that are wanted. outer: with the halo, where there is one."""

    core: slice
    outer: slice

    @property
    def inner(self) -> slice:
        """The core's place among the outer ones."""
        return slice(self.core.start - self.outer.start, self.core.stop - self.outer.start)


Tile = tuple[Span, Span]
"""Rows and columns."""


def _spans(count: int, most: int) -> list[Span]:
    """All pairs in spans of about one length, ``most`` at most."""
    pieces = -(-count // most)
    ends = [count * i // pieces for i in range(pieces + 1)]
    return [
        Span(slice(start, stop), slice(max(start - _HALO, 0), min(stop + _HALO, count)))
        for start, stop in pairwise(ends)
    ]


def tiles(sides: tuple[int, int]) -> list[Tile]:
    """Tiles that cover so many pairs of rows and columns."""
    columns = _spans(sides[1], _TILE_WIDTH)
    return list(product(_spans(sides[0], _TILE // min(sides[1], _TILE_WIDTH)), columns))


def count_of(part: slice) -> int:
    """How many rows or columns there are in a part of them."""
    return len(range(part.start, part.stop, part.step))


def every_other(pairs: slice, second: int, size: int) -> slice:
    """The first samples of pairs or the second ones, of which the last is missing if ``size`` is odd."""
    return slice(2 * pairs.start + second, min(2 * pairs.stop, size), 2)


def serially(work: Callable[[Any], None], parts: Sequence[Any]) -> None:
    """Run a function on one part after the other."""
    for part in parts:
        work(part)


def reading(array: Floats) -> Source:
    """Planes [C, height, width] as a source."""
    return lambda rows, columns, out: np.copyto(out, array[:, rows, columns])


def writing(array: Floats) -> Sink:
    """Planes [C, height, width] as a sink."""
    return lambda rows, columns, part: np.copyto(array[:, rows, columns], part)
