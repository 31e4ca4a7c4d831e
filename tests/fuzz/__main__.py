"""Fuzzing that follows coverage: `make fuzz`. Prints a line for each surface.

    cd tests && PYTHONPATH=../tools python -m fuzz [--minutes N] [-o FILE.json [--add]] [SURFACE...]

The minutes are of all surfaces together: shallow ones, of which there are thousands of executions in a
second, get half of them, and deep ones the other half. An input that fails is put into ``regressions/``; then
the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from reliability.record import write

from .explore import SURFACES, keep, surface_of
from .figures import added, record_of, row_of
from .rounds import reason, run

SHARES = {
    "header": 15,
    "blocks": 18,
    "sections": 11,
    "coder": 10,
    "container": 8,
    "decoder": 15,
    "reference_decoder": 5,
    "plugin": 5,
    "weights": 6,
    "image": 7,
}
"""Of the time."""

_LEAST_SECONDS = 3


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="of all surfaces together (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="0: another one every time")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE.json", help="write a record")
    parser.add_argument("--add", action="store_true", help="to the record that FILE.json holds")
    parser.add_argument(
        "surfaces", nargs="*", metavar="SURFACE", help=f"of {', '.join(SURFACES)}; default: all"
    )
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.surfaces) - set(SURFACES):
        parser.error(f"no such surface: {', '.join(sorted(unknown))}")
    if chosen.add and chosen.output is None:
        parser.error("--add needs -o FILE.json")
    return chosen


def main(arguments: Sequence[str]) -> int:
    """Fuzz, and return the exit code."""
    chosen = _options(arguments)
    names = chosen.surfaces or list(SURFACES)
    before = json.loads(chosen.output.read_text("utf-8")) if chosen.add and chosen.output.exists() else None
    if before is not None:
        added(before, record_of([]))  # refuses other weights before the time is spent
    whole = sum(SHARES[name] for name in names)
    rows = []
    print("surface           executions seconds   per s  edges inputs    MB  findings")
    for name in names:
        seconds = max(round(60 * chosen.minutes * SHARES[name] / whole), _LEAST_SECONDS)
        result = run(name, seconds, chosen.seed)
        found = "none" if result.finding is None else "1"
        if result.stopped:
            found += ", stopped by a signal before its time"
        print(
            f"{name:17} {result.executions:10d} {result.seconds:7.0f} "
            f"{result.executions / max(result.seconds, 1):7.0f} {result.edges:6d} {result.inputs:6d} "
            f"{result.peak_mb:5d}  {found}",
            flush=True,
        )
        if result.finding is not None:
            where = keep(surface_of(name), result.finding) if result.finding else "no input was left"
            print(f"fuzz: {name}: {reason(result.log)}: {where}", flush=True)
        rows.append(row_of(name, result))
    if chosen.output is not None:
        record = record_of(rows)
        write(chosen.output, added(before, record) if before is not None else record)
    return 1 if any(row["findings"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
