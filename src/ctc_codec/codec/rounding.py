"""Which trits an encoder sends: bits by CRR's densities, errors by the pixels.

A trit that costs more bits than its error is worth is not sent (rate-distortion optimised quantisation). And
the parts of the picture that coefficients stand for overlap, as the 9/7 wavelet is not quite orthonormal:
what the errors of others do to a coefficient's part is taken off before it is rounded. This stands in the
place of an analysis network: pixels in, corrections of all levels out, bounded in units of the plane. The
decoder knows of neither.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..crr.density import FREQUENCY_BITS, Densities
from ..planes.state import State
from ..planes.trits import UNIT, quantise, unit
from ..synthesis.means import offsets
from ..transform.lifting import LEVELS, analyse_level, synthesise
from ..transform.tiles import Floats, Share, Tile, reading, tiles

Elements = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int32]
_Scalar = TypeVar("_Scalar", bound=np.generic)

LAST_WORD = 0.75
"""How far conditional means count, of a trit that other ones may follow."""
_FINE = 256
"""Parts of a unit in which remainders and corrections are kept."""
_ENERGY = np.float32(1) / np.array(
    (
        (1.0227, 1.0227, 1.0825),
        (0.9968, 0.9968, 0.9355),
        (1.0938, 1.0938, 1.0808),
        (1.138, 1.138, 1.1559),
        (1.1512, 1.1512, 1.179),
        (1.1546, 1.1546, 1.1852),
    ),
    np.float32,
)
"""Over the sum of squares of a picture of one coefficient of 1, by level and orientation."""
_STEP = 0.8
"""Of the way to new corrections that is gone at once: neighbours are corrected at the same time."""


def thresholds(densities: Densities, price: float) -> tuple[Floats, Floats]:
    """From where on a trit is 0, and beyond where it is 1: squared error and bits add up to the same there
    either way. float32 [rows] each, in units from the middle of an element's interval.

    The likelier of two trits never gets less than it plainly has: later planes reach no farther.

    price: of a bit, in squared units.
    """
    bits = FREQUENCY_BITS - np.log2(densities.frequencies, dtype=np.float32)
    means = densities.means[1:].T * np.float32(LAST_WORD)
    more = np.diff(bits)
    likelier = -np.sign(more)
    shift = (means[:, :2] + means[:, 1:]) / 2 + more * np.float32(price / 2) / (1 + np.diff(means))
    shift = likelier * np.minimum(likelier * shift, 0)
    low, high = shift[:, 0] - np.float32(0.5), shift[:, 1] + np.float32(0.5)
    middle = (low + high) / 2  # where a zero is never best
    return np.minimum(low, middle), np.maximum(high, middle)


def _remainders(coefficients: Floats) -> npt.NDArray[np.int8]:
    """What rounding at plane 0 leaves, in 1 / _FINE unit, of coefficients in grey levels, flat."""
    scaled = coefficients.reshape(-1) * np.float32(1 / UNIT)
    scaled -= np.rint(scaled)
    scaled *= np.float32(_FINE)
    return np.clip(np.rint(scaled, out=scaled), -127, 127, out=scaled).astype(np.int8)


@dataclass(frozen=True)
class Outlook:
    """The end of a file, as far as it can be told.

    state: now.
    coming: elements that will be known besides, bool [n].
    low_error: of the low band, in grey levels, [colours, h, w].
    size: height and width of the picture.
    share: of work among threads.
    """

    state: State
    coming: Flags
    low_error: Floats
    size: tuple[int, int]
    share: Share


class Rounding:
    """A picture's coefficients, in four bytes each, and their trits.

    values: at plane 0, int16 [n], as of :class:`ctc_codec.planes.state.State`.
    """

    def __init__(self, levels: Sequence[Floats], densities: Densities) -> None:
        """levels: coefficients in grey levels, coarsest first, [channels, h, w] each."""
        count = sum(level.size for level in levels)
        self.values, self._fine = np.empty(count, np.int16), np.empty(count, np.int8)
        end = 0
        for channel in (channel for level in levels for channel in level):
            own = slice(end, end := end + channel.size)
            self.values[own] = quantise(channel).reshape(-1)
            self._fine[own] = _remainders(channel)
        self._shift = np.zeros_like(self._fine)
        """Corrections in 1 / _FINE unit of the plane."""
        self._densities = densities
        self._thresholds: tuple[Floats, Floats] | None = None

    def begin_plane(self, price: float | None) -> None:
        """Set the price of a bit, in squared units of the plane that begins; None: trits are the nearest."""
        self._thresholds = None if price is None else thresholds(self._densities, price)
        self._shift[:] = 0

    def trits(self, state: State, elements: Elements) -> Integers:
        """Trits of elements that are not known yet, plus 1."""
        scale = 3**state.plane
        rest = self.values.take(elements)
        rest -= state.value.take(elements) * np.int16(scale)  # 16 bits may wrap around, and back
        if self._thresholds is None:
            half = np.int16((scale - 1) // 2)
            return np.add(rest > half, rest >= -half, dtype=np.int32)
        place = _places(rest, self._fine.take(elements), scale)
        row, shift = state.row.take(elements), self._shift.take(elements)
        return _decided(place, shift, row, self._thresholds).astype(np.int32)

    # --- errors in pixels ---------------------------------------------------------------------------

    def correct(self, outlook: Outlook, limit: float) -> None:
        """Take off what errors do to each other. limit: of corrections, in units of the plane."""
        state, share = outlook.state, outlook.share
        for colour in range(state.colours):  # each by itself: there is a third of everything at a time
            errors, planes = self._in_pixels(outlook, colour)
            for level, error in enumerate(errors):
                shift = state.level(self._shift, level)[colour :: state.colours]
                take = functools.partial(_correct, error, _ENERGY[level, :, None, None], limit, shift)
                planes = analyse_level(reading(planes), planes.shape, take, share, adjoint=True)

    def _in_pixels(self, outlook: Outlook, colour: int) -> tuple[list[Floats], Floats]:
        """Errors of a colour's coefficients, of levels finest first, and of its plane, in units."""
        low = outlook.low_error[colour : colour + 1] * np.float32(1 / unit(outlook.state.plane))
        errors = [self._errors(outlook, level, colour) for level in range(LEVELS)]
        return errors, synthesise(low, errors, *outlook.size, share=outlook.share)

    def _errors(self, outlook: Outlook, level: int, colour: int) -> Floats:
        """Errors of a level's coefficients of a colour, [orientations, h, w], in units of the plane, as trits
        are decided now."""
        assert self._thresholds is not None
        state, edges = outlook.state, self._thresholds
        scale, means = 3**state.plane, self._densities.means

        def own(array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
            return state.level(array, level)[colour :: state.colours]

        values, fine, shift = own(self.values), own(self._fine), own(self._shift)
        value, known, row, to_come = own(state.value), own(state.known), own(state.row), own(outlook.coming)
        errors = np.empty(values.shape, np.float32)

        def work(tile: Tile) -> None:
            at = (slice(None), *(span.core for span in tile))
            place = _places(values[at] - value[at] * np.int16(scale), fine[at], scale)
            trit = _decided(place, shift[at], row[at], edges)
            trit -= np.int16(1)
            trit *= to_come[at]
            error = offsets(value[at] + trit, known[at] | to_come[at], row[at], means)
            error += trit
            np.subtract(error, place, out=errors[at])

        outlook.share(work, tiles(values.shape[1:]))
        return errors


def _correct(
    error: Floats,
    energy: Floats,
    limit: float,
    shift: npt.NDArray[np.int8],
    rows: slice,
    columns: slice,
    back: Floats,
) -> None:
    """New corrections of some rows and columns of a level.

    error: of the coefficients, in units. back: what the errors of the whole picture come to in the part of it
    that each coefficient stands for, but for its energy.
    """
    at = slice(None), rows, columns
    back *= energy
    new = np.subtract(error[at], back, out=back)
    np.clip(new, -limit, limit, out=new)
    new *= np.float32(_STEP * _FINE)
    new += shift[at] * np.float32(1 - _STEP)
    np.rint(new, out=shift[at], casting="unsafe")


def _places(rest: npt.NDArray[np.int16], fine: npt.NDArray[np.int8], scale: int) -> Floats:
    """Coefficients in units of the plane from the middles of their intervals.

    rest: the same in units of plane 0, rounded. fine: what rounding has left. scale: 3^plane.
    """
    place = fine.astype(np.float32)
    place *= np.float32(1 / _FINE)
    place += rest
    place *= np.float32(1 / scale)
    return place


def _decided(
    place: Floats, shift: npt.NDArray[np.int8], row: npt.NDArray[np.uint16], edges: tuple[Floats, Floats]
) -> npt.NDArray[np.int16]:
    """Trits, plus 1, of elements at places, as of :func:`_places`, with their corrections.

    edges: see :func:`thresholds`.
    """
    low, high = edges
    corrected = shift * np.float32(1 / _FINE)
    corrected += place
    return np.add(
        corrected > high.take(row, mode="wrap"), corrected >= low.take(row, mode="wrap"), dtype=np.int16
    )
