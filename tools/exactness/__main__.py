"""Whether the golden files decode to the same latents here under every setting: ``make exactness``.

    cd tools && python -m exactness [-o FILE.json] [-o FILE.md] [--releases FOLDER] [--no-releases] [--only X]

Every cell of the table is a process of its own. ``agreed``: all latents are those of the golden files, with
the setting in force. ``refused``: the package says that it cannot decode here. ``not here``: this machine, or
this release, has no such thing. Anything else is a defect, and the exit code is 1. Other processors are
emulated where qemu-user is installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from exactness.cells import CELLS, DEFECTS, NOT_HERE, RELEASE_CELLS, Cell, Environment, Result, run
from exactness.environments import CannotInstall, environment, others

_FLAGS = (
    "sse4_2",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
)
HEAD = "| environment | onnxruntime, numpy | group | setting | result |\n|---|---|---|---|---|"


def results(folder: Path | None, only: str) -> Iterator[Result]:
    """Every environment, made under ``folder``, or the current one alone, with every cell of it."""
    pairs: list[tuple[str, tuple[str, ...], tuple[Cell, ...]]] = [("current", (), CELLS)]
    if folder is not None:
        pairs += [(name, wanted, RELEASE_CELLS) for name, wanted in others()]
    for name, wanted, cells in pairs:
        chosen = [cell for cell in cells if only in f"{name} {cell.group} {cell.name}"]
        if not chosen:
            continue
        try:
            where = environment(folder, name, *wanted) if folder and wanted else Environment()
        except CannotInstall as error:
            yield Result(name, chosen[0], NOT_HERE, str(error))
            continue
        yield from (run(cell, where) for cell in chosen)


def row(result: Result) -> str:
    """One line of the table."""
    versions = f"{result.here['onnxruntime']}, {result.here['numpy']}" if result.here else ""
    verdict = f"**{result.verdict}**" if result.verdict in DEFECTS else result.verdict
    told = [result.environment, versions, result.cell.group, result.cell.name]
    return f"| {' | '.join(told)} | {verdict}{': ' * bool(result.note)}{result.note} |"


def machine() -> str:
    """The processor and what it offers, by the names in /proc/cpuinfo, where there is such a file."""
    try:
        found = re.search(r"^(?:flags|Features)\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    has = set(found[1].split()) if found else set()
    flags = ", ".join(flag for flag in _FLAGS if flag in has) or "flags unknown"
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}; {flags}"


def summary(found: list[Result]) -> str:
    """Verdicts and how many there are of each, in a line."""
    counts = Counter(result.verdict for result in found)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def write(path: Path, found: list[Result]) -> None:
    """Write results as JSON or as Markdown, by the suffix."""
    if path.suffix == ".json":
        content = {"machine": machine(), "results": [dataclasses.asdict(result) for result in found]}
        path.write_text(json.dumps(content, indent=1) + "\n")
    else:
        lines = [f"Machine: {machine()}.", "", HEAD, *map(row, found), "", summary(found) + "."]
        path.write_text("\n".join(lines) + "\n")


def main(arguments: list[str]) -> int:
    """Run the cells, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", dest="output", type=Path, action="append", default=[], help=".json or .md")
    parser.add_argument(
        "--releases", type=Path, default=Path("build/exactness"), help="where to put other releases"
    )
    parser.add_argument("--no-releases", action="store_true", help="the installed ones alone")
    parser.add_argument("--only", default="", help="cells whose group, name or environment contains this")
    chosen = parser.parse_args(arguments)
    print(f"{machine()}\n\n{HEAD}", flush=True)
    found: list[Result] = []
    for result in results(None if chosen.no_releases else chosen.releases.resolve(), chosen.only):
        found.append(result)
        print(row(result), flush=True)
    print(f"\n{summary(found)}")
    for path in chosen.output:
        write(path, found)
    wrong = [result for result in found if result.verdict in DEFECTS]
    for result in wrong:
        print(f"{result.cell.name}: {', '.join(result.differing) or result.note}", file=sys.stderr)
    return 1 if wrong or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
