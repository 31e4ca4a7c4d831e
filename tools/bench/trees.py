"""Source trees that are measured side by side, each in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import ctc_codec
from bench.worker import Job, line_of
from reliability.watched import CTC, DONE, watched

_SECONDS = 3600
"""Limit of a command."""
_TOOLS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Tree:
    """A source tree of the package.

    name: ``before`` or ``after``.
    folder: of the tree, None for that of the package in use.
    """

    name: str
    folder: Path | None = None

    def environment(self) -> dict[str, str]:
        """Of its processes."""
        package = Path(ctc_codec.__file__).parents[1] if self.folder is None else self.folder / "src"
        return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (package, _TOOLS)))}

    def command(self, *arguments: str) -> tuple[float, int]:
        """Run ``ctc``: seconds, and the most bytes of memory. Raises RuntimeError if it failed."""
        done = watched([*CTC, *arguments], Path.cwd(), seconds=_SECONDS, environment=self.environment())
        if done.outcome != DONE:
            raise RuntimeError(f"ctc {' '.join(arguments)}: {done.outcome}: {done.said}")
        return done.seconds, done.peak


class Worker:
    """A process of a tree that does jobs. As a context, it ends with it."""

    def __init__(self, tree: Tree) -> None:
        command = [sys.executable, "-m", "bench.worker", *["--former"] * (tree.name == "before")]
        self._process = subprocess.Popen(
            command, env=tree.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def do(self, job: Job) -> dict[str, Any]:
        """The result of a job, see :func:`bench.worker.result_of`. Raises RuntimeError if it failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line_of(job))
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended with code {self._process.wait()} in {job}")
        return dict(json.loads(line))


@contextlib.contextmanager
def workers(trees: Iterable[Tree]) -> Iterator[dict[str, Worker]]:
    """A worker for each tree, by its name."""
    with contextlib.ExitStack() as ending:
        yield {tree.name: ending.enter_context(Worker(tree)) for tree in trees}
