"""CRR over a latent: inputs and networks, in windows side by side.

The integer wavelet carries down to finer levels what coarser ones tell (CRR of Jeon et al., CVPR 2023,
section 3.2, here once for all trits of a look).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ..planes.cells import CELL, Cells, active_cells, every_cell, positions
from ..planes.state import State
from ..transform.lifting import FIXED_HALO, LEVELS, fixed_synthesise_level
from ..transform.tiles import around
from .inputs import CONTEXT_BITS, Flags, InputTables, Integers, Level, Values, inputs, reconstruction
from .network import Centres, Network, Scales
from .windows import Window, windows

_MOST, _LEAST = 1 << 15, 1 << 12
"""Positions of a window: so many fit the cache of a core, and fewer are not worth a thread of their own."""
_SHARES = 2
"""Windows for each thread, at least, of a level that has enough positions."""
_LOW_LIMIT = 1 << 17

_Part = tuple[Level, Window, Cells]
"""A window of a level, and which of its positions are in active cells, bool [rows, columns]."""
Take = Callable[[int, Centres, Scales, Window, Cells], None]
"""Makes use of a window of a level's densities. The last argument, bool [rows, columns], says which positions
are in active cells; of others nothing is told."""


@dataclass(frozen=True)
class _Known:
    """A prediction that is at hand, int32 [colours, h, w]."""

    samples: Integers

    def whole(self) -> Integers:
        return self.samples

    def window(self, rows: slice, columns: slice) -> Integers:
        return self.samples[:, rows, columns]


@dataclass(frozen=True)
class _Coarser:
    """A prediction that is made window by window, from the next coarser level's and its details.

    low: int32 [colours, h', w'].
    value, known: of the details, [channels, h', w'].
    sides: height and width of the prediction.
    """

    low: Integers
    value: Values
    known: Flags
    sides: tuple[int, int]

    def whole(self) -> Integers:
        return fixed_synthesise_level(self.low, reconstruction(self.value, self.known), self.sides)

    def window(self, rows: slice, columns: slice) -> Integers:
        pairs = [
            slice(max(span.start // 2 - FIXED_HALO, 0), min((span.stop + 1) // 2 + FIXED_HALO, side))
            for span, side in zip((rows, columns), self.low.shape[1:], strict=True)
        ]
        details = reconstruction(self.value[:, *pairs], self.known[:, *pairs])
        sides = [min(2 * p.stop, side) - 2 * p.start for p, side in zip(pairs, self.sides, strict=True)]
        near = fixed_synthesise_level(self.low[:, *pairs], details, (sides[0], sides[1]))
        own = [
            slice(span.start - 2 * p.start, span.stop - 2 * p.start)
            for span, p in zip((rows, columns), pairs, strict=True)
        ]
        return near[:, *own]


_Result = TypeVar("_Result")


class ContextModels:
    """The networks of all levels. Safe to share by threads.

    networks: one for each level, finest first.
    tables: of their inputs.
    threads: that one picture is worked on with.
    most: positions of a window.
    """

    def __init__(self, networks: Sequence[Network], tables: InputTables, threads: int) -> None:
        self.networks = networks
        self.tables = tables
        self.threads = threads
        self.most = _MOST
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def look(self, state: State, mask: int, skips: int, take: Take) -> None:
        """Run the networks of the levels whose bits are set in a mask.

        skips: levels of which blank cells are left out.
        take: gets every window's densities, maybe in another thread.
        """
        active = {
            level: active_cells(state, level) if skips >> level & 1 else every_cell(state, level)
            for level in range(LEVELS)
            if mask >> level & 1
        }
        finest = min((level for level, cells in active.items() if cells.any()), default=LEVELS)
        low = np.clip(state.low, -_LOW_LIMIT, _LOW_LIMIT) << np.int32(CONTEXT_BITS)
        context: _Known | _Coarser = _Known(low)
        parts: list[_Part] = []
        for level in range(LEVELS - 1, finest - 1, -1):
            value, known = state.level(state.value, level), state.level(state.known, level)
            if level in active:
                parents = None
                if level + 1 < LEVELS:
                    parents = state.level(state.value, level + 1), state.level(state.known, level + 1)
                children = state.level(state.value, level - 1) if level else None
                view = Level(level, state.plane, context, value, known, parents, children)
                parts = self._parts(view, active[level]) + parts
            if level > finest:
                context = _Coarser(context.whole(), value, known, state.sides[level - 1])
                if level - 1 > finest:
                    context = _Known(context.whole())
        self.share(functools.partial(self._look_at, take), parts)

    def _parts(self, level: Level, active: Cells) -> list[_Part]:
        """The windows of a level in which active cells are."""
        size = level.value.shape[1:]
        halo = self.networks[level.number].halo
        share = int(np.count_nonzero(active)) * CELL**2 // (self.threads * _SHARES)
        most = self.most if self.threads == 1 else min(self.most, max(share, _LEAST))
        inside = positions(active, *size)
        return [(level, window, inside[window]) for window in windows(active, size, halo, most)]

    def _look_at(self, take: Take, part: _Part) -> None:
        level, window, inside = part
        network = self.networks[level.number]
        rows, columns = (
            around(core, network.halo, side) for core, side in zip(window, level.value.shape[1:], strict=True)
        )
        centre, scale = network.predict(inputs(level, rows.outer, columns.outer, self.tables))
        own = slice(None, None, 9 // len(level.value)), rows.inner, columns.inner
        take(level.number, centre[own], scale[own], window, inside)

    def share(self, work: Callable[[Any], None], parts: Sequence[Any]) -> None:
        """Run a function on every part, one after the other or side by side. May be called by the pool's own
        threads: only what has begun is waited for."""
        left = iter(parts)

        def take() -> None:
            for part in left:
                work(part)

        others = [self.pool().submit(take) for _ in range(min(self.threads, len(parts)) - 1)]
        try:
            take()
        finally:  # after an error nothing goes on behind the caller's back
            for _ in left:
                pass
            begun = [other for other in others if not other.cancel()]
            wait(begun)
        for other in begun:
            other.result()

    def aside(self, work: Callable[[], _Result]) -> Callable[[], _Result]:
        """Begin work, maybe in another thread; what is returned gives its result."""
        return work if self.threads == 1 else self.pool().submit(work).result

    def pool(self) -> ThreadPoolExecutor:
        """Threads of this process to work with; made anew in one that was forked."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), ThreadPoolExecutor(self.threads, "ctc")
        return self._pool[1]
