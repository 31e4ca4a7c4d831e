"""Where the time of encoding and decoding goes: functions of the codec, wrapped from outside in timers.

A timer counts a stage's own time only; so the stages add up to the total, and "other" is what no timer saw.
Times are processor time of one thread, on which all must run: what else the machine does counts little.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

STAGES = {
    "image IO": ("image.open:open_image", "image.source:source_image", "image.save:image_bytes"),
    "transform": ("codec.encoder:analysed",),
    "decisions": (
        *(
            f"codec.guide:PictureGuide.{name}"
            for name in ("__init__", "low", "begin_plane", "looks", "threshold")
        ),
        *(f"codec.guide:PictureGuide.{name}" for name in ("trits", "after_slice", "check", "table")),
        "codec.encoder:mean_squared_error",
    ),
    "context": ("codec.walk:Walk.look", "crr.context:reconstruction", "crr.context:fixed_synthesise_level"),
    "inputs": ("crr.context:inputs",),
    "networks": ("crr.runtime:Session.run",),
    "rows": (
        "crr.network:Network.predict",
        "crr.density:rows_of",
        *(f"codec.walk:Walk.{name}" for name in ("_begin_plane", "_set_rows", "_trits", "_quiet")),
    ),
    "order": ("codec.walk:Walk._slice", "planes.order:Tile.slice_elements", "codec.walk:tiles"),
    "coding": (
        *(f"container.coder:RangeEncoder.{name}" for name in ("encode", "finish")),
        *(f"container.coder:RangeDecoder.{name}" for name in ("extend", "decode")),
        *(f"codec.walk:Walk.{name}" for name in ("_first_low", "_next_low")),
    ),
    "state": tuple(f"planes.state:State.{name}" for name in ("learn", "begin_plane", "begin_low")),
    "means": ("codec.picture:refined",),
    "inverse wavelet": ("codec.picture:synthesise_to", "codec.picture:unrotate"),
    "synthesis": ("codec.picture:deviations", "synthesis.network:SynthesisNetwork.correct"),
    "projection": ("codec.picture:_projected",),
    "container": ("codec.encoder:pack", "codec.decoder:Parser.feed", "codec.decoder:Parser.file"),
}
"""Functions of each stage, as module:name."""
FORMER = {
    "transform": ("codec.encoder:rotate", "codec.encoder:analyse"),
    "order": ("codec.walk:slice_elements", "codec.walk:demotion"),
    "inverse wavelet": ("codec.picture:synthesise",),
}
"""What some of these were in an earlier tree."""
NETWORKS = "crr.runtime:Session.run"
_INDIVISIBLE = ("synthesis", "projection")
"""Stages to which all that they call belongs."""


def place_of(place: str) -> tuple[Any, str]:
    """The module or class that a function is in, and its name there. place: as in the table of stages.

    Raises ImportError, AttributeError.
    """
    module, _, path = place.partition(":")
    *outer, last = path.split(".")
    owner = functools.reduce(getattr, outer, importlib.import_module(f"ctc_codec.{module}"))
    getattr(owner, last)
    return owner, last


def places(*, former: bool = False) -> Iterator[tuple[str, str]]:
    """Stages and their places; those of an earlier tree that it has, if ``former``."""
    for table in (STAGES, FORMER) if former else (STAGES,):
        for stage, names in table.items():
            for name in names:
                if former:
                    try:
                        place_of(name)
                    except (ImportError, AttributeError):
                        continue
                yield stage, name


class Timers:
    """Seconds of each stage, of the thread that made it, and what the networks did meanwhile.

    networks: by their number of channels, calls, multiplications and seconds.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.networks: dict[str, dict[str, float]] = {}
        self._stack: list[str] = []
        self._since = 0.0
        self._thread = threading.get_ident()

    def _note(self) -> None:
        """Count the time since the last note for the stage on top."""
        now = time.thread_time()
        if self._stack:
            self.seconds[self._stack[-1]] = self.seconds.get(self._stack[-1], 0.0) + now - self._since
        self._since = now

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A stage, which may begin inside another."""
        self._note()
        inside = self._stack[-1] if self._stack else None
        self._stack.append(inside if inside in _INDIVISIBLE else name)
        try:
            yield
        finally:
            self._note()
            self._stack.pop()

    def wrapped(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """A function with its time counted; of a generator of None, the time inside it."""

        def steps(generator: Generator[None]) -> Generator[None]:
            while True:
                with self.stage(name):
                    ended = next(generator, True)
                if ended:
                    return
                yield

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != self._thread:
                return function(*args, **kwargs)
            with self.stage(name):
                result = function(*args, **kwargs)
            return steps(result) if isinstance(result, Generator) else result

        return timed

    def counted(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """A session's ``run`` with what it does counted by the number of channels."""

        @functools.wraps(run)
        def timed(session: Any, inputs: Any) -> Any:
            started = time.thread_time()
            found = run(session, inputs)
            seconds = time.thread_time() - started
            kernels = [tensor for tensor in session.tensors.values() if tensor.ndim == 4]
            positions = inputs.size // inputs.shape[1]
            if kernels and (not self._stack or self._stack[-1] not in _INDIVISIBLE):
                entry = self.networks.setdefault(
                    str(kernels[0].shape[0]), {"calls": 0, "macs": 0, "seconds": 0.0}
                )
                entry["calls"] += 1
                entry["macs"] += positions * sum(kernel.size for kernel in kernels)
                entry["seconds"] += seconds
            return found

        return timed

    @contextlib.contextmanager
    def attached(self, *, former: bool = False) -> Iterator[None]:
        """While timers are around the functions of all stages. Raises AttributeError for one that is gone,
        unless the tree is a former one."""
        with contextlib.ExitStack() as restored:
            for name, place in places(former=former):
                owner, last = place_of(place)
                function = getattr(owner, last)
                restored.callback(setattr, owner, last, function)
                counted = self.counted(function) if place == NETWORKS else function
                setattr(owner, last, self.wrapped(counted, name))
            yield
