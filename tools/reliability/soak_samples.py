"""What a long-lived process holds: samples over time, and whether they grow."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_STEP = 0.25
"""Seconds from look to look; a sample is the least of the looks since the one before."""
_SAMPLES = 20, 120
_INTERVAL = 60.0
_SAMPLED = 0.98
"""Share of the time in which samples are taken: at its end threads end."""
WARM = 0.2
"""Share of the time in which everything may still grow."""

BOUNDS = {"memory_mb": 32.0, "handles": 1.0, "threads": 1.0, "files": 1.0, "processes": 1.0}
"""What each may grow by from the end of the warm-up to the end, along a line through the samples. Work in
hand holds some of all of these; what is not given back is in the least of many looks."""


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _children(process: int) -> list[int]:
    """Processes that a process has begun, and those that these have begun, dead ones too."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{process}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for word in path.read_text().split():
                    found += [int(word), *_children(int(word))]
    return found


def look(folder: Path) -> dict[str, float]:
    """Memory of this process, its open handles, its threads, files below a folder, and its processes."""
    return {
        "memory_mb": _status("VmRSS") / 1024,
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": _status("Threads"),
        "files": sum(len(names) for _, _, names in os.walk(folder)),
        "processes": len(_children(os.getpid())),
    }


class Samples(threading.Thread):
    """Takes samples of this process in the background.

    rows: minute, what ``operations`` told, and the least of each measure of :func:`look` since the last row;
        most_memory_mb, the most of it.
    error: that has ended it.
    """

    def __init__(self, seconds: float, folder: Path, operations: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        least, most = _SAMPLES
        self._seconds = _SAMPLED * seconds
        self._interval = max(min(_INTERVAL, self._seconds / least), self._seconds / most)
        self._folder, self._operations = folder, operations
        self._ended = threading.Event()
        self.rows: list[dict[str, Any]] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._sample()
        except Exception as error:
            self.error = error

    def _sample(self) -> None:
        began = time.monotonic()
        looks: list[dict[str, float]] = []
        while time.monotonic() < began + self._seconds and not self._ended.wait(_STEP):
            looks.append(look(self._folder))
            if time.monotonic() >= began + (len(self.rows) + 1) * self._interval:
                self._take(looks, time.monotonic() - began)
                looks = []

    def _take(self, looks: list[dict[str, float]], seconds: float) -> None:
        least = {name: min(each[name] for each in looks) for name in BOUNDS}
        most = max(each["memory_mb"] for each in looks)
        row = {"minute": seconds / 60, "operations": self._operations(), **least, "most_memory_mb": most}
        self.rows.append({name: round(value, 2) for name, value in row.items()})

    def end(self) -> None:
        """Take no more."""
        self._ended.set()
        self.join()


def growth(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How much each measure has grown since the warm-up, along a line through its samples; nothing if these
    are too few."""
    kept = rows[int(WARM * len(rows)) :]
    if len(kept) < 3:
        return {}
    minutes = np.array([row["minute"] for row in kept])
    found = {}
    for name in BOUNDS:
        slope = np.polyfit(minutes, [row[name] for row in kept], 1)[0]
        found[name] = round(float(slope * (minutes[-1] - minutes[0])), 3)
    return found


def grown(found: dict[str, float]) -> list[str]:
    """A line for each measure that has grown by more than it may."""
    return [
        f"{name} has grown by {found[name]:g}, more than {bound:g}"
        for name, bound in BOUNDS.items()
        if found.get(name, 0) > bound
    ]
