"""A long time of mixed work in one process: ``make soak MINUTES=60``.

    cd tools && python -m reliability.soak [--minutes N] [-o FILE.json] [--seed N]

Threads share one model and encode, decode, cut, describe, verify, go on with arriving bytes, meet bad input
and give work up; work in the main thread is interrupted; the command works on folders with two jobs beside
them, and is interrupted and killed. Every result is compared with a known one. What the process holds
(memory, handles, threads, files, processes) is sampled, and must not grow after the first fifth of the time.
One core is used, whatever there is. The exit code is 1 after a wrong result, a hang, or growth.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctc_codec
from reliability.record import record, write
from reliability.soak_commands import Commands
from reliability.soak_samples import BOUNDS, WARM, Samples, grown, growth
from reliability.soak_works import Cancelled, Works

_THREADS = 2
_PATIENCE = 300
"""Seconds after which a work hangs."""
_NAMES = {"memory_mb": "memory, MB", "files": "temporary files and outputs", "processes": "other processes"}
_SHOWN = 20
"""Failures that are told."""


class Soak:
    """Works in threads until the time is over.

    counts: of works that are done, by name.
    failures: what went wrong, a line each.
    """

    def __init__(self, seconds: float, seed: int) -> None:
        self._until = time.monotonic() + seconds
        self._seed = seed
        self._lock = threading.Lock()
        self._begun: dict[str, tuple[float, str]] = {}
        self.counts: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []

    @property
    def going_on(self) -> bool:
        return time.monotonic() < self._until

    def fail(self, line: str) -> None:
        with self._lock:
            self.failures.append(line)
        print(line, file=sys.stderr, flush=True)

    def run(self, thread: str, works: dict[str, Callable[[random.Random], None]], pause: float = 0) -> None:
        """Do works by chance until the time is over."""
        rng = random.Random(f"{thread} {self._seed}")
        names = sorted(works)
        while self.going_on:
            name = rng.choice(names)
            self._begun[thread] = time.monotonic(), name
            try:
                works[name](rng)
            except Exception as error:
                self.fail(f"{name}: {type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}")
            with self._lock:
                self.counts[name] += 1
            time.sleep(pause)
        self._begun.pop(thread, None)

    def hanging(self) -> list[str]:
        """Works that have taken too long."""
        now = time.monotonic()
        return [name for began, name in list(self._begun.values()) if now - began > _PATIENCE]


def _interrupted(works: Works) -> Callable[[random.Random], None]:
    """A work of the library in the main thread, which a signal ends after a random time."""
    chosen = [works.encode, works.decode, works.arriving, works.pillow]

    def cancel(*_: object) -> None:
        raise Cancelled

    signal.signal(signal.SIGALRM, cancel)

    def work(rng: random.Random) -> None:
        with contextlib.suppress(Cancelled):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.1 * rng.random())
                rng.choice(chosen)(rng)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)

    return work


def _one_core() -> None:
    """Keep this process, and all that it begins, to one core, and let others go first."""
    os.nice(10)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def soak(minutes: float, seed: int, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Work for so many minutes; return summary and rows of a record."""
    (folder / "tmp").mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder / "tmp")
    works = Works(ctc_codec.load_model(threads=2))
    commands = Commands(folder, works.files)
    soak = Soak(60 * minutes, seed)
    samples = Samples(60 * minutes, folder, soak.counts.total)
    threads = [
        *(threading.Thread(target=soak.run, args=(f"{n}", works.all), daemon=True) for n in range(_THREADS)),
        threading.Thread(target=soak.run, args=("commands", commands.all, 0.5), daemon=True),
    ]
    for thread in [*threads, samples]:
        thread.start()
    soak.run("main", {"interrupted": _interrupted(works)}, 1.0)
    while any(thread.is_alive() for thread in threads):
        if hanging := soak.hanging():
            soak.fail(f"hanging: {', '.join(hanging)}")
            faulthandler.dump_traceback()
            break
        time.sleep(0.1)
    samples.end()
    if samples.error:
        soak.fail(f"no more samples were taken: {type(samples.error).__name__}: {samples.error}")
    found = growth(samples.rows)
    for line in grown(found) if found else ["too few samples"]:
        soak.fail(line)
    summary = {
        "minutes": minutes,
        "operations": dict(sorted(soak.counts.items())),
        "failed": len(soak.failures),
        "failures": soak.failures[:_SHOWN],
        "growth": found,
        "most_memory_mb": max((row["most_memory_mb"] for row in samples.rows), default=0.0),
    }
    return summary, samples.rows


def lines(content: dict[str, Any]) -> list[str]:
    """The record as Markdown."""
    summary, rows = content["summary"], content["rows"]
    count = sum(summary["operations"].values())
    failed = summary.get("failed", len(summary["failures"]))
    nothing = dict.fromkeys(BOUNDS, float("nan"))
    first, last = (rows[int(WARM * len(rows))], rows[-1]) if rows else (nothing, nothing)
    return [
        f"{summary['minutes']:g} minutes on one core ({content['date']}, "
        f"{content['machine'].split(';')[0]}), {count:,} works, {failed or 'no'} failures, at most "
        f"{summary['most_memory_mb']:.0f} MB: "
        + ", ".join(f"{number:,} {name}" for name, number in summary["operations"].items()) + ".",
        "",
        "| the least in a minute | after a fifth | at the end | growth along a line | allowed |",
        "|---|---|---|---|---|",
        *(
            f"| {_NAMES.get(name, name)} | {first[name]:g} | {last[name]:g} | "
            f"{summary['growth'].get(name, float('nan')):+.2f} | {bound:g} |"
            for name, bound in BOUNDS.items()
        ),
    ]  # fmt: skip


def main(arguments: list[str]) -> int:
    """Soak, print what was found, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60, help="how long")
    parser.add_argument("-o", dest="output", type=Path, help="record to write")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random")
    chosen = parser.parse_args(arguments)
    _one_core()
    with tempfile.TemporaryDirectory(prefix="ctc-soak-") as folder:
        found = record(*soak(chosen.minutes, chosen.seed, Path(folder)))
    print("\n".join(lines(found)))
    if chosen.output:
        write(chosen.output, found)
    for line in found["summary"]["failures"]:
        print(line.splitlines()[0], file=sys.stderr)
    return 1 if found["summary"]["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
