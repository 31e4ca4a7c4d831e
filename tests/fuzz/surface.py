"""Surfaces, and the promises whose breach is a finding."""

from __future__ import annotations

import random
import re
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ctc_codec import CtcError

HERE = Path(__file__).parent
DATA = HERE.parent / "data" / "format"
REGRESSIONS = HERE / "regressions"

HANG_SECONDS = 10
"""No input may take longer."""

MEMORY_CAP = 1 << 30
"""No input may take more bytes than this above what the process had before."""

Mutate = Callable[[bytes], bytes]


class Violation(AssertionError):
    """A promise was broken, though no exception came of itself."""


class Hang(BaseException):
    """An input takes too long. No Exception, which the code under test may catch."""


def require(holds: bool, what: str) -> None:
    """Not an assert: those go away with ``python -O``, and this names what was promised."""
    if not holds:
        raise Violation(what)


@dataclass(frozen=True)
class Surface:
    """One surface.

    name: of the folder in ``regressions``.
    seeds: valid inputs to begin with.
    check: runs one input; returns a word about how far it came, raises for findings.
    mutate: makes a new input of (input, chance, plain mutation).
    executions: of the tests' slice.
    max_bytes: of an input.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes], str]
    mutate: Callable[[bytes, random.Random, Mutate], bytes]
    executions: int
    max_bytes: int = 1 << 14

    def regressions(self) -> list[Path]:
        """Inputs that failed once."""
        return sorted((REGRESSIONS / self.name).glob("*"))


def chance_of(data: bytes) -> random.Random:
    """Random choices that belong to an input: it fails again as it failed first."""
    return random.Random(zlib.crc32(data))


def word_of(error: CtcError) -> str:
    """An expected error without its numbers and names: which of the refusals it is."""
    text = re.sub(r"\S*/|0x[0-9a-f]+|\b[0-9a-f]{8}\b|\d+(\.\d+)?", "#", str(error))
    require(bool(text) and "\n" not in text, f"an error's message is one line, not {str(error)!r}")
    return f"{type(error).__name__}: {text[:60]}"


def cut_up(data: bytes, rng: random.Random, pieces: int = 6) -> Iterator[bytes]:
    """The same bytes in pieces, some of them empty or single."""
    at = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(pieces)))
    at = sorted([*at, *(min(place + 1, len(data)) for place in at[::2])])
    for start, end in zip([0, *at], [*at, len(data)], strict=True):
        yield data[start:end]


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Hang in the main thread after so many seconds."""

    def ring(number: int, frame: FrameType | None) -> Any:
        raise Hang(f"still busy after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
