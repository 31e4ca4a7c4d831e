"""Faults while the command works: what is lost, what is left, and whether the same command finishes.

    cd tools && python -m reliability.faults [-o FILE.json] [--trials N] [--seed N] [--only X]

Commands are killed at random moments, get disks that are full or read-only, pipes that are slow or closed,
signals a thousand times a second, pauses, and a clock that is set back and forth. Whatever happens, each name
has to hold a whole file, the old or the new one, and the same command has to finish afterwards with the bytes
of an undisturbed run. Every other outcome is a defect, and the exit code is 1.

Disks are mounted, so those faults need root; EDQUOT and EIO need strace, clocks libfaketime. What cannot be
had is said to be not here.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reliability import disks, disturbances
from reliability.kills import kills, kills_at_calls
from reliability.record import record, write
from reliability.trial import Row
from reliability.works import WORKS, Bench

_Trial = Callable[[Bench, str, int], Row]


def _disturbed(fault: Callable[..., Row]) -> _Trial:
    return lambda bench, name, trials: fault(bench, bench.works[name], trials)


_ALL = ("encode", "decode", "batch", "train", "evaluate")


def _shares(*numbers: int) -> dict[str, int]:
    return {name: number for name, number in zip(_ALL, numbers, strict=True) if number}


FAULTS: dict[str, tuple[_Trial, dict[str, int]]] = {
    "kill": (kills, _shares(10, 10, 10, 4, 4)),
    "kill at call": (kills_at_calls, _shares(10, 10, 4, 2, 2)),
    "full disk": (_disturbed(disks.full_disk), _shares(4, 4, 2, 2, 2)),
    "read-only disk": (_disturbed(disks.read_only), _shares(1, 1, 1, 1, 1)),
    "file limit": (_disturbed(disks.file_limit), _shares(4, 4, 2, 1, 1)),
    "quota": (_disturbed(disks.quota), _shares(4, 4, 2, 1, 1)),
    "closed pipe": (_disturbed(disturbances.closed_pipe), _shares(4, 4, 0, 0, 0)),
    "slow pipe": (_disturbed(disturbances.slow_pipe), _shares(1, 1, 0, 0, 0)),
    "storm": (_disturbed(disturbances.storm), _shares(4, 4, 2, 1, 1)),
    "pauses": (_disturbed(disturbances.pauses), _shares(2, 2, 2, 1, 1)),
    "clock": (_disturbed(disturbances.clock), _shares(2, 2, 2, 1, 1)),
    "faketime": (_disturbed(disturbances.clock_of_all), _shares(1, 0, 0, 0, 0)),
}
"""By name: how it is tried, and how often with each kind of work, for each of ``--trials``."""


def rows(bench: Bench, trials: int, only: str) -> Iterator[Row]:
    """Every fault with every kind of work, if ``only`` is part of their names."""
    for fault, (tried, shares) in FAULTS.items():
        for work, share in shares.items():
            if only in f"{fault} {work}":
                yield tried(bench, work, share * trials)


def summary(found: list[Row]) -> dict[str, Any]:
    """Figures of all rows."""
    return {
        "trials": sum(row.trials for row in found),
        "struck": sum(row.struck for row in found),
        "defects": sum(len(row.defects) for row in found),
        "not_here": sum(bool(row.not_here) for row in found),
    }


def _outcome(row: dict[str, Any]) -> str:
    if row["not_here"] and not row["defects"]:
        return f"not here: {row['not_here']}"
    words = [f"**{len(row['defects'])} defects**"] if row["defects"] else ["no defect"]
    return "; ".join([*words, *(f"{name}: {count:,}" for name, count in row["figures"].items())])


def _line(fault: str, found: list[dict[str, Any]]) -> str:
    """All works of a fault as a row."""
    works = "; ".join(
        f"{row['work']} {'{struck} of {trials}'.format(**row) if row['trials'] else 'not here'}"
        for row in found
    )
    figures: dict[str, int] = {}
    for row in found:
        for name, count in row["figures"].items():
            before = figures.get(name, 0)
            figures[name] = max(before, count) if "slowest" in name else before + count
    defects = sum(len(row["defects"]) for row in found)
    words = [f"**{defects} defects**" if defects else "no defect"]
    if not defects and not any(row["trials"] for row in found):
        words = [found[0]["not_here"]]
    words += [f"{count:,} {name}" for name, count in figures.items() if count]
    return f"| {fault} | {works} | {'; '.join(words)} |"


def lines(content: dict[str, Any]) -> list[str]:
    """The record as Markdown."""
    total = content["summary"]
    faults = dict.fromkeys(row["fault"] for row in content["rows"])
    return [
        f"{total['trials']:,} trials ({content['date']}, {content['machine'].split(';')[0]}), of which "
        f"{total['struck']:,} met the work before its end; {total['defects'] or 'no'} defects:",
        "",
        "| fault | trials that met the work before its end | outcome |",
        "|---|---|---|",
        *(_line(fault, [row for row in content["rows"] if row["fault"] == fault]) for fault in faults),
    ]


def main(arguments: list[str]) -> int:
    """Try the faults, print the rows, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", dest="output", type=Path, help="record to write")
    parser.add_argument("--trials", type=int, default=1, help="1: a look; 5: what the documents tell")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random")
    parser.add_argument("--only", default="", help="faults and works whose names contain this")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # disks are taken down first
    wanted = {w for fault, (_, shares) in FAULTS.items() for w in shares if chosen.only in f"{fault} {w}"}
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ctc-faults-") as folder:
        bench = Bench.make(Path(folder), [name for name in WORKS if name in wanted], chosen.seed)
        for row in rows(bench, chosen.trials, chosen.only):
            found.append(row)
            told = {"defects": []} | dataclasses.asdict(row)
            print(
                f"{row.fault}, {row.work}: {row.trials} trials, {row.struck} met it; {_outcome(told)}",
                flush=True,
            )
            for defect in row.defects:
                print(f"  {defect}", file=sys.stderr, flush=True)
    if chosen.output:
        write(chosen.output, record(summary(found), [dataclasses.asdict(row) for row in found]))
    return 1 if not found or any(row.defects for row in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
