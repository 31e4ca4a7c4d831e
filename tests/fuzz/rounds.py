"""Runs of one surface under atheris, in processes of their own, and what libFuzzer says of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

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
class Result:
    """Figures of a run, as libFuzzer gives them.

    edges: branches of the code that is followed. inputs: of the corpus.
    finding: the input that failed, empty if none is left; None without a finding.
    outcomes: how often the check returned each word, but for the last second.
    """

    executions: int
    seconds: float
    edges: int
    inputs: int
    peak_mb: int
    finding: bytes | None
    log: str
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def stopped(self) -> bool:
        """A signal ended it before its time."""
        return self.log.endswith(tuple(f"ended with code {code}" for code in _STOPPED))


def _last(pattern: str, log: str) -> int:
    found = re.findall(pattern, log)
    return int(found[-1]) if found else 0


def run(name: str, seconds: int, seed: int) -> Result:
    """Fuzz one surface in processes of its own, one after the other."""
    result = _round(name, min(seconds, _ROUND), seed)
    if seconds <= _ROUND or result.finding is not None:
        return result
    rest = run(name, seconds - _ROUND, seed and seed + 1)
    return replace(
        rest,
        executions=result.executions + rest.executions,
        seconds=result.seconds + rest.seconds,
        peak_mb=max(result.peak_mb, rest.peak_mb),
        outcomes=result.outcomes + rest.outcomes,
    )


def _round(name: str, seconds: int, seed: int) -> Result:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder) / "outcomes.json"
        command = [sys.executable, "-m", "fuzz.guided", name, str(words), f"-max_total_time={seconds}"]
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
        outcomes = Counter(json.loads(words.read_text()) if words.exists() else {})
        others = (words.name, "slow-unit")
        kept = sorted(path for path in Path(folder).iterdir() if not path.name.startswith(others))
        finding = kept[0].read_bytes() if kept else None
    if code != 0 and finding is None:
        log += f"\nthe process {'never came to an end' if code is None else f'ended with code {code}'}"
        if not re.search(r"^Done \d+ runs", log, re.MULTILINE) and code not in _STOPPED:
            finding = b""  # it died, and libFuzzer could not say over what
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / f"{name}.log").write_text(log)
    return Result(
        executions=_last(r"stat::number_of_executed_units: +(\d+)", log) or _last(r"#(\d+)\s", log),
        seconds=_last(r"Done \d+ runs in (\d+) second", log) or time.monotonic() - started,
        edges=_last(r"cov: (\d+)", log),
        inputs=_last(r"corp: (\d+)", log),
        peak_mb=_last(r"stat::peak_rss_mb: +(\d+)", log) or _last(r"rss: (\d+)Mb", log),
        finding=finding,
        log=log,
        outcomes=outcomes,
    )


def reason(log: str) -> str:
    """The line of a log that names what went wrong."""
    lines = [line.strip() for line in log.splitlines()]
    for at, line in enumerate(lines):
        if "Uncaught Python exception" in line:
            named = (text for text in lines[at + 1 :] if text and not text.startswith("Traceback"))
            return next(named, line)
        if line.startswith("==") and "ERROR: libFuzzer" in line:
            return line.split("ERROR: ", 1)[1]
    return next((line for line in reversed(lines) if line), "no reason given")
