"""``ctc`` with a command more, ``fake``, whose files need no model and go wrong on demand.

Every word in a file's name, separated by dots, is something that happens: see ``_happen``.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path
from typing import Any

from ctc_codec.cli import files as _files
from ctc_codec.cli.batch import run_batch
from ctc_codec.cli.files import check_output, write_output
from ctc_codec.cli.inputs import Task, plan
from ctc_codec.cli.main import main
from ctc_codec.cli.options import INPUTS, JOBS, OUTPUT, WORDS, BatchOptions, ComputeOptions, collected
from ctc_codec.cli.work import Done, One, Tell
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
    if word == "slow":
        time.sleep(0.3)
    if word == "endless":
        time.sleep(600)
    if word == "killed":
        _kill_this_process()
    if word == "torn":  # killed when the partial file is there
        _files.os.link = _kill_this_process  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class FakeWork:
    """fails: when it is loaded, ``error``, ``killed`` or ``slow``; threads: as they were set."""

    batch: BatchOptions
    fails: str = ""
    threads: int = 0

    def with_threads(self, threads: int) -> FakeWork:
        return dataclasses.replace(self, threads=threads)

    def prepare(self) -> One:
        if self.fails == "error":
            raise CtcError("nothing can be loaded")
        if self.fails == "killed":
            _kill_this_process()
        if self.fails == "slow":
            os.write(2, b"loading\n")  # whole, whoever else writes
            time.sleep(600)
        number = os.getpid()

        def one(task: Task, tell: Tell) -> Done:
            check_output(task.target, self.batch.force, task.make_folder)
            for word in Path(task.source).name.split("."):
                _happen(word, tell)
            text = f"{number} {self.threads}".encode()
            write_output(task.target, text, self.batch.force, task.make_folder)
            return Done(100, 1.5, 40, 20, 0.5, detail="a detail")

        return one


@main.command()
@INPUTS
@OUTPUT
@JOBS
@WORDS
@collected(batch=BatchOptions)
def fake(inputs: tuple[str, ...], batch: BatchOptions, **more: Any) -> None:
    fails = os.environ.get("FAKE_FAILS", "")
    run_batch(
        plan(inputs, batch, ".out", lambda: frozenset({".in"})), FakeWork(batch, fails), ComputeOptions()
    )


if __name__ == "__main__":
    main()
