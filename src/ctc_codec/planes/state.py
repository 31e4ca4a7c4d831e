"""The state of the latent that encoder and decoder share while a plane is coded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .trits import Values

_Scalar = TypeVar("_Scalar", bound=np.generic)
Sides = tuple[int, int]
ORIENTATIONS = 3


class State:
    """Every element's value and whether it is known at the present plane or at the one above only.

    sides: height and width of each level's details, finest first.
    colours: 1 or 3.
    plane: that is being coded.
    value: int16 [n], in its units: three times the value of the plane above where the trit is not known yet.
    known: bool [n].
    row: uint16 [n], the density that the element was coded with, or would be now, see
        :mod:`ctc_codec.crr.density`.
    low: int32 [colours, h, w], the low band in units of ``low_plane``.
    low_known: bool [colours, h, w].
    Elements lie level by level, coarsest first, and in a level by channel (orientation, then colour) and
    raster.
    """

    def __init__(self, sides: Sequence[Sides], colours: int, planes: int) -> None:
        self.sides = list(sides)
        self.colours = colours
        self.channels = ORIENTATIONS * colours
        self.plane = self.low_plane = planes
        sizes = [self.channels * h * w for h, w in sides]
        self.spans = [slice(sum(sizes[i + 1 :]), sum(sizes[i:])) for i in range(len(sizes))]
        """Elements of every level, finest first."""
        count = sum(sizes)
        self.value: Values = np.zeros(count, np.int16)
        self.known = np.ones(count, bool)
        self.row = np.zeros(count, np.uint16)
        self.low: npt.NDArray[np.int32] = np.zeros((colours, *sides[-1]), np.int32)
        self.low_known = np.ones(self.low.shape, bool)

    @property
    def count(self) -> int:
        """Number of elements."""
        return len(self.value)

    def level(self, array: npt.NDArray[_Scalar], level: int) -> npt.NDArray[_Scalar]:
        """A level's part of an array [n] as [channels, h, w]; a view."""
        return array[self.spans[level]].reshape(self.channels, *self.sides[level])

    def begin_low(self, plane: int) -> None:
        """Take the low band on to a plane, whose trits are not known yet."""
        self.low_plane = plane
        self.low *= 3
        self.low_known[:] = False

    def begin_plane(self, plane: int, awake: Sequence[int]) -> None:
        """Take the details on to a plane; levels that are not awake are zero there."""
        self.plane = plane
        self.value *= 3
        self.known[:] = True
        for level in awake:
            self.known[self.spans[level]] = False

    def learn(self, elements: npt.NDArray[np.intp], trits: npt.NDArray[np.int32]) -> None:
        """Add trits, -1 to 1, of elements whose trit was not known."""
        self.value[elements] += trits.astype(np.int16)
        self.known[elements] = True

    def copy(self) -> State:
        """The same, which later changes of this one do not reach."""
        other = State.__new__(State)
        other.__dict__ = self.__dict__ | {
            name: getattr(self, name).copy() for name in ("value", "known", "row", "low", "low_known")
        }
        return other
