"""Whether the golden files decode to the same latents here under every setting: ``make exactness``.

    python tests/exactness.py [-o FILE.json] [-o FILE.md] [--venvs FOLDER] [--no-venvs] [--quick] [--only X]

Every cell of the table is a process of its own. ``agreed``: all latents are those of the golden files, with
the setting in force. ``refused``: the package says that it cannot decode here. ``not here``: this machine, or
this release of torch, has no such thing. Anything else is a defect, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from exactness_cells import CELLS, DEFECTS, NOT_HERE, VERSION_CELLS, Cell, Environment, Result, cpu_flags, run
from exactness_environments import CannotInstall, environment, with_numpy

_ISA_FLAGS = ("sse4_1", "avx", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
              "amx_tile", "asimd", "asimddp", "bf16", "sve")  # fmt: skip


def _pairs(venvs: Path | None) -> Iterator[tuple[Environment, tuple[Cell, ...], str]]:
    """Environments with the cells that are run in them; in place of one that cannot be made, why."""
    current = Environment()
    yield current, CELLS, ""
    if venvs is None:
        return
    for oldest in (True, False):
        name = "oldest" if oldest else "newest"
        try:
            made = environment(venvs, oldest)
        except CannotInstall as error:
            yield Environment(name), VERSION_CELLS[:1], str(error)
            continue
        yield made, VERSION_CELLS, ""
        if oldest:
            yield from _swapped(made, venvs, oldest=False)
    yield from _swapped(current, venvs, oldest=True)


def _swapped(
    base: Environment, venvs: Path, oldest: bool
) -> Iterator[tuple[Environment, tuple[Cell, ...], str]]:
    try:
        yield with_numpy(base, venvs, oldest), VERSION_CELLS[:3], ""
    except CannotInstall as error:
        yield Environment(f"{base.name}, other numpy"), VERSION_CELLS[:1], str(error)


def in_force(result: Result) -> str:
    """What the process really used, in a few words."""
    here = result.here
    if not here:
        return ""
    dnn = f"{here['onednn_isa']} ({', '.join(here['onednn_kernels'])})" if here["onednn_isa"] else "off"
    parts = [f"{here['threads']} thread{'s' * (here['threads'] > 1)}", f"ATen {here['capability']}",
             f"oneDNN {dnn.removeprefix('Intel ')}"]  # fmt: skip
    if here["mkl_mode"] not in (None, "OFF"):
        parts.append(f"MKL {here['mkl_mode']}")
    if here["replaced_convolutions"]:
        parts.append(f"{here['replaced_convolutions']} convolutions replaced")
    return ", ".join(parts)


def row(result: Result) -> str:
    """One line of the table."""
    versions = f"{result.here['torch']}, {result.here['numpy']}" if result.here else ""
    verdict = f"**{result.verdict}**" if result.verdict in DEFECTS else result.verdict
    told = [result.environment, versions, result.cell.group, result.cell.name, in_force(result)]
    return f"| {' | '.join(told)} | {verdict}{': ' * bool(result.note)}{result.note} |"


HEAD = "| environment | torch, numpy | group | setting | in force | result |\n|---|---|---|---|---|---|"


def machine() -> str:
    """The processor and what it offers."""
    flags = ", ".join(flag for flag in _ISA_FLAGS if flag in cpu_flags()) or "flags unknown"
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}; {flags}"


def summary(results: list[Result]) -> str:
    counts = Counter(result.verdict for result in results)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def write(path: Path, results: list[Result]) -> None:
    if path.suffix == ".json":
        content = {"machine": machine(), "results": [dataclasses.asdict(result) for result in results]}
        path.write_text(json.dumps(content, indent=1) + "\n")
    else:
        lines = [f"Machine: {machine()}.", "", HEAD, *map(row, results), "", summary(results) + "."]
        path.write_text("\n".join(lines) + "\n")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", dest="output", type=Path, action="append", default=[], help=".json or .md")
    parser.add_argument(
        "--venvs", type=Path, default=Path("build/exactness"), help="where to make environments"
    )
    parser.add_argument("--no-venvs", action="store_true", help="this environment alone")
    parser.add_argument("--quick", action="store_true", help="the cells of the tests alone")
    parser.add_argument("--only", default="", help="cells whose group, name or environment contains this")
    chosen = parser.parse_args(arguments)
    venvs = None if chosen.no_venvs or chosen.quick else chosen.venvs.resolve()
    print(f"{machine()}\n\n{HEAD}", flush=True)
    results: list[Result] = []
    for where, cells, problem in _pairs(venvs):
        for cell in cells:
            if chosen.quick and not cell.quick:
                continue
            if chosen.only not in f"{where.name} {cell.group} {cell.name}":
                continue
            results.append(Result(where.name, cell, NOT_HERE, problem) if problem else run(cell, where))
            print(row(results[-1]), flush=True)
    print(f"\n{summary(results)}")
    for path in chosen.output:
        write(path, results)
    wrong = [result for result in results if result.verdict in DEFECTS]
    for result in wrong:
        print(f"{result.cell.name}: {', '.join(result.differing) or result.note}", file=sys.stderr)
    return 1 if wrong or not results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
