"""The one loop of both sides: low band, looks, slices, trits, plane by plane.

An encoder walks it with a guide that knows the picture, a decoder with the symbols that it reads; what either
knows of the latent at any moment is the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..container.coder import CHUNK, RangeDecoder, RangeEncoder, Rows, Symbols, rows_of
from ..container.header import Header
from ..crr import density
from ..crr.inputs import CONTEXT_BITS, Level, inputs, reconstruction
from ..crr.network import LEAST_WINDOW, WINDOW, Centres, Scales
from ..crr.runtime import Span, spans
from ..errors import DamageError
from ..planes import low
from ..planes.order import GROUP, KNOWN, demoted, demotion, slice_elements, tiles
from ..planes.state import State
from ..transform.lifting import LEVELS, fixed_synthesise_level, level_sides
from .model import CodecModel

MAX_SLICES_OF_PLANE = 16
_THRESHOLDS = 256
_LOW_LIMIT = 1 << 17
_WORTH_THREADS = 1 << 15
"""Samples from which on threads save more than they cost."""
_MASKS = 1 << LEVELS

Elements = npt.NDArray[np.intp]
Part = tuple[slice, Symbols]
RowsOf = Callable[[slice], Rows]
"""The coder's rows of some of the symbols that are about to be coded."""
Window = tuple[slice, slice]
Take = Callable[[int, Centres, Scales, Window], None]
"""Makes use of a window of a level's densities."""


class Guide(Protocol):
    """Decisions of an encoder. Masks have bit l set for level l."""

    @property
    def ended(self) -> bool:
        """The file ends here. Asked after every slice."""

    def low(self, plane: int) -> npt.NDArray[np.int32]:
        """The low band at a plane, [colours, h, w]."""

    def awake(self, plane: int) -> int:
        """Levels with a value other than zero at this plane or above."""

    def looks(self, walk: Walk, number: int) -> int:
        """Levels to look at before slice ``number`` of the plane."""

    def threshold(self, walk: Walk, number: int) -> int:
        """Least class of the slice, which some element reaches; 1 for all that is left of the plane."""

    def trits(self, walk: Walk, elements: Elements) -> Symbols:
        """Trits of elements, plus 1."""

    def after_slice(self, walk: Walk) -> None:
        """A slice has been coded."""


class Writer:
    """Codes the symbols that a guide names."""

    def __init__(self) -> None:
        self.encoder = RangeEncoder()

    def parts(self, count: int, rows: RowsOf, wanted: Callable[[], Symbols]) -> Iterator[Part | None]:
        symbols = wanted()
        for start in range(0, count, CHUNK):
            span = slice(start, min(start + CHUNK, count))
            self.encoder.encode(symbols[span], rows(span))
            yield span, symbols[span]


class Reader:
    """Reads symbols, as far as the data goes: None says that it goes no further."""

    def __init__(self, decoder: RangeDecoder) -> None:
        self.decoder = decoder

    def parts(self, count: int, rows: RowsOf, wanted: Callable[[], Symbols]) -> Iterator[Part | None]:
        done = 0
        while done < count:
            symbols = self.decoder.decode(rows(slice(done, min(done + CHUNK, count))))
            if len(symbols):
                yield slice(done, done + len(symbols)), symbols
                done += len(symbols)
            else:
                yield None


