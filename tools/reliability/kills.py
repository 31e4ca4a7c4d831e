"""SIGKILL at random moments: nothing is lost or half there, and the same command finishes afterwards."""

from __future__ import annotations

import contextlib
import csv
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from reliability.trial import (
    PARTIAL,
    Files,
    Row,
    contents,
    end,
    ended,
    in_session,
    injected,
    kill,
    left,
    run,
    start,
)
from reliability.works import Bench, Work

_OLD = b"an older file"
_CALLS = ("fsync", "link,linkat,rename,renameat,renameat2", "unlink,unlinkat")


def _moment(rng: random.Random, place: Path, seconds: float) -> Callable[[], None]:
    """A way to wait: for a random part of ``seconds``, or as often until an unfinished file is seen."""

    def at_random() -> None:
        time.sleep(rng.random() * 1.05 * seconds)

    def at_a_write() -> None:
        limit, skipped = time.monotonic() + seconds, rng.choice([0, 0, 1, 5])
        folders, seen = [place / "out", place / "out/cache"], set[str]()
        while time.monotonic() < limit and len(seen) <= skipped:  # without a pause: a write is short
            for folder in folders:
                with contextlib.suppress(FileNotFoundError):
                    seen |= {name for name in os.listdir(folder) if name.endswith(PARTIAL)}

    return rng.choice([at_random, at_a_write])


def _judge(row: Row, found: Files, expected: Files) -> None:
    for name, data in found.items():
        row.expect(data == expected.get(name), f"{name} is not what it is without a kill")


def _finish(row: Row, work: Work, place: Path) -> str:
    """Run the command again and see that all is there; return what it said."""
    unfinished = left(place)
    row.count("kills that left an unfinished file", bool(unfinished))
    row.count("unfinished files left", len(unfinished))
    done = run(work.into(place / "out"), place)
    row.expect(done.code == 0, f"the rerun exits with {done.code}: {done.err[-200:]}")
    row.expect(work.found(place / "out") == work.expected, "the rerun gives other files")
    row.count("of these removed by the rerun", sum(not path.exists() for path in unfinished))
    more = set(left(place)) - set(unfinished)
    row.expect(not more, f"the rerun leaves {len(more)} unfinished files")
    return done.err


def _one_file(bench: Bench, work: Work, trials: int) -> Row:
    """Half of the time over an older one."""
    row = Row("SIGKILL", work.name)
    for row.trials in range(1, trials + 1):
        with bench.place() as place:
            target = place / "out" / work.target
            allowed: list[bytes | None] = [work.expected[work.target], None]
            if bench.rng.random() < 0.5:
                target.write_bytes(_OLD)
                allowed[1] = _OLD
            kill(work.into(place / "out"), place, _moment(bench.rng, place, work.seconds), row)
            found = contents(target.parent).get(work.target)
            row.expect(found in allowed, "neither the old file nor the whole new one")
            _finish(row, work, place)
    return row


def _batch(bench: Bench, work: Work, trials: int) -> Row:
    """The command is killed, or one worker in every third trial."""
    row = Row("SIGKILL", work.name)
    for row.trials in range(1, trials + 1):
        with bench.place() as place:
            strike = kill if row.trials % 3 else _kill_worker
            strike(work.into(place / "out"), place, _moment(bench.rng, place, work.seconds), row)
            _judge(row, contents(place / "out"), work.expected)
            _finish(row, work, place)
    return row


def _kill_worker(command: Sequence[object], place: Path, when: Callable[[], object], row: Row) -> None:
    """Run a command and kill one of the processes that it has begun, if there are any then."""
    process = start(command, place)
    when()
    workers = [number for number in in_session(process.pid) if _works(number)]
    if workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[-1], signal.SIGKILL)
            row.struck += 1
            row.count("kills of a worker")
    done = end(process, place)
    row.expect(ended(process.pid), "processes outlive the command")
    row.expect(done.code in (0, 1), f"exit code {done.code} after the death of a worker")
    row.expect("Traceback" not in done.err, f"a traceback: {done.err[-200:]}")


def _works(process: int) -> bool:
    """Whether this is a worker; multiprocessing has a process of its own."""
    try:
        return b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def _evaluate(bench: Bench, work: Work, trials: int) -> Row:
    """What is there of the report is whole."""
    row = Row("SIGKILL", work.name)
    for row.trials in range(1, trials + 1):
        with bench.place() as place:
            kill(work.into(place / "out"), place, _moment(bench.rng, place, work.seconds), row)
            found = contents(place / "out")
            _judge(row, found, work.expected)
            row.count("measurements kept for the rerun", sum(name.startswith("cache/") for name in found))
            _finish(row, work, place)
    return row


def _train(bench: Bench, work: Work, trials: int) -> Row:
    """A run is killed up to three times before it may finish; checkpoint and log are whole in between."""
    row = Row("SIGKILL", work.name)
    while row.trials < trials:
        with bench.place() as place:
            folder, at, finished = place / "out", 0, False
            for _ in range(min(bench.rng.randint(1, 3), trials - row.trials)):
                row.trials += 1
                when = _moment(bench.rng, place, work.seconds)
                finished = kill(work.into(folder), place, when, row).code == 0 or finished
                row.count("of these in a run that had gone on from a checkpoint", at > 0 and not finished)
                before, at = at, _step(folder, row)
                row.expect(at >= before, "the checkpoint has gone back")
                _judge(row, work.found(folder), work.expected)
            said = _finish(row, work, place)
            row.expect(not at or f"goes on from step {at}" in said, "the rerun begins anew")
            steps = _steps(folder)
            row.expect(steps == sorted(set(steps)), f"steps of the log: {steps}")
            row.count("runs finished")
    return row


def _step(folder: Path, row: Row) -> int:
    """The step of a run's checkpoint, 0 without one."""
    path = folder / "checkpoint.pt"
    if path.exists():
        import torch

        try:
            return int(torch.load(path, weights_only=True)["step"])
        except Exception as error:  # whatever torch says to half a file
            row.expect(False, f"the checkpoint cannot be read: {error}")
    return 0


def _steps(folder: Path) -> list[int]:
    with (folder / "log.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


KINDS = {"encode": _one_file, "decode": _one_file, "batch": _batch, "train": _train, "evaluate": _evaluate}
"""Trials of each kind of work."""


def kills(bench: Bench, name: str, trials: int) -> Row:
    """Trials with one kind of work."""
    return KINDS[name](bench, bench.works[name], trials)


def kills_at_calls(bench: Bench, name: str, trials: int) -> Row:
    """Trials in which the process that writes is killed right before a system call of a write."""
    work = bench.works[name]
    row = Row("SIGKILL before fsync, link, rename, unlink", work.name)
    for row.trials in range(1, trials + 1):
        calls, when = bench.rng.choice(_CALLS), bench.rng.randint(1, min(3, len(work.expected)))
        with bench.place() as place:
            trace = injected(calls, f"signal=SIGKILL:when={when}")
            if not trace:
                row.trials, row.not_here = 0, "there is no strace"
                return row
            done = run([*trace, *work.into(place / "out")], place)
            row.struck += done.code != 0
            if done.code != -signal.SIGKILL:  # workers that were just starting have Python's own last words
                row.expect("Traceback" not in done.err, f"a traceback: {done.err[-200:]}")
            _judge(row, work.found(place / "out"), work.expected)
            _finish(row, work, place)
    return row
