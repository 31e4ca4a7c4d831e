"""Planes in tiles: pairs of rows by pairs of columns, few enough for a core's own cache, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

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


class Span(NamedTuple):
    """A part of a side. core: what is wanted. outer: with what around it is needed, where there is some."""

    core: slice
    outer: slice

    @property
    def inner(self) -> slice:
        """The core's place in the outer part."""
        return slice(self.core.start - self.outer.start, self.core.stop - self.outer.start)


Tile = tuple[Span, Span]
"""Rows and columns."""


def around(core: slice, halo: int, length: int) -> Span:
    """A part of a side of that length, and so much around it."""
    return Span(core, slice(max(core.start - halo, 0), min(core.stop + halo, length)))


def spans(length: int, halo: int, most: int) -> list[Span]:
    """A whole side in parts of about one length, ``most`` at most."""
    count = -(-length // most)
    ends = [length * i // count for i in range(count + 1)]
    return [around(slice(*pair), halo, length) for pair in pairwise(ends)]


def tiles(sides: tuple[int, int]) -> list[Tile]:
    """Tiles that cover so many pairs of rows and columns."""
    columns = spans(sides[1], _HALO, _TILE_WIDTH)
    return list(product(spans(sides[0], _HALO, _TILE // min(sides[1], _TILE_WIDTH)), columns))


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
