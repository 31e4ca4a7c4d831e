"""A cell in an environment: a process of its own, and what its report says."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exactness.cells import DIFFERENT, EQUAL, FAILED, NOT_HERE, REFUSED, Cell
from exactness.environments import ROOT, Environment

TOOLS, SOURCE, GOLDEN = ROOT / "tools", ROOT / "src", ROOT / "tests" / "data" / "format"

_LIMIT_SECONDS = 600


@dataclass(frozen=True)
class Result:
    """The outcome of a cell in an environment.

    verdict: one of VERDICTS.
    note: the reason.
    here: facts that were in force.
    latents: how many were compared.
    differing: those that are not what they should be, as FILE at CUT.
    others: encoded files that are not the golden ones, and the hash of their latents, by name.
    pixels: hash of what the whole files look like.
    """

    environment: str
    cell: Cell
    verdict: str
    note: str = ""
    here: dict[str, Any] = field(default_factory=dict)
    latents: int = 0
    differing: tuple[str, ...] = ()
    others: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    pixels: str = ""

    @property
    def defect(self) -> bool:
        """Whether it must not be."""
        return self.verdict not in self.cell.allowed


def expected_hashes(folder: Path = GOLDEN) -> dict[str, dict[str, str]]:
    """The latents of the files of a folder: SHA-256 by file and cut."""
    found: dict[str, dict[str, str]] = json.loads((folder / "hashes.json").read_text())
    return found


def run(cell: Cell, environment: Environment | None = None, folder: Path | None = None) -> Result:
    """Decode files under a setting, and encode the golden pictures.

    folder: of the files and of hashes.json; None for the golden ones. With one nothing is encoded.
    """
    environment = environment or Environment()
    command = [environment.python, "-m", "exactness.process", *cell.arguments]
    if folder:
        command += [f"data={folder}", "encode=no"]
    if cell.cpu:
        emulator = _emulator("aarch64" if environment.root else "x86_64")
        if emulator is None:
            return Result(environment.name, cell, NOT_HERE, "no qemu-user")
        system = ["-L", str(environment.root)] if environment.root else []
        command = [emulator, "-cpu", cell.cpu, *system, *command]
    path = os.pathsep.join(map(str, (*environment.path, SOURCE, TOOLS)))
    told = {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
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
    if "refused" in report:
        return Result(environment.name, cell, REFUSED, report["refused"], report["here"])
    return _judged(environment.name, cell, report, expected_hashes(folder or GOLDEN))


def _judged(environment: str, cell: Cell, report: Any, expected: dict[str, dict[str, str]]) -> Result:
    compared = {
        f"{name} at {cut}": found == expected[name][cut]
        for name, cuts in report["hashes"].items()
        for cut, found in cuts.items()
    }
    differing = tuple(what for what, same in compared.items() if not same)
    others = {
        name: (bytes.fromhex(each["file"]), each["latent"])
        for name, each in report["encoded"].items()
        if each is not None
    }
    here, verdict, note = report["here"], EQUAL, ""
    if differing or report["hashes"].keys() != expected.keys():
        verdict, note = DIFFERENT, f"{len(differing)} of {len(compared)} latents differ"
    else:
        for what, value in cell.facts.items():
            if here[what] != value:
                verdict = NOT_HERE
                note = f"{what.replace('_', ' ')}: {here[what]}; the latents are the same"
    return Result(environment, cell, verdict, note, here, len(compared), differing, others, report["pixels"])


def collect(found: Iterable[Result], folder: Path) -> int:
    """Write the files that are not the golden ones, each once, and the hashes of their latents.

    Two results may tell different latents for the same file; then decoding one of them fails. Returns how
    many files there are.
    """
    hashes: dict[str, dict[str, str]] = {}
    for result in found:
        for name, (data, latent) in result.others.items():
            called = f"{name}-{hashlib.sha256(data + latent.encode()).hexdigest()[:12]}"
            hashes[called] = {str(len(data)): latent}
            (folder / f"{called}.ctc").write_bytes(data)
    (folder / "hashes.json").write_text(json.dumps(hashes))
    return len(hashes)


@functools.cache
def _emulator(architecture: str) -> str | None:
    """qemu for the user's programs, on a Linux."""
    return shutil.which(f"qemu-{architecture}") or shutil.which(f"qemu-{architecture}-static")
