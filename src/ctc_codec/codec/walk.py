"""The one loop of both sides: low band, looks, slices, trits, plane by plane.

An encoder walks it with a guide that knows the picture, a decoder with the symbols that it reads; what either
knows of the latent at any moment is the same state.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ..container.coder import CHUNK, Frequencies, RangeDecoder, RangeEncoder, Symbols, coder_frequencies
from ..container.file import parse
from ..container.header import MAX_PIXELS, MAX_SLICES_OF_PLANE, Header
from ..crr import density
from ..crr.network import Centres, Scales
from ..crr.windows import Window
from ..errors import DamageError
from ..planes import low
from ..planes.cells import BLANK_LEVELS, Cells
from ..planes.order import GROUP, KNOWN, Tile, demoted, tiles
from ..planes.state import State
from ..transform.lifting import LEVELS, level_sides
from .model import CodecModel

_THRESHOLDS = 256
_MASKS = 1 << LEVELS

_Unsigned = TypeVar("_Unsigned", bound=np.unsignedinteger[Any])
Elements = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Part = tuple[slice, Symbols]
Wanted = Callable[[], Symbols]
"""The symbols that are about to be coded, on an encoder's side."""
TakeSymbols = Callable[[slice, Symbols], None]
FrequenciesOf = Callable[[slice], Frequencies]
"""Frequencies of some of the symbols that are about to be coded."""


class Guide(Protocol):
    """Decisions of an encoder. Masks have bit l set for level l."""

    @property
    def ended(self) -> bool:
        """The file ends here. Asked after every slice."""

    def low(self, plane: int) -> npt.NDArray[np.int32]:
        """The low band at a plane, [colours, h, w]."""

    def begin_plane(self, plane: int) -> int:
        """Levels with a value other than zero at this plane, which is about to begin, or above."""

    def skips(self, walk: Walk, plane: int, awake: int) -> int:
        """Levels, of the finest BLANK_LEVELS, of which blank cells are not looked at in the plane."""

    def looks(self, plane: int, number: int) -> int:
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

    def parts(self, count: int, frequencies: FrequenciesOf, wanted: Wanted) -> Iterator[Part | None]:
        """Code symbols in parts, and give each part back."""
        symbols = wanted()
        for start in range(0, count, CHUNK):
            span = slice(start, min(start + CHUNK, count))
            self.encoder.encode(symbols[span], frequencies(span))
            yield span, symbols[span]


class Reader:
    """Reads symbols, as far as the data goes: None says that it goes no further."""

    def __init__(self, decoder: RangeDecoder) -> None:
        self.decoder = decoder

    def parts(self, count: int, frequencies: FrequenciesOf, wanted: Wanted) -> Iterator[Part | None]:
        """Read symbols in parts; None where data is missing, as often as it is asked for more."""
        done = 0
        while done < count:
            symbols = self.decoder.decode(frequencies(slice(done, min(done + CHUNK, count))))
            if len(symbols):
                yield slice(done, done + len(symbols)), symbols
                done += len(symbols)
            else:
                yield None


def _many(
    coder: Writer | Reader, count: int, frequencies: FrequenciesOf, wanted: Wanted, take: TakeSymbols
) -> Iterator[None]:
    """Code symbols. None comes where data is missing."""
    for part in coder.parts(count, frequencies, wanted):
        if part is None:
            yield None
        else:
            take(*part)


def first_low(
    coder: Writer | Reader, shape: tuple[int, int, int], plane: int, values: npt.NDArray[np.int32] | None
) -> Generator[None, None, npt.NDArray[np.int32]]:
    """The low band [colours, h, w] at its first plane: differences of neighbours, digit by digit, the highest
    first. None comes where data is missing; nothing of it is used before all is there.

    values: on an encoder's side.
    """
    difference = np.zeros(math.prod(shape), np.int32)
    wanted = difference if values is None else low.differences(values)
    for digit in range(low.digits_at(plane) - 1, -1, -1):
        frequencies = low.digit_rows(difference, digit)

        def take(span: slice, symbols: Symbols, unit: int = 3**digit) -> None:
            difference[span] += (symbols - 1) * np.int32(unit)

        yield from _many(
            coder,
            len(difference),
            lambda span, f=frequencies: coder_frequencies(f[span]),  # type: ignore[misc]
            lambda d=digit: low.digit_of(wanted, d) + 1,  # type: ignore[misc]
            take,
        )
    return low.from_differences(difference, shape)


