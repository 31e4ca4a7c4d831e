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
from typing import TypeVar

import numpy as np

from ..planes.cells import CELL, Cells, active_cells, every_cell, positions
from ..planes.state import State
from ..transform.lifting import FIXED_HALO, LEVELS, fixed_synthesise_level
from .inputs import CONTEXT_BITS, Flags, InputTables, Integers, Level, Values, inputs, reconstruction
from .network import Centres, Network, Scales
from .windows import Window, windows

_MOST, _LEAST = 1 << 15, 1 << 12
"""Positions of a window: so many fit the cache of a core, and fewer are not worth a thread of their own."""
_SHARES = 2
"""Windows for each thread, at least, of a level that has enough positions."""
_LOW_LIMIT = 1 << 17

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
        tasks: list[Callable[[], None]] = []
        for level in range(LEVELS - 1, finest - 1, -1):
            value, known = state.level(state.value, level), state.level(state.known, level)
            if level in active:
                parents = None
                if level + 1 < LEVELS:
                    parents = state.level(state.value, level + 1), state.level(state.known, level + 1)
                children = state.level(state.value, level - 1) if level else None
                view = Level(level, state.plane, context, value, known, parents, children)
                tasks = self._tasks(view, active[level], take) + tasks
            if level > finest:
                context = _Coarser(context.whole(), value, known, state.sides[level - 1])
                if level - 1 > finest:
                    context = _Known(context.whole())
        if self.threads == 1 or len(tasks) == 1:
            for task in tasks:
                task()
        elif tasks:
            futures = [self.pool().submit(task) for task in tasks]
            try:
                for future in futures:
                    future.result()
            finally:  # after an error nothing goes on behind the caller's back
                for future in futures:
                    future.cancel()
                wait(futures)

    def _tasks(self, level: Level, active: Cells, take: Take) -> list[Callable[[], None]]:
        """A task for each window of a level."""
        size = level.value.shape[1:]
        halo = self.networks[level.number].halo
        share = int(np.count_nonzero(active)) * CELL**2 // (self.threads * _SHARES)
        most = self.most if self.threads == 1 else min(self.most, max(share, _LEAST))
        inside = positions(active, *size)
        return [
            functools.partial(self._run_window, level, window, inside, take)
            for window in windows(active, size, halo, most)
        ]

    def _run_window(self, level: Level, window: Window, inside: Cells, take: Take) -> None:
        network = self.networks[level.number]
        outer = [
            slice(max(span.start - network.halo, 0), min(span.stop + network.halo, side))
            for span, side in zip(window, level.value.shape[1:], strict=True)
        ]
        centre, scale = network.predict(inputs(level, outer[0], outer[1], self.tables))
        inner = (
            slice(None, None, 9 // len(level.value)),
            *(slice(s.start - o.start, s.stop - o.start) for s, o in zip(window, outer, strict=True)),
        )
        take(level.number, centre[inner], scale[inner], window, inside[window])

    def aside(self, work: Callable[[], _Result]) -> Callable[[], _Result]:
        """Begin work, maybe in another thread; what is returned gives its result."""
        return work if self.threads == 1 else self.pool().submit(work).result

    def pool(self) -> ThreadPoolExecutor:
        """Threads of this process to work with; made anew in one that was forked."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), ThreadPoolExecutor(self.threads, "ctc")
        return self._pool[1]
