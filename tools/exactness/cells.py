"""Settings under which the golden files must decode to the same latents, one process for each.

``python -m exactness`` runs all of them and prints a table; ``test_exact.py`` runs those that are quick.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCE = ROOT / "src"

AGREED, REFUSED, NOT_HERE, DISAGREED, FAILED = "agreed", "refused", "not here", "DISAGREED", "FAILED"
DEFECTS = (DISAGREED, FAILED)

_LIMIT_SECONDS = 600


@dataclass(frozen=True)
class Cell:
    """One setting.

    group, name: for the table.
    arguments: of process.py.
    variables: of its environment.
    cpu: processor that qemu emulates.
    expected: facts that process.py must find in force, or the setting is not there.
    quick: the tests run it.
    """

    group: str
    name: str
    arguments: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    cpu: str = ""
    expected: dict[str, Any] = field(default_factory=dict)
    quick: bool = False


@dataclass(frozen=True)
class Environment:
    """This Python with other releases of packages.

    name: for the table.
    path: folders before its own, for PYTHONPATH.
    """

    name: str = "current"
    path: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Result:
    """The outcome of a cell in an environment.

    verdict: one of those above.
    note: the reason.
    here: facts that were in force.
    differing: latents, as FILE at CUT.
    """

    environment: str
    cell: Cell
    verdict: str
    note: str = ""
    here: dict[str, Any] = field(default_factory=dict)
    differing: tuple[str, ...] = ()


_FLUSHED = {"denormals_flushed": True}
_PLAIN = {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 X86_V3"}

CELLS = (
    Cell("threads", "1", ("threads=1",)),
    Cell("threads", "2", ("threads=2",), quick=True),
    Cell("threads", "5", ("threads=5",)),
    Cell("threads", "4 in each network", ("intra=4",)),
    *(
        Cell("optimisation", level, (f"optimisation={level}",), quick=level == "disabled")
        for level in ("disabled", "basic", "extended", "all")
    ),
    Cell("execution", "parallel", ("execution=parallel", "inter=2"), quick=True),
    Cell(
        "execution",
        "parallel, not optimised",
        ("execution=parallel", "inter=3", "intra=2", "optimisation=disabled"),
    ),
    Cell("window", "64 positions", ("window=64", "threads=2")),
    Cell("pieces", "7 bytes", ("piece=7",)),
    Cell("memory", "no arena", ("arena=off",)),
    Cell("memory", "patterns", ("pattern=on",)),
    Cell("memory", "weights not packed", ("config=session.disable_prepacking:1",)),
    Cell("kernels", "those for precision", ("config=session.x64quantprecision:1",)),
    Cell("process", "many threads at once", ("where=pool", "threads=2"), quick=True),
    Cell("process", "after a fork", ("where=fork", "threads=2"), quick=True),
    Cell("process", "denormals flushed", ("denormals=flushed",), expected=_FLUSHED),
    Cell("process", "denormals flushed in networks", ("config=session.set_denormal_as_zero:1",)),
    Cell("process", "without asserts", variables={"PYTHONOPTIMIZE": "2"}),
    Cell("numpy", "no AVX2", variables=_PLAIN),
    Cell("processor", "SSE4.2", cpu="Nehalem", expected={"saturates": False}),
    Cell("processor", "AVX2", cpu="Haswell", expected={"saturates": True}),
    Cell("processor", "AVX2, not optimised", ("optimisation=disabled",), cpu="Haswell"),
    Cell("processor", "AVX2, 2 threads", ("threads=2", "intra=2"), cpu="Haswell"),
)

RELEASE_CELLS = tuple(
    cell for cell in CELLS if cell.name in ("1", "4 in each network", "disabled", "all", "SSE4.2", "AVX2")
)
"""Cells for other releases of onnxruntime and numpy."""


@functools.cache
def expected_hashes() -> dict[str, dict[str, str]]:
    """The golden latents: SHA-256 by file and cut."""
    hashes = ROOT / "tests" / "data" / "format" / "hashes.json"
    found: dict[str, dict[str, str]] = json.loads(hashes.read_text())
    return found


@functools.cache
def emulator() -> str | None:
    """qemu for the user's programs, on a Linux of 64-bit x86."""
    return shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")


def run(cell: Cell, environment: Environment | None = None) -> Result:
    """Decode the golden files under a setting, in a new process."""
    environment = environment or Environment()
    command = [sys.executable, str(HERE / "process.py"), *cell.arguments]
    if cell.cpu:
        qemu = emulator()
        if qemu is None:
            return Result(environment.name, cell, NOT_HERE, "no qemu-x86_64")
        command = [qemu, "-cpu", cell.cpu, *command]
    told = {"PYTHONPATH": os.pathsep.join(map(str, (*environment.path, SOURCE))), "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            command, env=os.environ | told | cell.variables, capture_output=True, text=True, errors="replace",
            timeout=_LIMIT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Result(environment.name, cell, FAILED, f"no end after {_LIMIT_SECONDS} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Result(environment.name, cell, FAILED, f"exit {done.returncode}: {last}")
    report = json.loads(done.stdout.strip().splitlines()[-1])
    here = report["here"]
    if "refused" in report:
        return Result(environment.name, cell, REFUSED, report["refused"], here)
    compared = {
        f"{name} at {cut}": report["hashes"][name][cut] == value
        for name, cuts in expected_hashes().items()
        for cut, value in cuts.items()
    }
    differing = tuple(what for what, same in compared.items() if not same)
    if differing:
        note = f"{len(differing)} of {len(compared)} latents differ"
        return Result(environment.name, cell, DISAGREED, note, here, differing)
    for what, value in cell.expected.items():
        if here[what] != value:
            note = f"{what.replace('_', ' ')}: {here[what]}; the latents are the same"
            return Result(environment.name, cell, NOT_HERE, note, here)
    return Result(environment.name, cell, AGREED, "", here)
