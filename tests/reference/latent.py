"""From a code word to the latent: FORMAT.md section 5."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .coder import CodeEnds, PrefixDecoder
from .container import File
from .density import (
    class_of,
    frequencies,
    group_frequencies,
    in_blank_cell,
    is_quiet,
    row_of,
    without_context,
)
from .look import clip, look
from .state import LEVELS, State, is_active, marked_cells
from .weights import Weights

_UNIFORM = [21845, 21846, 21845]
_ZERO = (27000, 47000, 60000, 63500, 65000, 65300, 65400, 65400, 65400, 65400)
_LOW_LIMIT = (3**10 - 1) // 2
_MOST_SLICES = 16
_TILE = 1024
_GROUP = 64


def decode(file: File, weights: Weights) -> State:
    """The latent, as far as the bytes at hand tell it.

    Raises ValueError for other weights, and for a code word that no encoder writes.
    """
    if file.fingerprint != weights.fingerprint:
        raise ValueError("made with other weights")
    state = State(file.height, file.width, 1 if file.flags & 1 else 3, file.planes)
    try:
        _Word(state, file, weights).read()
    except CodeEnds:
        state.ends = True
        if len(file.code) == file.code_bytes and not file.damaged:
            raise ValueError("damaged: the code word is whole and leaves a symbol open") from None
    return state


class _Word:
    def __init__(self, state: State, file: File, weights: Weights) -> None:
        self.state, self.file, self.weights = state, file, weights
        self.coder = PrefixDecoder(file.code)
        self.skips = 0

    def read(self) -> None:
        planes = self.file.planes
        self._first_low(max(planes - 1, 0))
        for plane in range(planes - 1, -1, -1):
            if plane < planes - 1:
                self._next_low(plane)
            self._plane(plane)
            if self.state.slices == self.file.slices:
                return
        if planes:
            raise ValueError("damaged: slices are missing after the last plane")

    def _one(self, symbols: int) -> int:
        return self.coder.decode([65536 // symbols] * symbols)

    def _first_low(self, plane: int) -> None:
        state = self.state
        h, w = state.sides[-1]
        differences = [0] * len(state.low)
        for digit in range(9 - plane, -1, -1):
            outer = (65536 - _ZERO[digit]) // 2
            leading = [outer, _ZERO[digit], outer]
            for e, higher in enumerate(differences):
                differences[e] += 3**digit * (self.coder.decode(_UNIFORM if higher else leading) - 1)
        sums: list[int] = []
        for e, difference in enumerate(differences):
            i, j = e // w % h, e % w
            sums.append(difference + (sums[e - 1] if j else sums[e - w] if i else 0))
        state.low = [clip(v, -_LOW_LIMIT, _LOW_LIMIT) for v in sums]
        state.low_plane, state.low_held = plane, True

    def _next_low(self, plane: int) -> None:
        state = self.state
        state.low_plane = plane
        state.low = [3 * v for v in state.low]
        state.low_known = [False] * len(state.low)
        for e in range(len(state.low)):
            state.low[e] += self.coder.decode(_UNIFORM) - 1
            state.low_known[e] = True

    def _plane(self, plane: int) -> None:
        state = self.state
        awake = self._one(64)
        self.skips = self._one(4)
        if self.skips & ~awake:
            raise ValueError("damaged: cells of a level that is asleep")
        for number in range(_MOST_SLICES):
            looks = self._one(64)
            if looks & ~awake:
                raise ValueError("damaged: a look at a level that is asleep")
            if number == 0:
                self._begin(plane, awake, looks)
            self._look(looks)
            threshold = self._one(256)
            if threshold == 0:
                raise ValueError("damaged: a slice without a threshold")
            if not self._chosen(range(len(state.places)), threshold):
                raise ValueError("damaged: an empty slice")
            for tile in self._tiles():
                self._slice(tile, threshold)
            state.slices += 1
            if state.slices == self.file.slices or all(state.known):
                return
        raise ValueError("damaged: too many slices in a plane")

    def _begin(self, plane: int, awake: int, looks: int) -> None:
        state = self.state
        state.plane = plane
        state.value = [3 * v for v in state.value]
        for e, place in enumerate(state.places):
            state.known[e] = not awake >> place.level & 1
            if not state.known[e] and not looks >> place.level & 1:
                state.row[e] = without_context(state, e, plane, self.weights)
            elif not state.known[e] and self.skips >> place.level & 1:
                state.row[e] = in_blank_cell(state, e, plane, self.weights)

    def _look(self, looks: int) -> None:
        state = self.state
        found = {level: look(state, level, self.weights) for level in range(LEVELS) if looks >> level & 1}
        marked = {level: marked_cells(state, level) for level in found if self.skips >> level & 1}
        for e, place in enumerate(state.places):
            if place.level in marked and not is_active(place, marked[place.level]):
                continue
            if place.level in found and not state.known[e]:
                centre, scale = (grid[place.channel][place.row][place.column] for grid in found[place.level])
                state.row[e] = row_of(state.value[e], centre, scale)

    def _tiles(self) -> Iterator[list[int]]:
        """Elements of every tile, in order."""
        tiles: dict[tuple[int, int], list[int]] = {}
        for e, place in enumerate(self.state.places):
            side = _TILE >> (place.level + 1)
            tiles.setdefault((place.row // side, place.column // side), []).append(e)
        for at in sorted(tiles):
            yield tiles[at]

    def _chosen(self, elements: Iterable[int], threshold: int) -> dict[int, int]:
        """Unknown elements from a class on, and their classes."""
        state, weights = self.state, self.weights
        unknown = (e for e in elements if not state.known[e])
        classes = {e: class_of(state.row[e], state.places[e], weights) for e in unknown}
        return {e: found for e, found in classes.items() if found >= threshold}

    def _slice(self, tile: list[int], threshold: int) -> None:
        state, weights = self.state, self.weights
        classes = self._chosen(tile, threshold)
        chosen = list(classes)
        quiet = [e for e in chosen if is_quiet(state.row[e], weights)]
        busy = [e for e in chosen if not is_quiet(state.row[e], weights)]
        self._trits(sorted(busy, key=lambda e: -classes[e]))
        whole = len(quiet) // _GROUP * _GROUP
        groups = []
        for at in range(0, whole, _GROUP):
            group = quiet[at : at + _GROUP]
            if self.coder.decode(group_frequencies([state.row[e] for e in group], weights)):
                groups.append(group)
            else:
                for e in group:
                    state.known[e] = True
        left = []
        for group in groups:
            symbol = self.coder.decode([65536 // (2 * _GROUP)] * (2 * _GROUP))
            place, sign = symbol // 2, symbol % 2
            state.value[group[place]] += 1 if sign else -1
            for e in group[: place + 1]:
                state.known[e] = True
            left += group[place + 1 :]
        self._trits(left + quiet[whole:])

    def _trits(self, elements: list[int]) -> None:
        state = self.state
        for e in elements:
            state.value[e] += self.coder.decode(frequencies(state.row[e], self.weights)) - 1
            state.known[e] = True
