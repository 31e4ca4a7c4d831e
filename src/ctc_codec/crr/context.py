"""CRR over a latent: inputs and networks, level by level from coarse to fine, in windows side by side.

The integer wavelet carries down to finer levels what coarser ones tell (CRR of Jeon et al., CVPR 2023,
section 3.2, here once for all trits of a look).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ..planes.state import State
from ..transform.lifting import LEVELS, fixed_synthesise_level
from .inputs import CONTEXT_BITS, InputTables, Level, inputs, reconstruction
from .network import Centres, Network, Scales
from .runtime import Span, spans

WINDOW = 512
"""Positions of a level that a network sees at a time have at most this side, without halo."""
LEAST_WINDOW = 64
"""No window is made smaller than this for the sake of threads."""
_WORTH_THREADS = 1 << 15
"""Samples from which on threads save more than they cost."""
_LOW_LIMIT = 1 << 17

Window = tuple[slice, slice]
"""Rows and columns of a level."""
Take = Callable[[int, Centres, Scales, Window], None]
"""Makes use of a window of a level's densities."""


class ContextModels:
    """The networks of all levels. Safe to share by threads.

    networks: one for each level, finest first.
    tables: of their inputs.
    threads: that one picture is worked on with.
    window: largest side of a window, in positions of a level.
    """

    def __init__(self, networks: Sequence[Network], tables: InputTables, threads: int) -> None:
        self.networks = networks
        self.tables = tables
        self.threads = threads
        self.window = WINDOW
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def look(self, state: State, mask: int, take: Take) -> None:
        """Run the networks of the levels whose bits are set in a mask.

        take: gets every window's densities, maybe in another thread.
        """
        if not mask:
            return
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
                pending += self._run_level(view, take)
            if level > finest:  # meanwhile
                context = fixed_synthesise_level(
                    context, reconstruction(value, known), state.sides[level - 1]
                )
        for task in pending:
            task.result()

    def _run_level(self, level: Level, take: Take) -> list[Future[None]]:
        """Run a level in windows: small ones at once, large ones side by side, and those are returned."""
        height, width = level.value.shape[1:]
        halo = self.networks[level.number].halo
        alone = self.threads == 1 or level.context.size <= _WORTH_THREADS
        high = self.window if alone else min(self.window, max(-(-height // self.threads), LEAST_WINDOW))
        pending = []
        for rows in spans(height, halo, high):
            for columns in spans(width, halo, self.window):
                if alone:
                    self._run_window(level, rows, columns, take)
                else:
                    pending.append(self.pool().submit(self._run_window, level, rows, columns, take))
        return pending

    def _run_window(self, level: Level, rows: Span, columns: Span, take: Take) -> None:
        (core_rows, outer_rows), (core_columns, outer_columns) = rows, columns
        centre, scale = self.networks[level.number].predict(
            inputs(level, outer_rows, outer_columns, self.tables)
        )
        inner = (
            slice(None, None, 3 // len(level.context)),
            slice(core_rows.start - outer_rows.start, core_rows.stop - outer_rows.start),
            slice(core_columns.start - outer_columns.start, core_columns.stop - outer_columns.start),
        )
        take(level.number, centre[inner], scale[inner], (core_rows, core_columns))

    def pool(self) -> ThreadPoolExecutor:
        """Threads of this process to work with; made anew in one that was forked."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), ThreadPoolExecutor(self.threads, "ctc")
        return self._pool[1]
