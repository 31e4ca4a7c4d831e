"""Virtual environments with the oldest and the newest releases that pyproject.toml allows."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from exactness_cells import HERE, Environment

_IMPORTS = "import torch, numpy, constriction, safetensors, PIL, click"


class CannotInstall(Exception):
    """pip does not find or install what an environment needs."""


def requirements(oldest: bool) -> list[str]:
    """The package's dependencies as pip takes them: the lower bounds alone, or whatever is newest."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    return [each.replace(">=", "==") if oldest else each for each in project["dependencies"]]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CannotInstall(f"{' '.join(command[-3:])}: {last}")


def _works(python: Path) -> bool:
    return python.exists() and subprocess.run([python, "-c", _IMPORTS], capture_output=True).returncode == 0


def environment(folder: Path, oldest: bool) -> Environment:
    """A virtual environment of this Python with all dependencies, made where it is not there yet. Raises
    CannotInstall."""
    name = "oldest" if oldest else "newest"
    python = folder / name / "bin" / "python"
    if not _works(python):
        _run([sys.executable, "-m", "venv", str(folder / name)])
        _run([str(python), "-m", "pip", "install", "--quiet", *requirements(oldest)])
    return Environment(name, str(python))


def with_numpy(base: Environment, folder: Path, oldest: bool) -> Environment:
    """The same environment with another numpy before its own. Raises CannotInstall."""
    which = "oldest" if oldest else "newest"
    target = folder / f"numpy-{which}"
    if not (target / "numpy").exists():
        (wanted,) = (each for each in requirements(oldest) if re.match(r"numpy\b", each))
        _run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), wanted]
        )
    return Environment(f"{base.name}, {which} numpy", base.python, (target,))
