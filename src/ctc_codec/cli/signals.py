"""SIGINT, SIGTERM and SIGHUP as one exception, which waits where it would leave half of something behind."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from types import FrameType, TracebackType

_NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_AGAIN = 1.0
"""Seconds after which another signal counts."""


class Interrupted(KeyboardInterrupt):
    """A signal asks this process to end. ``code``: what it is to exit with."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.code = 128 + number


class _State:
    received = 0
    """The first signal that came, or 0."""
    shields = 0
    """While there are any, signals are only noted."""
    raised = -math.inf
    """When one was raised last."""


_state = _State()


def _note(number: int, frame: FrameType | None) -> None:
    _state.received = _state.received or number
    now = time.monotonic()
    # More of them at once are not to disturb the handling of the first one. But it may have been lost.
    if not _state.shields and now - _state.raised > _AGAIN:
        _state.raised = now
        raise Interrupted(number)


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Signals raise Interrupted in here. One that is ignored when the process starts (nohup, a background job
    of a script) stays ignored."""
    _state.received, _state.shields, _state.raised = 0, 0, -math.inf
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _note)
    try:
        yield
    finally:
        if not _state.received:  # after one, what is left of the process is not to be disturbed by a second
            for number, handler in before.items():
                signal.signal(number, handler)


class shielded:
    """Signals are noted in here and raised at its end."""

    def __enter__(self) -> None:
        _state.shields += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _state.shields -= 1
        if not isinstance(error, KeyboardInterrupt):
            check()


def check() -> None:
    """Raise Interrupted if a signal came: an exception can get lost, in a callback for example."""
    if _state.received and not _state.shields:
        raise Interrupted(_state.received)


def exit_code(error: BaseException | None = None) -> int:
    """Exit code after an interrupt. From here on signals are ignored, so that the end is orderly."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
    return error.code if isinstance(error, Interrupted) else 128 + (_state.received or signal.SIGINT)


def came() -> bool:
    """Whether a signal came."""
    return bool(_state.received)
