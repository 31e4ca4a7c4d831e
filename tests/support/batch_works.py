"""``ctc`` with a command more, ``fake``, whose inputs it makes, which need no model and go wrong on demand.

Every word in a file's name, separated by dots, is something that happens: see ``_happen``.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path
from typing import Any

from ctc_codec.cli.batch import run_batch
from ctc_codec.cli.files import read_input
from ctc_codec.cli.inputs import Task, plan
from ctc_codec.cli.main import main
from ctc_codec.cli.options import INPUTS, JOBS, OUTPUT, SCALE, WORDS, BatchOptions, collected
from ctc_codec.cli.work import Result, Run, Tell, Work
from ctc_codec.container import atomic
from ctc_codec.errors import CtcError, InputError


def _kill_this_process(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _happen(word: str, tell: Tell) -> None:
    if word == "bad":
        raise InputError("is bad")
    if word == "bug":
        raise ZeroDivisionError("a bug")
    if word == "told":
        tell("note: a note")
    if word == "told_threads":
        tell(f"note: {os.environ.get('OPENBLAS_NUM_THREADS')} of linear algebra")
    if word == "slow":
        time.sleep(0.3)
    if word == "endless":
        time.sleep(600)
    if word == "killed":
        _kill_this_process()
    if word == "torn":  # killed when the partial file is there
        atomic.os.link = atomic.os.replace = _kill_this_process  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class FakeWork(Work):
    """fails: when it is loaded, ``error``, ``killed`` or ``slow``."""

    fails: str = ""

    def read(self, task: Task) -> bytes:
        return read_input(task.source)

    def prepare(self) -> Run:
        if self.fails == "error":
            raise CtcError("nothing can be loaded")
        if self.fails == "killed":
            _kill_this_process()
        if self.fails == "slow":
            os.write(2, b"loading\n")  # whole, even if others write too
            time.sleep(600)
        number = os.getpid()

        def run(data: bytes, task: Task, tell: Tell) -> Result:
            for word in Path(task.source).name.split("."):
                _happen(word, tell)
            output = f"{number} {self.compute.threads}".encode()
            line = "40x20, 100 bytes, 1.5000 bpp"
            return Result(line, {"bytes": len(output)}, output, None, 100, 800, "a detail")

        return run


@main.command()
@INPUTS
@OUTPUT
@JOBS
@SCALE
@WORDS
@collected(batch=BatchOptions)
def fake(inputs: tuple[str, ...], batch: BatchOptions, **more: Any) -> None:
    for name in inputs:
        Path(name).touch()
    fails = os.environ.get("FAKE_FAILS", "")
    run_batch(plan(inputs, batch, ".out", lambda: frozenset({".in"})), FakeWork(fails), batch)


if __name__ == "__main__":
    main()
