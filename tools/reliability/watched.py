"""Commands in processes of their own: what came of them, seconds, and the most memory that they held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CTC = (sys.executable, "-m", "ctc_codec.cli")
BASE_MB = 128
"""Memory that a process may take whatever it works on: Python, its libraries, a model."""

DONE, REFUSED, TIMED_OUT, CRASHED, FAILED = "done", "refused", "timed out", "crashed", "failed"
"""Outcomes: exit code 0; exit code 1 with one line that says why; ended after the limit; ended by a signal or
by a library; anything else, a traceback for example. The last three are defects."""
DEFECTS = (TIMED_OUT, CRASHED, FAILED)

_WATCHER = """
import json, resource, signal, subprocess, sys, time
command, seconds, space, folder = json.loads(sys.argv[1])
def limit():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if space:
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
started = time.perf_counter()
pipes = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
process = subprocess.Popen(command, preexec_fn=limit, cwd=folder, start_new_session=True, **pipes)
late = False
try:
    err = process.communicate(timeout=seconds)[1]
except subprocess.TimeoutExpired:
    late = True
    process.kill()
    err = process.communicate()[1]
told = [process.returncode, late, time.perf_counter() - started]
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([*told, peak, err.decode(errors="replace")]))
"""
"""A process's peak memory starts with what its parent holds: so the parent is this, which holds little."""


@dataclass(frozen=True)
class Watched:
    """What came of a command.

    outcome: DONE, REFUSED, ...
    seconds: that it took.
    peak: bytes of memory, the most that it held.
    lines: of its standard error.
    """

    outcome: str
    seconds: float
    peak: int
    lines: tuple[str, ...]

    @property
    def said(self) -> str:
        """The last line of standard error without the command's name and the file's."""
        return self.lines[-1].removeprefix("ctc: ") if self.lines else ""


def watched(
    command: Sequence[str],
    folder: Path,
    *,
    seconds: float = 600,
    space: int = 0,
    environment: Mapping[str, str] | None = None,
) -> Watched:
    """Run a command in a folder.

    seconds: after which it is ended.
    space: bytes of address space that it may have, 0 for any number.
    environment: variables that it has beside those of this process.
    """
    told = json.dumps([list(command), seconds, space, os.fspath(folder)])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _WATCHER, told],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ | (environment or {}),
    )
    code, late, taken, peak, err = json.loads(done.stdout)
    lines = tuple(line for line in err.splitlines() if line.strip())
    outcome = TIMED_OUT if late else outcome_of(code, lines)
    return Watched(outcome, taken, peak * (1 if sys.platform == "darwin" else 1024), lines)


def outcome_of(code: int, lines: Sequence[str]) -> str:
    """The outcome by exit code and standard error."""
    errors = [line for line in lines if ": note: " not in line and ": warning: " not in line]
    if any("Traceback" in line or "internal error" in line for line in lines):
        return FAILED
    if code == 0:
        return DONE
    if code == 1 and len(errors) == 1 and errors[0].startswith("ctc: "):
        return REFUSED
    return CRASHED if code < 0 or code > 1 or not errors or not errors[-1].startswith("ctc: ") else FAILED
