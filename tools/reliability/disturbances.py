"""Faults that are not the end of a process: pipes, signals, pauses and clocks."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from reliability.trial import PATIENCE, Done, Row, end, environment, run, start
from reliability.works import Bench, Work, refused, undisturbed

FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
_TICK = 0.001
_PIPE = 4096
"""Bytes that a pipe holds."""
_STORM = (
    "import signal\n"
    "for number in signal.SIGALRM, signal.SIGCHLD, signal.SIGWINCH:\n"
    "    signal.signal(number, lambda *_: None)\n"
    "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
    "from ctc_codec.cli import command\n"
    "command()\n"
)
"""The command with handlers for signals, which come every millisecond."""


# --- pipes ------------------------------------------------------------------------------------------


def closed_pipe(bench: Bench, work: Work, trials: int) -> Row:
    """A reader that goes after a random number of bytes."""
    row = Row("reader gone", f"{work.name} to a pipe")
    (expected,) = work.expected.values()
    for row.trials in range(1, trials + 1):
        taken = bench.rng.randrange(len(expected) - _PIPE)
        with bench.place() as place:
            process = _through(work, place, None)
            found = _first(process, taken)
            done = end(process, place)
            row.struck += done.code != 0
            row.expect(found == expected[:taken], "other bytes")
            refused(row, done, place, "broken pipe")
    return row


def slow_pipe(bench: Bench, work: Work, trials: int) -> Row:
    """A writer of a byte a millisecond, and a reader of a few."""
    row = Row("slow pipes", f"{work.name} from one to another")
    (expected,) = work.expected.values()
    for row.trials in range(1, trials + 1):
        with bench.place() as place:
            process = _through(work, place, subprocess.PIPE)
            began = time.monotonic()
            found = slowly(process, Path(work.command[-3]).read_bytes())
            done = end(process, place)
            row.struck += 1
            row.count("seconds of the slowest", 0)
            longest = max(row.figures["seconds of the slowest"], round(time.monotonic() - began))
            row.figures["seconds of the slowest"] = longest
            row.expect(done.code == 0, f"exit code {done.code}: {done.err[-300:]}")
            row.expect(found == expected, "other bytes")
    return row


def _through(work: Work, place: Path, stdin: int | None) -> subprocess.Popen[bytes]:
    """A work on one file that writes to a pipe, and reads from one if ``stdin`` says so."""
    *words, source, _, _ = work.command
    command = [*words, source if stdin is None else "-", "-o", "-"]
    pipes = {"stdout": subprocess.PIPE, "stdin": stdin or subprocess.DEVNULL, "bufsize": 0}
    return start(command, place, **pipes, pipesize=_PIPE)


@contextlib.contextmanager
def _in_time(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill a process, and all that it has begun, after PATIENCE: its pipes end then."""
    timer = threading.Timer(PATIENCE, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _first(process: subprocess.Popen[bytes], count: int) -> bytes:
    """The first bytes of a process's output, whose pipe is closed then."""
    assert process.stdout is not None
    with process.stdout as pipe, _in_time(process):
        found = b""
        while len(found) < count and (piece := os.read(pipe.fileno(), count - len(found))):
            found += piece
    return found


def slowly(process: subprocess.Popen[bytes], data: bytes) -> bytes:
    """Feed a process a byte at a time and read its output a few at a time."""
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), stdin:
            for byte in data:
                stdin.write(bytes([byte]))
                stdin.flush()
                time.sleep(_TICK)

    feeder = threading.Thread(target=feed)
    found = b""
    with _in_time(process):
        feeder.start()
        while piece := os.read(stdout.fileno(), 16):
            found += piece
            time.sleep(_TICK)
        stdout.close()
        feeder.join()
    return found


# --- signals, pauses, clocks ------------------------------------------------------------------------


_CLOCK = (
    "import random, time\n"
    "now, days = time.time, lambda: 86400 * random.uniform(-400, 400)\n"
    "time.time = lambda: now() + days()\n"
    "time.time_ns = lambda: int(1e9 * time.time())\n"
)


def _meanwhile(
    row: Row, name: str, process: subprocess.Popen[bytes], place: Path, act: Callable[[], int]
) -> Done:
    """Do something to a process again and again, until it ends, or for PATIENCE; count how often."""
    limit = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < limit:
        with contextlib.suppress(ProcessLookupError):
            row.count(name, act())
    return end(process, place)


def _disturbed(
    bench: Bench,
    work: Work,
    trials: int,
    row: Row,
    name: str,
    act: Callable[[int], int],
    program: Callable[[list[str]], list[str]],
) -> Row:
    """Trials of a work to whose process something is done all the time.

    name: of what is counted. act: does it to a process, and says how often. program: of the work's command.
    """
    for row.trials in range(1, trials + 1):
        with bench.place() as place:
            process = start(program(work.into(place / "out")), place)
            done = _meanwhile(row, name, process, place, functools.partial(act, process.pid))
            row.struck += 1
            undisturbed(row, work, done, place / "out")
    return row


def storm(bench: Bench, work: Work, trials: int) -> Row:
    """Signals every millisecond, with handlers, so that system calls are interrupted."""

    def act(process: int) -> int:
        for number in (signal.SIGCHLD, signal.SIGWINCH):
            os.kill(process, number)
        time.sleep(_TICK)
        return 2

    def program(words: list[str]) -> list[str]:
        return [sys.executable, "-c", _STORM, *words[3:]]

    row = Row("SIGALRM, SIGCHLD, SIGWINCH at 1 kHz", work.name)
    return _disturbed(bench, work, trials, row, "signals sent from outside", act, program)


def pauses(bench: Bench, work: Work, trials: int) -> Row:
    """The whole group is stopped and goes on, many times."""

    def act(group: int) -> int:
        for number in (signal.SIGSTOP, signal.SIGCONT):
            os.killpg(group, number)
            time.sleep(bench.rng.random() * 0.1)
        return 1

    row = Row("SIGSTOP, SIGCONT", work.name)
    return _disturbed(bench, work, trials, row, "pauses", act, list)


def clock(bench: Bench, work: Work, trials: int) -> Row:
    """The wall clock is another at every look of Python, by up to 400 days."""
    site = bench.folder / "sitecustomize"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_CLOCK)
    row = Row("clock set by up to 400 days, in Python", work.name)
    for row.trials in range(1, trials + 1):
        with bench.place() as place:
            paths = [str(site), os.environ.get("PYTHONPATH", "")]
            python = {"PYTHONPATH": os.pathsep.join(paths).rstrip(os.pathsep)}
            done = run(work.into(place / "out"), place, env=environment(place, **python))
            row.struck += 1
            undisturbed(row, work, done, place / "out")
    return row


def clock_of_all(bench: Bench, work: Work, trials: int) -> Row:
    """The wall clock is set back and forth, for libraries too, by libfaketime."""
    row = Row("clock set by up to 400 days, of the process", work.name)
    if FAKETIME is None:
        row.not_here = "there is no libfaketime"
        return row
    for row.trials in range(1, trials + 1):
        with bench.place() as place:
            offset = place / "tmp/offset"
            offset.write_text("+0")
            fake = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(offset), "NO_FAKE_STAT": "1",
                    "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
            process = start(work.into(place / "out"), place, env=environment(place, **fake))

            def act(path: Path = offset) -> int:
                path.with_suffix(".new").write_text(f"{bench.rng.randint(-400, 400):+}d")
                path.with_suffix(".new").replace(path)
                time.sleep(0.05)
                return 1

            done = _meanwhile(row, "jumps", process, place, act)
            row.struck += 1
            undisturbed(row, work, done, place / "out")
    return row
