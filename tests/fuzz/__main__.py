"""Fuzzing that follows coverage: `make fuzz`. Prints a line for each surface.

    python -m fuzz [--seconds N] [SURFACE...]       from the folder tests/; N for each surface

An input that fails is put into ``regressions/``; then the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .explore import SURFACES, keep, surface_of
from .surface import HANG_SECONDS, HERE

MEMORY_MB = 2560
"""Of a whole process; torch with a model takes 500 MB, instrumented."""

LOGS = HERE.parents[1] / "runs" / "fuzz"
"""libFuzzer's words about the last run of each surface."""

_ROUND = 600
"""Seconds of a process at most: atheris 3.0 keeps what instrumented comparisons of arrays return: 1 MB a
second in the decoder. (Without instrumentation nothing grows.)"""

_STOPPED = (72, 130)
"""Exit codes after a signal that asks to end: libFuzzer's, and atheris's where it comes while Python runs."""

_LONGER = 60
"""Seconds that a process may take beyond its time, to start and to end."""


@dataclass(frozen=True)
class _Result:
    """Figures of a run, as libFuzzer gives them."""

    executions: int
    seconds: float
    edges: int
    inputs: int
    peak_mb: int
    finding: bytes | None
    log: str


def _last(pattern: str, log: str) -> int:
    found = re.findall(pattern, log)
    return int(found[-1]) if found else 0


def _run(name: str, seconds: int, seed: int) -> _Result:
    """Fuzz one surface in processes of its own, one after the other."""
    result = _round(name, min(seconds, _ROUND), seed)
    if seconds <= _ROUND or result.finding is not None:
        return result
    rest = _run(name, seconds - _ROUND, seed and seed + 1)
    return replace(
        rest,
        executions=result.executions + rest.executions,
        seconds=result.seconds + rest.seconds,
        peak_mb=max(result.peak_mb, rest.peak_mb),
    )


def _round(name: str, seconds: int, seed: int) -> _Result:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fuzz.guided", name, f"-max_total_time={seconds}"]
        command += [f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={MEMORY_MB}", "-print_final_stats=1"]
        command += [f"-artifact_prefix={folder}/", f"-seed={seed}", "-report_slow_units=5"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=HERE.parent,
                env=environment,
                timeout=seconds + HANG_SECONDS + _LONGER,
                check=False,
            )
            log, code = done.stdout.decode(errors="replace"), done.returncode
        except subprocess.TimeoutExpired as late:
            log, code = (late.stdout or b"").decode(errors="replace"), None
        kept = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("slow-unit"))
        finding = kept[0].read_bytes() if kept else None
    if code != 0 and finding is None:
        log += f"\nthe process {'never came to an end' if code is None else f'ended with code {code}'}"
        if not re.search(r"^Done \d+ runs", log, re.MULTILINE) and code not in _STOPPED:
            finding = b""  # it died, and libFuzzer could not say over what
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / f"{name}.log").write_text(log)
    return _Result(
        executions=_last(r"stat::number_of_executed_units: +(\d+)", log) or _last(r"#(\d+)\s", log),
        seconds=_last(r"Done \d+ runs in (\d+) second", log) or time.monotonic() - started,
        edges=_last(r"cov: (\d+)", log),
        inputs=_last(r"corp: (\d+)", log),
        peak_mb=_last(r"stat::peak_rss_mb: +(\d+)", log) or _last(r"rss: (\d+)Mb", log),
        finding=finding,
        log=log,
    )


def _reason(log: str) -> str:
    """The line of a log that names what went wrong."""
    lines = [line.strip() for line in log.splitlines()]
    for at, line in enumerate(lines):
        if "Uncaught Python exception" in line:
            named = (text for text in lines[at + 1 :] if text and not text.startswith("Traceback"))
            return next(named, line)
        if line.startswith("==") and "ERROR: libFuzzer" in line:
            return line.split("ERROR: ", 1)[1]
    return next((line for line in reversed(lines) if line), "no reason given")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each surface")
    parser.add_argument("--seed", type=int, default=0, help="0: another one every time")
    parser.add_argument(
        "surfaces", nargs="*", metavar="SURFACE", help=f"of {', '.join(SURFACES)}; default: all"
    )
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.surfaces) - set(SURFACES):
        parser.error(f"no such surface: {', '.join(sorted(unknown))}")
    failed = 0
    print("surface    executions seconds   per s  edges inputs    MB  findings")
    for name in chosen.surfaces or SURFACES:
        result = _run(name, chosen.seconds, chosen.seed)
        found = "none" if result.finding is None else "1"
        if result.log.endswith(tuple(f"ended with code {code}" for code in _STOPPED)):
            found += ", stopped by a signal before its time"
        print(
            f"{name:10} {result.executions:10d} {result.seconds:7.0f} "
            f"{result.executions / max(result.seconds, 1):7.0f} {result.edges:6d} {result.inputs:6d} "
            f"{result.peak_mb:5d}  {found}",
            flush=True,
        )
        if result.finding is not None:
            failed += 1
            where = keep(surface_of(name), result.finding) if result.finding else "no input was left"
            print(f"fuzz: {name}: {_reason(result.log)}: {where}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
