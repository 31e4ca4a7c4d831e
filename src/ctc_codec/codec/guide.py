"""The encoder's decisions: how many slices a plane has, where CRR looks, and where the file ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..container.header import MAX_SLICES_OF_PLANE
from ..container.quality_table import EXACT, QualityTable, table_of
from ..planes.order import KNOWN
from ..planes.trits import at_plane, planes_of, quantise, unit
from ..synthesis.means import offsets
from ..transform.lifting import LEVELS
from .model import CodecModel
from .options import psnr_of_mse
from .picture import low_band
from .walk import Elements, Walk

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]

_SLICE_BITS = 3000
"""A slice of fewer expected bits saves less than it costs."""
_SAMPLED = (8, 4, 2)
"""Distance of the rows of the finest levels that are looked at to follow the error."""
_ROUNDING = 1 / 12
"""Squared error of rounding samples to integers."""


@dataclass(frozen=True)
class Effort:
    """Looks and slices of an effort.

    slices: of a plane, at most; before each, all levels but the finest are looked at.
    fine: looks at the finest level among them, which takes most of the time.
    coarse_fine: the same for planes above _FINE_PLANE, where the finest level holds few bits.
    """

    slices: int
    fine: int
    coarse_fine: int = 1


_FINE_PLANE = 3
_EFFORTS = {
    0: Effort(1, 0, 0),
    1: Effort(1, 1, 0),
    2: Effort(1, 1),
    3: Effort(2, 1),
    4: Effort(2, 2, 0),
    5: Effort(2, 2),
    6: Effort(3, 3),
    7: Effort(4, 4, 2),
    8: Effort(8, 8, 4),
    9: Effort(12, 12, 6),
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
    samples: of the picture, three for each pixel.
    seen: the share of pixels that are seen.
    measure: mean squared error over the samples of these that a decoder's picture has now.
    """

    low: Floats
    details: list[Floats]
    samples: int
    seen: float
    measure: Callable[[Walk], float]


class PictureGuide:
    """A guide (see :class:`ctc_codec.codec.walk.Guide`) that knows the picture.

    planes: of trits that the picture has.
    moments: bytes of code, and squared error of the coefficients by the number of samples, after each slice.
    measured: such errors, and those of pixels that go with them.
    """

    def __init__(
        self, model: CodecModel, original: Original, effort: int, target: Target, nbytes: Callable[[], int]
    ) -> None:
        """Arguments besides the obvious ones.

        effort: 0 (no context) to 9.
        nbytes: bytes of code so far.
        """
        self._model, self._original = model, original
        self._effort, self._target, self._nbytes = _EFFORTS[effort], target, nbytes
        self._low = quantise(original.low)
        levels = [quantise(level).reshape(-1) for level in original.details]
        self._planes_of_level = [planes_of(int(np.abs(level).max(initial=0))) for level in levels]
        self._values = np.concatenate(levels[::-1])
        self._current = self._values
        self.planes = max(self._planes_of_level)
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
        self._current = at_plane(self._values, plane)
        return self._awake(plane)

    def _awake(self, plane: int) -> int:
        return sum(1 << level for level in range(LEVELS) if self._planes_of_level[level] > plane)

    def trits(self, walk: Walk, elements: Elements) -> Integers:
        return (self._current[elements] - walk.state.value[elements] + 1).astype(np.int32)

    def looks(self, plane: int, number: int) -> int:
        effort, awake = self._effort, self._awake(plane)
        fine = effort.fine if plane <= _FINE_PLANE else effort.coarse_fine
        if not effort.fine:
            return 0
        return awake if fine and number * fine % effort.slices < fine else awake & ~1

    def threshold(self, walk: Walk, number: int) -> int:
        self._ended = False
        left = np.bincount(
            walk.classes, weights=self._model.densities.bits.take(walk.state.row), minlength=256
        )
        left[KNOWN] = 0
        bits = left[::-1].cumsum()[::-1]  # from each class on
        if not self.moments:  # the low band alone
            self.moments.append((self._nbytes(), self.error(walk, sampled=True)))
        if not number:
            self._slices = min(self._effort.slices, 1 + int(bits[1] / _SLICE_BITS))
            self._approach(walk)
        slices = self._slices - number
        threshold = 1 if slices <= 1 else max(int(np.count_nonzero(bits >= bits[1] / slices)) - 1, 1)
        end = self._end(walk) if self._near and number < MAX_SLICES_OF_PLANE - 1 else None
        if end is not None and end >= threshold:
            self._ending = True
            threshold = end
        return min(threshold, int(walk.classes.max()))  # a slice is never empty

    # --- where it ends ------------------------------------------------------------------------------

    def after_slice(self, walk: Walk) -> None:
        """Called when a slice is coded."""
        self.moments.append((self._nbytes(), self.error(walk, sampled=True)))
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
        exact, found = self.error(walk, sampled=False), self._original.measure(walk)
        self.measured.append((exact, found))
        most = 4.0 / self._original.seen  # all of the error may be where it is seen
        self._ratio = min(max((found - _ROUNDING) / max(exact, 1e-9), 0.25), most)
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
        at_end = np.float32(unit(walk.state.plane))
        error = self._low_error(walk)
        for level, true in enumerate(self._original.details):
            middle = self._current[walk.state.spans[level]].reshape(true.shape) * at_end
            error += float(np.square(true - middle, out=middle).sum(dtype=np.float64))
        if error / self._original.samples * 0.85 < self._target.mse:
            self._near = True
            self.check(walk)

    def _end(self, walk: Walk) -> int | None:
        """The largest class down to which the slice must go to reach the target; None if it is not enough."""
        state = walk.state
        size = np.float32(unit(state.plane))
        falls = np.zeros(256)
        for level, true in enumerate(self._original.details):
            classes = state.level(walk.classes, level)
            if not classes.any():
                continue
            value, row = state.level(state.value, level), state.level(state.row, level)
            current = self._current[state.spans[level]].reshape(true.shape).astype(np.int16)
            means = self._model.densities.means
            known = np.zeros(value.shape, bool)
            before = true - size * (value + offsets(value, known, row, means))
            known[:] = True
            after = true - size * (current + offsets(current, known, row, means))
            fall = before * before - after * after
            falls += np.bincount(classes.reshape(-1), weights=fall.reshape(-1), minlength=256)
        falls[KNOWN] = 0
        left = self.error(walk, sampled=False) * self._original.samples - falls[::-1].cumsum()[::-1]
        reached = np.flatnonzero(left[1:] <= self._aim() * self._original.samples)
        return int(reached[-1]) + 1 if len(reached) else None

    # --- error --------------------------------------------------------------------------------------

    def _low_error(self, walk: Walk) -> float:
        return float(np.square(self._original.low - low_band(walk.state)).sum(dtype=np.float64))

    def error(self, walk: Walk, *, sampled: bool) -> float:
        """Squared error of the coefficients by the number of samples; ``sampled``: from some rows."""
        total = self._low_error(walk)
        state = walk.state
        means = self._model.densities.means
        size = np.float32(unit(state.plane))
        for level, true in enumerate(self._original.details):
            step = _SAMPLED[level] if sampled and level < len(_SAMPLED) and true.shape[1] > 64 >> level else 1
            at = (slice(None), slice(step // 2, None, step))
            value = state.level(state.value, level)[at]
            known, row = state.level(state.known, level)[at], state.level(state.row, level)[at]
            rest = true[at] - size * (value + offsets(value, known, row, means))
            total += float(np.square(rest, out=rest).sum(dtype=np.float64)) * true.size / max(rest.size, 1)
        return total / self._original.samples

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
