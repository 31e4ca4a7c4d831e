"""Trials of the command: what a row of a record is, running it with a fault, and what is left afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

PARTIAL, PROBE = ".partial", ".ctc-case-"
"""Of names of unfinished files, and of empty ones by which a folder is tried."""
PATIENCE = 120
"""Seconds after which a command hangs."""
_ORPHANS = 10
"""Seconds that workers have to end in, once their command is gone."""

Files = dict[str, bytes]
"""By name."""


@dataclasses.dataclass
class Row:
    """Trials of one fault in one kind of work.

    struck: how many of them it met before the end of the work.
    defects: what was lost, half, different or left running, in a line each.
    figures: counts of whatever else is worth telling.
    not_here: why there were no trials.
    """

    fault: str
    work: str
    trials: int = 0
    struck: int = 0
    defects: list[str] = dataclasses.field(default_factory=list)
    figures: dict[str, int] = dataclasses.field(default_factory=dict)
    not_here: str = ""

    def count(self, name: str, number: int = 1) -> None:
        """Add to a figure."""
        self.figures[name] = self.figures.get(name, 0) + number

    def expect(self, true: object, otherwise: str) -> None:
        """Note a defect unless this is true."""
        if not true:
            self.defects.append(f"trial {self.trials}: {otherwise}")


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended, with all that it said; code -9 if it was killed."""

    code: int
    out: bytes
    err: str
    seconds: float


@contextlib.contextmanager
def trial_in(folder: Path) -> Iterator[Path]:
    """A folder for one trial, with a folder ``out``, and ``tmp`` for temporary files and for words."""
    path = folder / "trial"
    for name in ("out", "tmp"):
        (path / name).mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def environment(place: Path, **more: str) -> dict[str, str]:
    """Variables of a command whose temporary files go to ``place/tmp``, and which uses one core."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(place / "tmp"), **more}


def start(command: Sequence[object], place: Path, **kwargs: Any) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; its words go to files in ``place/tmp``."""
    kwargs.setdefault("env", environment(place))
    with open(place / "tmp/out", "wb") as out, open(place / "tmp/err", "wb") as err:
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err} | kwargs
        return subprocess.Popen(list(map(str, command)), start_new_session=True, **pipes)


def end(process: subprocess.Popen[bytes], place: Path) -> Done:
    """Wait for a command that :func:`start` gave. One that hangs is killed with all that it has begun."""
    began, code = time.monotonic(), -1
    with contextlib.suppress(subprocess.TimeoutExpired):
        code = process.wait(PATIENCE)
    seconds = time.monotonic() - began
    if code == -1:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    out, err = ((place / "tmp" / name).read_bytes() for name in ("out", "err"))
    for name in ("out", "err"):
        (place / "tmp" / name).unlink()
    return Done(code, out, err.decode(errors="replace"), seconds)


def run(command: Sequence[object], place: Path, **kwargs: Any) -> Done:
    """Run a command to its end."""
    return end(start(command, place, **kwargs), place)


def kill(command: Sequence[object], place: Path, when: Callable[[], object], row: Row) -> Done:
    """Run a command and kill it alone, with SIGKILL, once ``when`` has returned. Its workers have to end."""
    process = start(command, place)
    when()
    process.kill()
    done = end(process, place)
    row.struck += done.code == -signal.SIGKILL
    row.expect(ended(process.pid), "processes outlive the command")
    return done


def injected(calls: str, what: str) -> list[str]:
    """Words before a command that make its system calls go wrong; none where there is no strace.

    calls: names of them, with commas.
    what: happens to them, as strace wants it: ``error=EIO:when=2``.
    """
    if not shutil.which("strace"):
        return []
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{what}"]


def ended(session: int) -> bool:
    """Whether all processes of a session end soon. If not they are killed."""
    limit = time.monotonic() + _ORPHANS
    while in_session(session):
        if time.monotonic() > limit:
            for process in in_session(session):
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            return False
        time.sleep(0.01)
    return True


def in_session(leader: int) -> list[int]:
    """Processes of the session that ``leader`` began, zombies left out."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            number, rest = status.read_text().split(" (", 1)
            state, _, _, session = rest.rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(number))
    return found


def left(place: Path) -> list[Path]:
    """Unfinished files, and those by which folders are tried, at any depth."""
    found = []
    for folder, _, names in os.walk(place):
        found += [Path(folder, name) for name in names if name.endswith(PARTIAL) or name.startswith(PROBE)]
    return found


def contents(folder: Path) -> Files:
    """All files below a folder, unfinished ones left out, by their names from there."""
    if not folder.exists():
        return {}
    odd = set(left(folder))
    files = (path for path in folder.rglob("*") if path.is_file() and path not in odd)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
