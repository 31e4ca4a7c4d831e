"""Other releases of packages, each in a folder of its own that goes before the installed ones."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from exactness.cells import ROOT, Environment

RELEASES = ("1.21.1", "1.22.1", "1.23.2", "1.24.4", "1.26.0", "1.28.0", "1.30.0")
"""Releases of onnxruntime between the oldest that pyproject.toml allows and the newest."""


class CannotInstall(Exception):
    """pip does not find or install what an environment needs."""


@functools.cache
def requirements() -> dict[str, str]:
    """Requirements of the decoder as pyproject.toml says them, by name."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found = {re.split(r"[=<>]", each)[0]: each for each in dependencies}
    return {name: found[name] for name in ("onnxruntime", "numpy", "constriction", "safetensors", "pillow")}


def environment(folder: Path, name: str, *wanted: str) -> Environment:
    """Releases in a folder, fetched where they are not there yet. Raises CannotInstall."""
    target = folder / name.replace(" ", "-")
    if not target.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*command, "--target", str(target), *wanted], capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise CannotInstall(f"{' '.join(wanted)}: {last}")
    return Environment(name, (target,))


def others() -> list[tuple[str, tuple[str, ...]]]:
    """Names of environments, and what pip installs into each."""
    oldest = {name: each.replace(">=", "==") for name, each in requirements().items()}
    return [
        ("all oldest", tuple(oldest.values())),
        ("oldest numpy", (oldest["numpy"],)),
        ("oldest onnxruntime", (oldest["onnxruntime"],)),
        *((f"onnxruntime {release}", (f"onnxruntime=={release}",)) for release in RELEASES),
        ("newest", tuple(requirements().values())),
    ]
