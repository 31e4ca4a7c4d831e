"""Fuzzing without coverage: a seeded mutator in plain Python. The same seed gives the same inputs everywhere.

    python -m fuzz.explore SURFACE [EXECUTIONS [SEED]]        from the folder tests/

Inputs whose outcome is new, by the word that the check returns, join the pool that is mutated.
"""

from __future__ import annotations

import hashlib
import importlib
import random
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .mutate import mutate
from .surface import HANG_SECONDS, MEMORY_CAP, REGRESSIONS, Hang, Surface, time_limit

SURFACES = (
    *("header", "blocks", "sections", "coder", "container"),
    *("decoder", "reference_decoder", "plugin", "weights", "image"),
)


def surface_of(name: str) -> Surface:
    surface: Surface = importlib.import_module(f"fuzz.{name}").SURFACE
    return surface


@contextmanager
def memory_limit(extra: int = MEMORY_CAP) -> Iterator[None]:
    """So many bytes of address space above what there is, and no more: then a MemoryError, a finding."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@dataclass
class Report:
    """Figures of a run.

    outcomes: how often each word was returned.
    findings: inputs and their tracebacks.
    """

    executions: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[bytes, str]] = field(default_factory=list)


def run_one(surface: Surface, data: bytes, report: Report) -> str | None:
    """Check one input; None for a finding."""
    started = time.perf_counter()
    try:
        with time_limit(HANG_SECONDS):
            word = surface.check(data)
    except (Exception, Hang):
        report.findings.append((data, traceback.format_exc()))
        return None
    finally:
        report.executions += 1
        report.slowest = max(report.slowest, time.perf_counter() - started)
    report.outcomes[word] += 1
    return word


def explore(surface: Surface, executions: int, seed: int = 0, most_findings: int = 5) -> Report:
    """Check the seeds, then so many mutations of them."""
    rng, report = random.Random(seed), Report()
    started = time.perf_counter()
    with memory_limit():
        pool = surface.seeds()
        for data in pool:
            run_one(surface, data, report)
        plain = partial(mutate, rng=rng, others=pool, max_bytes=surface.max_bytes)
        for _ in range(executions):
            data = surface.mutate(rng.choice(pool), rng, plain)[: surface.max_bytes]
            known = len(report.outcomes)
            word = run_one(surface, data, report)
            if word is not None and len(report.outcomes) > known:
                pool.append(data)
            if len(report.findings) >= most_findings:
                break
    report.seconds = time.perf_counter() - started
    return report


def keep(surface: Surface, data: bytes) -> Path:
    """Put an input that failed where the tests run it again."""
    folder = REGRESSIONS / surface.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:12]
    path.write_bytes(data)
    return path


def main(arguments: list[str]) -> int:
    surface = surface_of(arguments[0])
    executions = int(arguments[1]) if len(arguments) > 1 else surface.executions
    report = explore(surface, executions, int(arguments[2]) if len(arguments) > 2 else 0)
    for word, count in report.outcomes.most_common():
        print(f"{count:8} {word}")
    speed = report.executions / max(report.seconds, 1e-9)
    print(
        f"{surface.name}: {report.executions} executions in {report.seconds:.1f} s ({speed:.0f}/s), "
        f"slowest {report.slowest:.2f} s, {len(report.findings)} findings"
    )
    for data, trace in report.findings:
        print(f"\n{keep(surface, data)}\n{trace}")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
