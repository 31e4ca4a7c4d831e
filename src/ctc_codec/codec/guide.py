"""The encoder's decisions: how many slices a plane has, where CRR looks, and where the file ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..container.header import MAX_SLICES_OF_PLANE
from ..container.quality_table import EXACT, QualityTable, table_of
from ..planes.cells import BLANK_LEVELS, active_cells, positions
from ..planes.order import KNOWN
from ..planes.state import State
from ..planes.trits import Values, at_plane, planes_of, quantise, unit
from ..synthesis.means import offsets
from ..transform.lifting import LEVELS
from .model import CodecModel
from .options import psnr_of_mse
from .picture import low_band
from .rounding import Outlook, Rounding
from .walk import Elements, Walk

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]
Sums = npt.NDArray[np.float64]
"""Of amounts over the elements of each class and the ones above it, [256]."""

_SLICE_BITS = 3000
"""A slice of fewer expected bits saves less than it costs."""
_RUN = 16
"""Elements side by side that a sample takes together."""
_ALL = 1 << 14
_SPARSEST = 32
"""Of n elements of a level it takes one run of n / _ALL, or of so many if these are fewer."""
_TABLE_COST, _TABLE_BITS = 1.3, 1 / 64
"""How much more than the least the table of blank cells may cost: in proportion, and for each element."""
_PRICE, _STEEPNESS, _HIGHEST_PRICE = 0.055, 1.3, 0.15
"""Of a bit, in squared units of the plane with whose end a file ends: a bit takes away about 0.06 there, but
some of what a trit other than zero costs comes back, as it tells of its neighbours. By which power it is more
where the file ends before the plane, and less where it goes on; and the most."""
_REACH, _FALL = 0.3, 4
"""Corrections are at most so many units in the last plane. In another one those that go too far cannot be
taken back: they fall by that power of how near its end is to that of the file."""
_NEAR = 0.4
"""Nearer than that for any corrections."""
_CORRECTED = 0.98
"""What corrections leave of the squared error of pixels by that of coefficients (0.95 to 0.99)."""
_LOOKED_AT, _PARTS, _DIFFERENT = 4096, 1024, 0.55
"""A picture is drawn if of so many coefficients less than that share differ, in such parts of a grey level.
In photographs nearly all do."""
_ROUNDING = 1 / 12
"""Squared error of rounding samples to integers."""


@dataclass(frozen=True)
class Effort:
    """Looks and slices of an effort.

    slices: of a plane, at most; before each, all levels but the finest are looked at.
    fine: looks at the finest level among them, which takes most of the time.
    coarse_fine: the same for planes above _FINE_PLANE, where the finest level holds few bits.
    low: looks at any level in planes up to _LOW_PLANE, where another one saves less than 1 %.
    rounds: of corrections of rounding errors before a plane; in the last one, one more before each slice.
    """

    slices: int
    fine: int
    coarse_fine: int = 1
    low: int = 1
    rounds: int = 1


_FINE_PLANE, _LOW_PLANE = 3, 1
_EFFORTS = {
    0: Effort(1, 0, 0, rounds=0),
    1: Effort(1, 1, 0),
    2: Effort(1, 1),
    3: Effort(2, 1),
    4: Effort(2, 2, 0),
    5: Effort(2, 2),
    6: Effort(3, 3, rounds=2),
    7: Effort(4, 4, 2, 4, rounds=2),
    8: Effort(8, 8, 4, 8, rounds=2),
    9: Effort(12, 12, 6, 12, rounds=2),
}


@dataclass(frozen=True)
class Target:
    """The end of a file; with the last plane if neither is given.

    mse: mean squared error over its samples.
    nbytes: bytes of the file, at least.
    """

    mse: float | None = None
    nbytes: int | None = None


@dataclass(frozen=True)
class Original:
    """A picture that is encoded.

    low: its low band in grey levels, float32 [colours, h, w].
    details: its other coefficients, finest level first, float32 [channels, h, w] each.
    size: height and width.
    samples: of the picture, three for each pixel.
    seen: the share of pixels that are seen.
    measure: mean squared error over the samples of these that a decoder's picture has now.
    """

    low: Floats
    details: list[Floats]
    size: tuple[int, int]
    samples: int
    seen: float
    measure: Callable[[Walk], float]


def sample_of(count: int) -> Elements:
    """Some of ``count`` elements, ascending: all of few, else short runs at uneven distances, in step with no
    pattern of a picture."""
    step = min(count // _ALL, _SPARSEST)
    if step <= 1:
        return np.arange(count)
    runs = np.arange(count // (_RUN * step))
    runs = runs * step + (runs * 40503 >> 8) % step
    return (runs[:, None] * _RUN + np.arange(_RUN)).reshape(-1)


def _sample_of_levels(levels: list[Floats]) -> tuple[Elements, Floats, Floats]:
    """Some elements of levels, coarsest first; how many each of them stands for; their coefficients."""
    elements, weights, true, start = [], [], [], 0
    for level in levels:
        sample = sample_of(level.size)
        elements.append(start + sample)
        weights.append(np.full(len(sample), level.size / len(sample), np.float32))
        true.append(level.reshape(-1).take(sample))
        start += level.size
    return np.concatenate(elements), np.concatenate(weights), np.concatenate(true)


def is_drawn(coefficients: Floats) -> bool:
    """Whether coefficients in grey levels, float32 [n], come again and again, as in flat shapes and patterns:
    a trit tells more of others there than its price allows for."""
    some = coefficients[:: max(len(coefficients) // _LOOKED_AT, 1)]
    return len(np.unique(np.rint(some * np.float32(_PARTS)))) < _DIFFERENT * len(some)


class PictureGuide:
    """A guide (see :class:`ctc_codec.codec.walk.Guide`) that knows the picture.

    It follows bits and errors by a sample of the elements.

    planes: of trits that the picture has.
    moments: bytes of code, and squared error of the coefficients by the number of samples, after each slice.
    measured: such errors, and those of pixels that go with them.
    """

    def __init__(
        self, model: CodecModel, original: Original, effort: int, target: Target, nbytes: Callable[[], int]
    ) -> None:
        """Arguments besides the obvious ones.

        original: its details are not kept.
        effort: 0 (no context) to 9.
        nbytes: bytes of code so far.
        """
        self._model = model
        self._effort, self._target, self._nbytes = _EFFORTS[effort], target, nbytes
        self._low = quantise(original.low)
        self._original = replace(original, details=[])
        levels = original.details[::-1]
        self._rounding = Rounding(levels, model.densities)
        self._limit = 0.0
        largest = quantise(np.array([max(level.max(), -level.min()) for level in original.details]))
        self._planes_of_level = [planes_of(value) for value in largest.tolist()]
        self.planes = max(self._planes_of_level)
        self._sample, self._weight, self._true = _sample_of_levels(levels)
        self._rounds = 0 if is_drawn(self._true) else self._effort.rounds
        self._slices = 1
        self._near = self._ending = self._ended = False
        self._ratio = 1.0
        self._checked = (-1, -1)
        self.moments: list[tuple[int, float]] = []
        self.measured: list[tuple[float, float]] = []

    # --- what the walk asks -------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return self._ended

    def low(self, plane: int) -> Integers:
        return at_plane(self._low, plane)

    def begin_plane(self, plane: int) -> int:
        return sum(1 << level for level in range(LEVELS) if self._planes_of_level[level] > plane)

    def trits(self, walk: Walk, elements: Elements) -> Integers:
        return self._rounding.trits(walk.state, elements)

    def skips(self, walk: Walk, plane: int, awake: int) -> int:
        if not self._effort.fine:
            return 0
        levels = [level for level in range(BLANK_LEVELS) if awake >> level & 1]
        return sum(1 << level for level in levels if self._table_will_do(walk.state, level, plane))

    def _table_will_do(self, state: State, level: int, plane: int) -> bool:
        """Whether trits in blank cells cost about what they must, given how many of them are not zero. In
        photographs they do, but not where noise or a pattern begins."""
        densities, (height, width) = self._model.densities, state.sides[level]
        blank = ~positions(active_cells(state, level), height, width)
        least = (3**plane + 1) // 2
        others = np.array(
            [
                np.count_nonzero((np.abs(values) >= least) & blank)
                for values in state.level(self._rounding.values, level)
            ],
            np.float64,
        )
        zeros = np.count_nonzero(blank) - others
        scale = densities.blank[plane, level, :: 3 // state.colours]
        share = np.exp2(densities.zero_cost.take(scale) / -65536)  # of zeros; 1 if not quiet
        share = np.where(share < 1, share, densities.frequencies.take(scale, axis=0)[:, 1] / 65536)
        table = zeros * -np.log2(share) + others * (1 - np.log2(1 - share))
        share = np.maximum(others / np.maximum(zeros + others, 1), 1e-9)
        ideal = others * (1 - np.log2(share)) - zeros * np.log2(np.maximum(1 - share, 1e-9))
        allowed = _TABLE_COST * ideal.sum() + (zeros + others).sum() * _TABLE_BITS
        return bool(table.sum() <= allowed)

    def looks(self, plane: int, number: int) -> int:
        effort, awake = self._effort, self.begin_plane(plane)
        fine = effort.fine if plane <= _FINE_PLANE else effort.coarse_fine
        if not effort.fine or (plane <= _LOW_PLANE and number >= effort.low):
            return 0
        return awake if fine and number * fine % effort.slices < fine else awake & ~1

    def threshold(self, walk: Walk, number: int) -> int:
        self._ended = False
        if not self.moments:  # the low band alone
            self.moments.append((self._nbytes(), self.error(walk)))
        left = self._model.densities.bits.take(walk.state.row.take(self._sample))
        bits = self._from_class_on(walk, left)
        if not number:
            self._slices = min(self._effort.slices, 1 + int(bits[1] / _SLICE_BITS))
            self._rounding.begin_plane(None)
            self._approach(walk)
            self._begin_rounding(walk, bits)
        elif self._limit == _REACH:
            self._correct(walk, bits, 1)
        slices = self._slices - number
        threshold = 1
        if slices > 1 and bits[1]:
            threshold = max(int(np.count_nonzero(bits >= bits[1] / slices)) - 1, 1)
        near = self._near and number < MAX_SLICES_OF_PLANE - 1
        end = self._outlook(walk, bits)[0] if near else None
        if end is not None and end >= threshold:
            self._ending = True
            threshold = end
        return min(threshold, int(walk.classes.max()))  # a slice is never empty

    def _from_class_on(self, walk: Walk, amounts: Floats) -> Sums:
        """Sums of amounts [sample] over the elements of each class and the ones above it, [256]."""
        classes = walk.classes.take(self._sample)
        total = np.bincount(classes, weights=amounts * self._weight, minlength=256)
        total[KNOWN] = 0
        return total[::-1].cumsum()[::-1]

    # --- rounding -----------------------------------------------------------------------------------

    def _begin_rounding(self, walk: Walk, bits: Sums) -> None:
        """Before a plane, whose trits are the nearest so far. bits: see :meth:`_outlook`."""
        self._limit = 0.0
        if not self._rounds:
            return
        end, near = self._outlook(walk, bits)
        price = min(_PRICE * near**_STEEPNESS, _HIGHEST_PRICE)
        if end is None and not walk.state.plane:
            # All of the last plane is wanted, or will not do: nothing is to be saved.
            near, price = 1.0, 0.0
        if near:
            self._rounding.begin_plane(price)
        if near > _NEAR:
            self._limit = _REACH * min(near, 1) ** _FALL
            self._correct(walk, bits, self._rounds)
            self._ratio *= _CORRECTED
        if self._near and end is not None and self._outlook(walk, bits)[0] is None:
            self._limit = 0.0
            self._rounding.begin_plane(None)

    def _correct(self, walk: Walk, bits: Sums, rounds: int) -> None:
        """Correct rounding errors before a slice."""
        end = self._outlook(walk, bits)[0] or 1
        low_error = low_band(walk.state) - self._original.low
        size, share = self._original.size, self._model.context.share
        outlook = Outlook(walk.state, walk.classes >= end, low_error, size, share)
        for _ in range(rounds):
            self._rounding.correct(outlook, self._limit)

    # --- where it ends ------------------------------------------------------------------------------

    def after_slice(self, walk: Walk) -> None:
        """Called when a slice is coded."""
        self.moments.append((self._nbytes(), self.error(walk)))
        if self._target.nbytes is not None:
            self._ended = self._nbytes() >= self._target.nbytes
        elif self._near and (self._ending or self._aim() >= self.moments[-1][1] * 0.98):
            self._ended = self.check(walk) <= (self._target.mse or 0)
        self._ending = False

    def check(self, walk: Walk) -> float:
        """Measure pixels: the squared error that a decoder would have now."""
        if self._checked == (walk.slices, walk.state.plane):
            return self.measured[-1][1]
        self._checked = walk.slices, walk.state.plane
        error, found = self.error(walk), self._original.measure(walk)
        self.measured.append((error, found))
        most = 4.0 / self._original.seen  # all of the error may be where it is seen
        self._ratio = min(max((found - _ROUNDING) / max(error, 1e-9), 0.25), most)
        return found

    def _aim(self) -> float:
        """Squared error of coefficients at which pixels are as the target asks."""
        assert self._target.mse is not None
        return max(self._target.mse * 0.995 - _ROUNDING, 0.0) / self._ratio

    def _approach(self, walk: Walk) -> None:
        """Before a plane: whether the file may end in it."""
        self._near = False
        if self._target.mse is None:
            return
        rest = self._true - self._decided(walk) * np.float32(unit(walk.state.plane))
        if self._total(walk, rest) * 0.85 < self._target.mse:
            self._near = True
            self.check(walk)

    def _outlook(self, walk: Walk, bits: Sums) -> tuple[int | None, float]:
        """The largest class down to which the plane must go to reach the target, None if it is not enough;
        and its end by that of the file, in bytes or in what is left of the error.

        bits: expected, of each class and the ones above it.
        """
        if self._target.nbytes is not None:
            spent, goal = 8 * self._nbytes() + bits, 8 * self._target.nbytes
            enough, near = spent >= goal, spent[1] / goal
        elif self._target.mse is not None:
            left, aim = self._left(walk), self._aim()
            enough, near = left <= aim, aim / max(left[1], 1e-9)
        else:
            return None, 0.0
        found = np.flatnonzero(enough[1:])
        return int(found[-1]) + 1 if len(found) else None, float(near)

    def _left(self, walk: Walk) -> Sums:
        """Squared error that is left if the slice goes down to each class, [256]."""
        now, then = self._rest(walk), self._rest(walk, self._decided(walk))
        falls = self._from_class_on(walk, now * now - then * then) / self._original.samples
        return self._total(walk, now) - falls

    def _decided(self, walk: Walk) -> Values:
        """Values [sample] at the present plane, with the trits that are to come."""
        trits = self.trits(walk, self._sample).astype(np.int16)
        trits -= np.int16(1)
        trits *= ~walk.state.known.take(self._sample)
        return walk.state.value.take(self._sample) + trits

    # --- error --------------------------------------------------------------------------------------

    def error(self, walk: Walk) -> float:
        """Squared error of the coefficients by the number of samples."""
        return self._total(walk, self._rest(walk))

    def _total(self, walk: Walk, rest: Floats) -> float:
        """The same of errors [sample] in grey levels."""
        low = np.square(self._original.low - low_band(walk.state)).sum(dtype=np.float64)
        return float(low + (rest * rest * self._weight).sum(dtype=np.float64)) / self._original.samples

    def _rest(self, walk: Walk, value: Values | None = None) -> Floats:
        """Errors [sample] of the means, in grey levels.

        value: at the plane; None: as far as they are known.
        """
        state, sample = walk.state, self._sample
        row = state.row.take(sample)
        if value is None:
            value, known = state.value.take(sample), state.known.take(sample)
        else:
            known = np.ones(value.shape, bool)
        rest = offsets(value, known, row, self._model.densities.means)
        rest += value
        rest *= np.float32(-unit(state.plane))
        rest += self._true
        return rest

    # --- quality table ------------------------------------------------------------------------------

    def table(self, code_bytes: int) -> QualityTable:
        """The quality table: PSNR of the code word's lengths."""
        known = sorted(self.measured)
        ratios = [(found - _ROUNDING) / max(error, 1e-9) for error, found in known]
        points = []
        for nbytes, error in self.moments:
            ratio = float(np.interp(error, [e for e, _ in known], ratios)) if known else 1.0
            mse = max(error * ratio, 0.0) + _ROUNDING
            points.append((min(nbytes, code_bytes), min(psnr_of_mse(mse), EXACT)))
        points = [*dict(points).items()]
        if not points or points[-1][0] != code_bytes:
            points.append((code_bytes, points[-1][1] if points else EXACT))
        return table_of(code_bytes, points)
