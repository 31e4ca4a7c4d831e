"""Other releases of packages and Pythons, and another architecture, each in a folder of its own."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from exactness.cells import ARM_CELLS, CELLS, NUMPY_CELLS, PYTHON_CELLS, RUNTIME_CELLS, Cell

ROOT = Path(__file__).parents[2]

RUNTIMES = (
    "1.21.1", "1.22.1", "1.23.2", "1.24.4", "1.25.1", "1.26.0", "1.27.0", "1.28.0", "1.29.0",
    "1.30.0", "1.31.1",
)  # fmt: skip
"""Releases of onnxruntime between the oldest that pyproject.toml allows and the newest, one of each minor."""
NUMPYS = ("2.0.2", "2.1.3", "2.2.6", "2.3.5")
PYTHONS = ("3.11", "3.12", "3.13")
ARM_RUNTIMES = ("1.20.0", "1.26.0")
"""Under qemu 7.2 later ones crash while they are imported."""

_ARM_PYTHON = "3.11"
_ARM_PACKAGES = (
    f"python{_ARM_PYTHON}-minimal libpython{_ARM_PYTHON}-minimal libpython{_ARM_PYTHON}-stdlib libc6 "
    "libstdc++6 libgcc-s1 zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 liblzma5 libcrypt1 libuuid1"
).split()


class CannotInstall(Exception):
    """pip or apt-get does not find or install what an environment needs, or there is no such Python."""


@dataclass(frozen=True)
class Environment:
    """A Python and releases of packages.

    name: for the table.
    path: folders before its own, for PYTHONPATH.
    python: the interpreter.
    root: system of another architecture that it belongs to.
    """

    name: str = "current"
    path: tuple[Path, ...] = ()
    python: str = sys.executable
    root: Path | None = None


@dataclass(frozen=True)
class Plan:
    """An environment that is not there yet.

    name: for the table.
    cells: to run in it.
    wanted: for pip, each in a folder of its own.
    python: its release, empty for this one's.
    arm: for 64-bit ARM.
    """

    name: str
    cells: tuple[Cell, ...]
    wanted: tuple[str, ...] = ()
    python: str = ""
    arm: bool = False

    def make(self, folder: Path) -> Environment:
        """Make it under a folder, or find it there. Raises CannotInstall."""
        tools = _installed(folder, ("threadpoolctl",))
        if self.arm:
            root = _arm_system(folder / "arm")
            python = root / "usr" / "bin" / f"python{_ARM_PYTHON}"
            more = ("--python-version", _ARM_PYTHON, *_arm_platforms())
            site = _installed(folder / "arm", self.wanted, more)
            stand_in = Path(__file__).parent / "stand_in"
            return Environment(self.name, (*site, *tools, stand_in), str(python), root)
        if self.python:
            site = _installed(folder / f"python{self.python}", self.wanted, ("--python-version", self.python))
            return Environment(self.name, site + tools, _python(self.python))
        return Environment(self.name, _installed(folder, self.wanted) + tools)


@functools.cache
def requirements() -> dict[str, str]:
    """Requirements of the codec as pyproject.toml says them, by name."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found = {re.split(r"[=<>]", each)[0]: each for each in dependencies}
    return {name: found[name] for name in ("onnxruntime", "numpy", "constriction", "safetensors", "pillow")}


def plans() -> list[Plan]:
    """Everything that can be tried, what is installed first."""
    needs = requirements()
    oldest = {name: each.replace(">=", "==") for name, each in needs.items()}
    newest = tuple(needs.values())
    for_arm = tuple(each for name, each in needs.items() if name not in ("onnxruntime", "constriction"))
    here = ".".join(map(str, sys.version_info[:2]))
    return [
        Plan("current", CELLS),
        Plan("all oldest", RUNTIME_CELLS, tuple(oldest.values())),
        Plan("oldest onnxruntime", RUNTIME_CELLS, (oldest["onnxruntime"],)),
        *(Plan(f"onnxruntime {each}", RUNTIME_CELLS, (f"onnxruntime=={each}",)) for each in RUNTIMES),
        Plan("all newest", RUNTIME_CELLS, newest),
        Plan("oldest numpy", NUMPY_CELLS, (oldest["numpy"],)),
        *(Plan(f"numpy {each}", NUMPY_CELLS, (f"numpy=={each}",)) for each in NUMPYS),
        *(Plan(f"Python {each}", PYTHON_CELLS, newest, each) for each in PYTHONS if each != here),
        *(
            Plan(f"ARM, onnxruntime {each}", ARM_CELLS, (f"onnxruntime=={each}", *for_arm), arm=True)
            for each in ARM_RUNTIMES
        ),
    ]


def _run(command: list[str], variables: dict[str, str] | None = None, where: Path | None = None) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=where, env=os.environ | (variables or {})
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CannotInstall(f"{Path(command[0]).name}: {last}")


def folder_name(requirement: str) -> str:
    """Where a requirement goes: another folder for each."""
    return requirement.replace("==", "-").replace(">=", "-from-")


def _installed(folder: Path, wanted: tuple[str, ...], more: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """A folder for each requirement, fetched where it is not there yet. Raises CannotInstall."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", *more]
    found = []
    for each in wanted:
        target = folder / folder_name(each)
        if not target.exists():
            partial = target.with_name(f"{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            _run([*pip, "--target", str(partial), each])
            partial.rename(target)
        found.append(target)
    return tuple(found)


def _python(release: str) -> str:
    """An interpreter of a release: one that is on the path, or one of pyenv. Raises CannotInstall."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [*sorted(map(str, pyenv.glob(f"{release}.*/bin/python{release}"))), f"python{release}"]
    for each in found:
        # A shim of pyenv may be there and not work.
        if shutil.which(each) and not subprocess.run([each, "-V"], capture_output=True).returncode:
            return each
    raise CannotInstall(f"no Python {release}")


def _arm_platforms() -> tuple[str, ...]:
    names = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
    return tuple(part for name in names for part in ("--platform", f"{name}_aarch64"))


def _arm_system(folder: Path) -> Path:
    """What Python needs of a Debian for ARM, fetched if it is not there yet. Raises CannotInstall."""
    root = folder / "root"
    if root.exists():
        return root
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise CannotInstall("no apt-get")
    for name in ("state/lists/partial", "cache/archives/partial", "packages", "root.partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    told = {
        "Dir::State": folder / "state",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "APT::Architecture": "arm64",
        "APT::Sandbox::User": "root",
    }
    lines = [f'{name} "{value}";' for name, value in told.items()]
    (folder / "apt.conf").write_text("\n".join([*lines, 'APT::Architectures {"arm64";};']))
    variables = {"APT_CONFIG": str(folder / "apt.conf")}
    _run(["apt-get", "update"], variables)
    _run(["apt-get", "download", *_ARM_PACKAGES], variables, folder / "packages")
    for package in (folder / "packages").glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(folder / "root.partial")])
    shutil.rmtree(folder / "state")
    (folder / "root.partial").rename(root)
    return root
