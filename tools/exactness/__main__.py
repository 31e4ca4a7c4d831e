"""Whether files decode to the same latents under every setting, and are encoded so: ``make exactness``.

    cd tools && python -m exactness [-o FILE.json] [--releases FOLDER] [--no-releases] [--only TEXT]

Every cell of the table is a process of its own. It decodes the golden files, whole and cut, and encodes
their pictures. Encoded files that are not the golden ones are then decoded by every cell. ``equal``: all
latents are the same, with the setting in force. ``refused``: the package says that it cannot decode here.
``not here``: this machine, or this release, has no such thing. Cells of the group ``control`` are wrong on
purpose and have to be refused or found different. Anything else is a defect, and the exit code is 1.

Other releases come from pip; other processors are emulated where qemu-user is installed; for ARM apt-get
brings a Python.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from exactness.cells import EQUAL, NOT_HERE
from exactness.environments import ROOT, CannotInstall, Environment, plans
from exactness.report import HEAD, record_of, row
from exactness.runs import Result, collect, run
from reliability.record import machine, write


def results(folder: Path | None, only: str) -> Iterator[tuple[Environment, Result]]:
    """Every cell of every environment, made under ``folder``, or of what is installed alone."""
    for plan in plans():
        chosen = [cell for cell in plan.cells if only in f"{plan.name}: {cell.group} {cell.name}"]
        if not chosen or (folder is None and plan.wanted):
            continue
        try:
            where = Environment() if folder is None else plan.make(folder)
        except CannotInstall as error:
            yield Environment(plan.name), Result(plan.name, chosen[0], NOT_HERE, str(error))
            continue
        for cell in chosen:
            yield where, run(cell, where)


def crossed(first: list[tuple[Environment, Result]], folder: Path) -> Iterator[Result]:
    """The files in a folder, decoded by every cell that decodes the golden files."""
    for where, before in first:
        if before.verdict == EQUAL:
            yield run(before.cell, where, folder)


def main(arguments: list[str]) -> int:
    """Run the cells, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", dest="output", type=Path, help="record, .json")
    parser.add_argument(
        "--releases", type=Path, default=ROOT / "build" / "exactness", help="where to put other releases"
    )
    parser.add_argument("--no-releases", action="store_true", help="the installed ones alone")
    parser.add_argument("--only", default="", help='cells with this in "ENVIRONMENT: GROUP SETTING"')
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    print(f"{machine()}\n\n{HEAD}", flush=True)
    first: list[tuple[Environment, Result]] = []
    for where, result in results(None if chosen.no_releases else chosen.releases.resolve(), chosen.only):
        first.append((where, result))
        print(row(result), flush=True)
    found = [result for _, result in first]
    second: list[Result] = []
    with tempfile.TemporaryDirectory() as name:
        files = collect(found, Path(name))
        if files:
            print(f"\n{files} other files\n\n{HEAD}", flush=True)
            for result in crossed(first, Path(name)):
                second.append(result)
                print(row(result), flush=True)
    record = record_of(found, second, files, time.monotonic() - began)
    print(f"\n{record['summary']}")
    if chosen.output:
        write(chosen.output, record)
    wrong = [result for result in found + second if result.defect]
    for result in wrong:
        what = ", ".join(result.differing) or result.note
        print(f"{result.environment}: {result.cell.name}: {result.verdict}: {what}", file=sys.stderr)
    return 1 if wrong or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
