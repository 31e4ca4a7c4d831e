"""A line on the terminal that says how far a batch is."""

from __future__ import annotations

import contextlib
import os
import sys
import time

_EVERY = 0.1
"""Seconds between two drawings, at least."""
_BAR = 30


def on_terminal() -> bool:
    """Whether stderr is a terminal that a line can be redrawn on."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def duration(seconds: float) -> str:
    """A time left: 0:07, 12:34, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def speed(done: int, pixels: int, seconds: float) -> str:
    """Files and pixels a second."""
    seconds = max(seconds, 1e-3)
    return f"{_figure(done / seconds)} files/s, {_figure(pixels / seconds / 1e6)} Mpixel/s"


def size(nbytes: int) -> str:
    """A number of bytes: 300 bytes, 12.3 kB, 1234 MB."""
    if nbytes < 1000:
        return f"{nbytes} bytes"
    return f"{_figure(nbytes / 1e3)} kB" if nbytes < 1e6 else f"{_figure(nbytes / 1e6)} MB"


def _figure(value: float) -> str:
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}"


class Bar:
    """A line that is drawn over and over; who else writes to the terminal calls :meth:`clear` first. Times
    count from :meth:`begin`: before it, models are loaded."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._started = 0.0
        self._drawn = -_EVERY
        self._offset = 0
        self._shown = False

    def begin(self, offset: int) -> None:
        """Work begins, with ``offset`` files out of the way already."""
        self._started = time.perf_counter()
        self._offset = offset

    def draw(self, finished: int, failed: int, pixels: int, *, at_once: bool = False) -> None:
        """finished: files out of the way, however it went; pixels: of those worked on."""
        now = time.perf_counter()
        if not at_once and now - self._drawn < _EVERY:
            return
        self._drawn = now
        share = finished / self._total
        words = [f"{finished}/{self._total}", f"{int(100 * share)} %"]
        if not self._started:
            words.append("loading the model")
        elif worked := finished - self._offset:
            elapsed = now - self._started
            words.append(speed(worked, pixels, elapsed))
            words.append(f"{duration(elapsed / worked * (self._total - finished))} left")
        if failed:
            words.append(f"{failed} failed")
        self._write(self._fitted(share, words))
        self._shown = True

    def _fitted(self, share: float, words: list[str]) -> str:
        """As long as the terminal is wide: the bar shrinks first, then the last words go."""
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        text, room = "  ".join(words), (columns or 80) - 1  # a serial line, for example, has no width
        width = min(_BAR, room - len(text) - 3)
        if width >= 5:
            full = round(width * share)
            return f"[{'#' * full}{'-' * (width - full)}] {text}"
        return text[:room]

    def clear(self) -> None:
        if self._shown:
            self._write("")
        self._shown, self._drawn = False, -_EVERY

    @staticmethod
    def _write(line: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