def _uniform(symbols: int) -> Frequencies:
    return coder_frequencies(np.full((1, symbols), 65536 // symbols, np.uint32))


def _repeated(frequencies: Frequencies, span: slice) -> Frequencies:
    return frequencies.repeat(span.stop - span.start, 0)


def _mask(where: npt.NDArray[np.bool_], kind: type[_Unsigned]) -> npt.NDArray[_Unsigned]:
    """All bits of an integer, or none."""
    return np.negative(where.view(np.uint8).astype(kind))


def _put(to: npt.NDArray[_Unsigned], values: npt.NDArray[_Unsigned], mask: npt.NDArray[_Unsigned]) -> None:
    """Put values under a mask. Without branches, which mixed flags make ten times slower."""
    change = to ^ values
    change &= mask
    to ^= change


@dataclass(frozen=True)
class _Groups:
    """Quiet elements of a slice and tile.

    groups: intp [groups, GROUP], in order.
    others: those after the last whole group.
    frequencies: of the groups' symbols.
    where: all of them in the order of the state, bool [n]; None if the tile is not all that there is.
    """

    groups: Elements
    others: Elements
    frequencies: Frequencies
    where: Flags | None


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
    ) -> None:
        """Walk over the latent of a file from its beginning.

        header: of the file; its slices are not asked for where a guide decides.
        guide: of an encoder.
        """
        height, width = self.size = header.height, header.width
        self.model = model
        self.planes = header.planes
        self.slices = 0
        self.low_held = False
        self.state = State(level_sides(height, width), 1 if header.grey else 3, header.planes)
        self.classes: npt.NDArray[np.uint8] = np.zeros(self.state.count, np.uint8)
        """Classes of elements whose trit is still to come at this plane; KNOWN for the others."""
        self._awake = self._skips = 0
        self._just_looked = False
        """All that is awake has been looked at and nothing learned since."""
        self._tiles = tiles(height, width, LEVELS)
        self._coder = coder
        self._guide = guide
        self._last = header.slices
        self._frequencies = coder_frequencies(model.densities.frequencies)

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
        self,
        count: int,
        frequencies: FrequenciesOf,
        wanted: Wanted,
        take: TakeSymbols,
    ) -> Iterator[None]:
        return _many(self._coder, count, frequencies, wanted, take)

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

    def end(self) -> None:
        """Let go of what only more slices would need: large pictures are measured or shown afterwards."""
        self.classes = np.zeros(0, np.uint8)

    def _ended(self) -> bool:
        return self._guide.ended if self._guide is not None else self.slices == self._last

    def _plane(self, plane: int) -> Iterator[None]:
        guide = self._guide
        awake = yield from self._one(_MASKS, guide.begin_plane(plane) if guide else 0)
        self._skips = yield from self._one(1 << BLANK_LEVELS, guide.skips(self, plane, awake) if guide else 0)
        if self._skips & ~awake:
            raise DamageError("damaged: cells of a level that is asleep")
        for number in range(MAX_SLICES_OF_PLANE):
            looks = yield from self._one(_MASKS, guide.looks(plane, number) if guide else 0)
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
        wanted = self._guide.low(plane) if self._guide else None
        self.state.low[:] = yield from first_low(self._coder, self.state.low.shape, plane, wanted)
        self.state.low_plane = plane
        self.low_held = True

    def _next_low(self, plane: int) -> Iterator[None]:
        self.state.begin_low(plane)
        values, known = self.state.low.reshape(-1), self.state.low_known.reshape(-1)
        uniform = coder_frequencies(low.UNIFORM[None])

        def wanted() -> Symbols:
            assert self._guide is not None
            return (self._guide.low(plane).reshape(-1) - values + 1).astype(np.int32)

        def take(span: slice, symbols: Symbols) -> None:
            values[span] += symbols - 1
            known[span] = True

        yield from self._many(
            len(values), lambda span: uniform.repeat(span.stop - span.start, 0), wanted, take
        )

    # --- densities ----------------------------------------------------------------------------------

    def _begin_plane(self, plane: int, awake: int, looks: int) -> None:
        state = self.state
        self._awake = awake
        levels = [level for level in range(LEVELS) if awake >> level & 1]
        state.begin_plane(plane, levels)
        self.classes[:] = KNOWN
        for level in levels:
            if not looks >> level & 1:
                self._set_static(level)
            elif self._skips >> level & 1:
                self._set_blank(level)

    def _set_blank(self, level: int) -> None:
        """Densities of blank cells, at a whole level of which nothing is known."""
        state, densities = self.state, self.model.densities
        rows = densities.blank[state.plane, level, :: 3 // state.colours, None, None].astype(np.uint16)
        state.level(state.row, level)[:] = rows
        window = slice(0, state.sides[level][0]), slice(0, state.sides[level][1])
        state.level(self.classes, level)[:] = demoted(densities.classes.take(rows), *window)

    def _set_static(self, level: int) -> None:
        """Densities of a level that is not looked at when the plane begins."""
        state = self.state
        value = state.level(state.value, level)
        scales = self.model.densities.static[state.plane, level, :: 3 // state.colours]
        magnitude = np.minimum(np.abs(value) // 3, density.MAGNITUDES - 1)
        scale = np.take_along_axis(scales[:, None, :], magnitude.reshape(state.channels, 1, -1), axis=2)
        rows = density.rows_of(value, np.zeros(value.shape, np.int8), scale.reshape(value.shape))
        height, width = state.sides[level]
        self._set_rows(level, rows, (slice(0, height), slice(0, width)), np.ones((height, width), bool))

    def _set_rows(self, level: int, rows: density.Rows, window: Window, inside: Cells) -> None:
        """New densities of elements whose trits are still to come, at some positions of a window."""
        state, at = self.state, (slice(None), *window)
        new = np.greater(inside, state.level(state.known, level)[at])
        classes = demoted(self.model.densities.classes.take(rows), *window)
        _put(state.level(self.classes, level)[at], classes, _mask(new, np.uint8))
        _put(state.level(state.row, level)[at], rows, _mask(new, np.uint16))

    def look(self, mask: int) -> None:
        """Run CRR on the levels of a mask."""

        def take(level: int, centre: Centres, scale: Scales, window: Window, inside: Cells) -> None:
            value = self.state.level(self.state.value, level)[:, window[0], window[1]]
            self._set_rows(level, density.rows_of(value, centre, scale), window, inside)

        self.model.context.look(self.state, mask, self._skips, take)

    def rows_now(self) -> density.Rows:
        """The densities that CRR tells now of every element, known or not, as of ``state.row``: what was
        learned since an element was coded tells more of it. Nothing of what is coded depends on them."""
        state = self.state
        if self._just_looked:
            return state.row
        rows = state.row.copy()

        def take(level: int, centre: Centres, scale: Scales, window: Window, inside: Cells) -> None:
            at = (slice(None), *window)
            value = state.level(state.value, level)[at]
            above = (value + np.int16(1)) // np.int16(3) * np.int16(3)
            _put(
                state.level(rows, level)[at], density.rows_of(above, centre, scale), _mask(inside, np.uint16)
            )

        self.model.context.look(state, self._awake, self._skips, take)
        return rows

    # --- trits --------------------------------------------------------------------------------------

    def _slice(self, threshold: int) -> Iterator[None]:
        state = self.state
        if threshold > self.classes.max(initial=0):
            raise DamageError("damaged: an empty slice")
        for tile in self._tiles:
            single, quiet = tile.slice_elements(state, self.classes, threshold, self.model.densities.quiet)
            groups = self.model.context.aside(functools.partial(self._groups, tile, quiet))
            yield from self._trits(single)
            yield from self._quiet(groups())
        self.classes *= self.classes < threshold

    def _trits(self, elements: Elements) -> Iterator[None]:
        """Trits one by one."""

        def wanted() -> Symbols:
            assert self._guide is not None
            return self._guide.trits(self, elements)

        def take(span: slice, symbols: Symbols) -> None:
            self.state.learn(elements[span], symbols - 1)

        row = self.state.row.take(elements)
        yield from self._many(
            len(elements), lambda span: self._frequencies.take(row[span], axis=0), wanted, take
        )

    def _groups(self, tile: Tile, quiet: Flags) -> _Groups:
        elements = tile.elements(self.state, quiet)
        count = len(elements) // GROUP
        groups = elements[: count * GROUP].reshape(count, GROUP)
        densities = self.model.densities
        cost = np.einsum("ij->i", densities.zero_cost.take(self.state.row.take(groups)))  # 16 bits hold it
        all_zero = densities.group.take(cost >> np.uint16(density.GROUP_STEP_BITS)).astype(np.uint32)
        frequencies = coder_frequencies(np.stack((all_zero, np.uint32(65536) - all_zero), axis=1))
        return _Groups(groups, elements[count * GROUP :], frequencies, quiet if tile.whole else None)

    def _quiet(self, quiet: _Groups) -> Iterator[None]:
        """Trits that are most likely zero: in groups with one symbol, whether one of them is not."""
        groups, known = quiet.groups, self.state.known
        some = np.zeros(len(groups), bool)

        def wanted() -> Symbols:
            assert self._guide is not None
            return (self._guide.trits(self, groups) != 1).any(axis=1).astype(np.int32)

        def take(span: slice, symbols: Symbols) -> None:
            some[span] = symbols
            if quiet.where is None:
                known[groups[span].compress(symbols == 0, axis=0)] = True
            else:  # the same without a place for each
                own = slice(groups[span.start, 0], groups[span.stop - 1, -1] + 1)
                known[own] |= quiet.where[own]
                known[groups[span].compress(symbols != 0, axis=0)] = False

        yield from self._many(len(groups), lambda span: quiet.frequencies[span], wanted, take)
        yield from self._not_all_zero(groups.compress(some, axis=0), quiet.others)

    def _not_all_zero(self, groups: Elements, others: Elements) -> Iterator[None]:
        """Place and sign of the first trit other than zero of groups: the group's own symbol has paid
        for the rest of its cost. Then the trits behind it, and those of others."""
        place = np.arange(GROUP)
        first = np.zeros(len(groups), np.int32)
        uniform = _uniform(2 * GROUP)

        def wanted() -> Symbols:
            assert self._guide is not None
            trits = self._guide.trits(self, groups) - 1
            at = (trits != 0).argmax(axis=1)
            return (2 * at + (trits[np.arange(len(groups)), at] > 0)).astype(np.int32)

        def take(span: slice, symbols: Symbols) -> None:
            first[span] = symbols >> 1
            group = groups[span]
            self.state.known[group.compress((place < first[span, None]).reshape(-1))] = True
            self.state.learn(group[np.arange(len(group)), first[span]], 2 * (symbols & 1) - 1)

        yield from self._many(len(groups), lambda span: _repeated(uniform, span), wanted, take)
        behind = groups.compress((place > first[:, None]).reshape(-1))
        yield from self._trits(np.concatenate((behind, others)))


def picture_bytes(data: bytes) -> int | None:
    """Size of the smallest prefix of a .ctc file that holds a picture, its low band; None if it is not there,
    or if there are more pixels than are decoded by default.

    data: the file or a prefix of it. Needs no weights. Raises FormatError.
    """
    file = parse(data)
    header, code = file.header, file.code
    if header.width * header.height > MAX_PIXELS:
        return None
    shape = (1 if header.grey else 3, *level_sides(header.height, header.width)[-1])

    def holds(length: int) -> bool:
        reader = Reader(RangeDecoder(code[:length], length == header.code_bytes))
        return not any(True for _ in first_low(reader, shape, max(header.planes - 1, 0), None))

    if not holds(len(code)):
        return None
    lengths = range(len(code) + 1)
    return header.file_position(bisect.bisect_left(lengths, True, key=holds))


def run(walk: Iterable[None]) -> None:
    """Walk to the end, with all symbols, or a whole code word, at hand."""
    for _ in walk:
        raise AssertionError("nothing is missing")