def _uniform(symbols: int) -> Rows:
    return rows_of(np.full((1, symbols), 65536 // symbols, np.uint32))


class Walk:
    """The state of a latent while it is coded. Iterating codes it; a None comes where data is missing.

    low_held: the first plane of the low band is known.
    slices: coded so far.
    """

    def __init__(
        self,
        model: CodecModel,
        header: Header,
        coder: Writer | Reader,
        guide: Guide | None = None,
        window: int = WINDOW,
    ) -> None:
        """Walk over the latent of a file from its beginning.

        header: of the file; its slices are not asked for where a guide decides.
        guide: of an encoder.
        window: sides of levels that a network sees at a time, at most.
        """
        height, width = size = header.height, header.width
        self.model = model
        self.size = size
        self.planes = header.planes
        self.slices = 0
        self.low_held = False
        self._sides = [size, *level_sides(height, width)]
        self.state = State(self._sides[1:], 1 if header.grey else 3, header.planes)
        self.classes: npt.NDArray[np.uint8] = np.zeros(self.state.count, np.uint8)
        """Of elements whose trit is still to come at this plane; KNOWN of the others."""
        self._awake = 0
        self._just_looked = False
        """All that is awake has been looked at and nothing learned since."""
        self._calm = np.zeros(self.state.count, bool)
        """Whether the trit is quiet, where it is still to come."""
        self._demotion = demotion(self.state)
        self._tiles = tiles(height, width, LEVELS)
        self._coder = coder
        self._guide = guide
        self._last = header.slices
        self._window = window
        self._rows = rows_of(model.densities.frequencies)

    # --- symbols ------------------------------------------------------------------------------------

    def _one(self, symbols: int, wanted: int) -> Generator[None, None, int]:
        """One symbol of a uniform alphabet."""
        found = 0
        for part in self._coder.parts(1, lambda _: _uniform(symbols), lambda: np.array([wanted], np.int32)):
            if part is None:
                yield None
            else:
                found = int(part[1][0])
        return found

    def _many(
        self, count: int, rows: RowsOf, wanted: Callable[[], Symbols], take: Callable[[slice, Symbols], None]
    ) -> Iterator[None]:
        for part in self._coder.parts(count, rows, wanted):
            if part is None:
                yield None
            else:
                take(*part)

    # --- the loop -----------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[None]:
        yield from self._first_low(max(self.planes - 1, 0))
        for plane in range(self.planes - 1, -1, -1):
            if plane < self.planes - 1:
                yield from self._next_low(plane)
            yield from self._plane(plane)
            if self._ended():
                return
        if self.planes and self._guide is None:
            raise DamageError("damaged: slices are missing after the last plane")

    def _ended(self) -> bool:
        return self._guide.ended if self._guide is not None else self.slices == self._last

    def _plane(self, plane: int) -> Iterator[None]:
        guide = self._guide
        awake = yield from self._one(_MASKS, guide.awake(plane) if guide else 0)
        for number in range(MAX_SLICES_OF_PLANE):
            looks = yield from self._one(_MASKS, guide.looks(self, number) if guide else 0)
            if looks & ~awake:
                raise DamageError("damaged: a look at a level that is asleep")
            if not number:
                self._begin_plane(plane, awake, looks)
            self.look(looks)
            self._just_looked = not number and looks == awake
            threshold = yield from self._one(_THRESHOLDS, guide.threshold(self, number) if guide else 0)
            if threshold == KNOWN:
                raise DamageError("damaged: a slice without a threshold")
            self._just_looked = False
            yield from self._slice(threshold)
            self.slices += 1
            if guide:
                guide.after_slice(self)
            if self._ended() or not self.classes.any():
                return
        raise DamageError("damaged: too many slices in a plane")

    # --- low band -----------------------------------------------------------------------------------

    def _first_low(self, plane: int) -> Iterator[None]:
        """Differences of neighbours, digit by digit, the highest first. None is used before all are there."""
        shape = self.state.low.shape
        difference = np.zeros(self.state.low.size, np.int32)
        wanted = low.differences(self._guide.low(plane)) if self._guide else difference
        for digit in range(low.digits_at(plane) - 1, -1, -1):
            frequencies = low.digit_rows(difference, digit)

            def take(span: slice, symbols: Symbols, unit: int = 3**digit) -> None:
                difference[span] += (symbols - 1) * np.int32(unit)

            yield from self._many(
                len(difference),
                lambda span, f=frequencies: rows_of(f[span]),  # type: ignore[misc]
                lambda d=digit: low.digit_of(wanted, d) + 1,  # type: ignore[misc]
                take,
            )
        self.state.low_plane = plane
        self.state.low[:] = low.from_differences(difference, shape)
        self.low_held = True

    def _next_low(self, plane: int) -> Iterator[None]:
        self.state.begin_low(plane)
        values, known = self.state.low.reshape(-1), self.state.low_known.reshape(-1)
        rows = rows_of(low.UNIFORM[None])

        def wanted() -> Symbols:
            assert self._guide is not None
            return (self._guide.low(plane).reshape(-1) - values + 1).astype(np.int32)

        def take(span: slice, symbols: Symbols) -> None:
            values[span] += symbols - 1
            known[span] = True

        yield from self._many(len(values), lambda span: rows.repeat(span.stop - span.start, 0), wanted, take)

    # --- densities ----------------------------------------------------------------------------------

    def _begin_plane(self, plane: int, awake: int, looks: int) -> None:
        state, densities = self.state, self.model.densities
        self._awake = awake
        levels = [level for level in range(LEVELS) if awake >> level & 1]
        state.begin_plane(plane, levels)
        self.classes[:] = KNOWN
        for level in levels:
            if looks >> level & 1:
                continue
            value = state.level(state.value, level)
            scales = densities.static[plane, level, :: 3 // state.colours]
            magnitude = np.minimum(np.abs(value) // 3, density.MAGNITUDES - 1)
            scale = np.take_along_axis(scales[:, None, :], magnitude.reshape(state.channels, 1, -1), axis=2)
            rows = density.rows_of(value, np.zeros(value.shape, np.int8), scale.reshape(value.shape))
            self._set_rows(level, rows, (slice(None), slice(None)))

    def _set_rows(self, level: int, rows: density.Rows, window: Window) -> None:
        """New densities of the elements in a window whose trits are still to come."""
        state, at = self.state, (slice(None), *window)
        known = state.level(state.known, level)[at]
        np.copyto(state.level(state.row, level)[at], rows, where=~known)
        classes = demoted(self.model.densities.classes.take(rows), state.level(self._demotion, level)[at])
        classes *= ~known
        state.level(self.classes, level)[at] = classes
        state.level(self._calm, level)[at] = self.model.densities.quiet.take(rows)

    def look(self, mask: int) -> None:
        """Run CRR on the levels of a mask, coarse to fine."""

        def take(level: int, centre: Centres, scale: Scales, window: Window) -> None:
            value = self.state.level(self.state.value, level)[:, window[0], window[1]]
            self._set_rows(level, density.rows_of(value, centre, scale), window)

        self._look(mask, take)

    def rows_now(self) -> density.Rows:
        """The densities that CRR tells now of every element, known or not, as of ``state.row``: what was
        learned since an element was coded tells more of it. Nothing of what is coded depends on them."""
        state = self.state
        if self._just_looked:
            return state.row
        rows = state.row.copy()

        def take(level: int, centre: Centres, scale: Scales, window: Window) -> None:
            at = (slice(None), *window)
            value = state.level(state.value, level)[at]
            above = (value + np.int16(1)) // np.int16(3) * np.int16(3)
            state.level(rows, level)[at] = density.rows_of(above, centre, scale)

        self._look(self._awake, take)
        return rows

    def _look(self, mask: int, take: Take) -> None:
        if not mask:
            return
        state = self.state
        finest = min(level for level in range(LEVELS) if mask >> level & 1)
        context = np.clip(state.low, -_LOW_LIMIT, _LOW_LIMIT) << np.int32(CONTEXT_BITS)
        pending: list[Future[None]] = []
        for level in range(LEVELS - 1, finest - 1, -1):
            value, known = state.level(state.value, level), state.level(state.known, level)
            if mask >> level & 1:
                parents = None
                if level + 1 < LEVELS:
                    parents = state.level(state.value, level + 1), state.level(state.known, level + 1)
                children = state.level(state.value, level - 1) if level else None
                view = Level(level, state.plane, context, value, known, parents, children)
                pending += self._look_at(view, take)
            if level > finest:  # meanwhile
                context = fixed_synthesise_level(context, reconstruction(value, known), self._sides[level])
        for task in pending:
            task.result()

    def _look_at(self, level: Level, take: Take) -> list[Future[None]]:
        """Look at a level in windows: small ones at once, large ones side by side, and those are returned."""
        height, width = level.value.shape[1:]
        halo = self.model.networks[level.number].halo
        threads = self.model.threads
        if threads == 1 or level.context.size <= _WORTH_THREADS:
            high, run = self._window, False
        else:
            high, run = min(self._window, max(-(-height // threads), LEAST_WINDOW)), True
        pending = []
        for rows in spans(height, halo, high):
            for columns in spans(width, halo, self._window):
                if run:
                    pending.append(self.model.pool().submit(self._look_through, level, rows, columns, take))
                else:
                    self._look_through(level, rows, columns, take)
        return pending

    def _look_through(self, level: Level, rows: Span, columns: Span, take: Take) -> None:
        """Look at one window: inputs, network, and what is made of its densities."""
        (core_rows, outer_rows), (core_columns, outer_columns) = rows, columns
        seen = inputs(level, outer_rows, outer_columns, self.model.input_tables)
        centre, scale = self.model.networks[level.number].look(seen)
        inner = (
            slice(None, None, 3 // self.state.colours),
            slice(core_rows.start - outer_rows.start, core_rows.stop - outer_rows.start),
            slice(core_columns.start - outer_columns.start, core_columns.stop - outer_columns.start),
        )
        take(level.number, centre[inner], scale[inner], (core_rows, core_columns))

    # --- trits --------------------------------------------------------------------------------------

    def _slice(self, threshold: int) -> Iterator[None]:
        state = self.state
        if threshold > self.classes.max(initial=0):
            raise DamageError("damaged: an empty slice")
        if len(self._tiles) == 1:
            busy, calm = slice_elements(self.classes, threshold, self._calm)
            yield from self._trits(busy)
            yield from self._quiet(calm)
            return
        for tile in self._tiles:
            elements = tile.elements(state)
            busy, calm = slice_elements(self.classes[elements], threshold, self._calm[elements])
            yield from self._trits(elements[busy])
            yield from self._quiet(elements[calm])

    def _trits(self, elements: Elements) -> Iterator[None]:
        """Trits one by one."""

        def wanted() -> Symbols:
            assert self._guide is not None
            return self._guide.trits(self, elements)

        def take(span: slice, symbols: Symbols) -> None:
            self._learn(elements[span], symbols - 1)

        row = self.state.row.take(elements)
        yield from self._many(len(elements), lambda span: self._rows.take(row[span], axis=0), wanted, take)

    def _learn(self, elements: Elements, trits: Symbols) -> None:
        self.state.learn(elements, trits)
        self.classes[elements] = KNOWN

    def _quiet(self, elements: Elements) -> Iterator[None]:
        """Trits that are most likely zero: in groups with one symbol, whether one of them is not."""
        count = len(elements) // GROUP
        groups = elements[: count * GROUP].reshape(count, GROUP)
        densities = self.model.densities
        cost = densities.zero_cost.take(self.state.row.take(groups)).sum(axis=1, dtype=np.int64)
        all_zero = densities.group[cost >> density.GROUP_STEP_BITS].astype(np.uint32)
        rows = rows_of(np.stack((all_zero, np.uint32(65536) - all_zero), axis=1))
        some = np.zeros(count, bool)

        def wanted() -> Symbols:
            assert self._guide is not None
            return (self._guide.trits(self, groups) != 1).any(axis=1).astype(np.int32)

        def take(span: slice, symbols: Symbols) -> None:
            some[span] = symbols
            zero = groups[span][symbols == 0].reshape(-1)
            self.state.known[zero] = True
            self.classes[zero] = KNOWN

        yield from self._many(count, lambda span: rows[span], wanted, take)
        yield from self._not_all_zero(groups[some], elements[count * GROUP :])

    def _not_all_zero(self, groups: Elements, others: Elements) -> Iterator[None]:
        """Of groups, where the first trit other than zero is, and its sign: the group's own symbol has paid
        for the rest of its cost. Then the trits behind it, and those of others."""
        place = np.arange(GROUP)
        first = np.zeros(len(groups), np.int32)
        row = _uniform(2 * GROUP)

        def wanted() -> Symbols:
            assert self._guide is not None
            trits = self._guide.trits(self, groups) - 1
            at = (trits != 0).argmax(axis=1)
            return (2 * at + (trits[np.arange(len(groups)), at] > 0)).astype(np.int32)

        def take(span: slice, symbols: Symbols) -> None:
            first[span] = symbols >> 1
            zero = groups[span][place < first[span, None]]
            self.state.known[zero] = True
            self.classes[zero] = KNOWN
            self._learn(groups[span][place == first[span, None]], 2 * (symbols & 1) - 1)

        yield from self._many(len(groups), lambda span: row.repeat(span.stop - span.start, 0), wanted, take)
        yield from self._trits(np.concatenate((groups[place > first[:, None]], others)))


def run(walk: Iterable[None]) -> None:
    """Walk to the end, with all symbols at hand."""
    for _ in walk:
        raise AssertionError("an encoder never waits")
