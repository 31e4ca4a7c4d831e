"""Many inputs, one after the other or in several processes: what is said meanwhile, and how it ends.

Lines come as files are done: in the order of the inputs with one job, as it happens with several. The names
of failed inputs at the end are in the order of the inputs.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import NoReturn, Protocol, Self

import click

from ..codec.cores import cores
from ..errors import CtcError
from . import signals as _signals
from .files import STREAM, StdoutGone, is_pipe, printable, write_stdout
from .inputs import Plan, Task, make_folder
from .options import BatchOptions, ComputeOptions
from .progress import Bar, on_terminal, size, speed
from .work import One, Outcome, Work, attempt


def tell(text: str) -> None:
    """Say something on stderr; that nobody can hear it is no reason to fail."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def route(task: Task) -> str:
    target = "standard output" if task.target == STREAM else printable(task.target)
    return f"{printable(task.source)} -> {target}"


def no_stdout(error: StdoutGone) -> NoReturn:
    """Exit: what is still to be written there is lost too."""
    tell(f"ctc: {error}")
    sys.exit(1)


class Reporter:
    """Tells what becomes of ``total`` inputs: lines or a bar on stderr, JSON on stdout.

    As a context: what ends all work at once, in there, ends the command in order.
    """

    def __init__(self, total: int, options: BatchOptions) -> None:
        self._total = total
        self._options = options
        self._started = time.perf_counter()
        self._done = self._skipped = self._nbytes = self._pixels = 0
        self._failed: list[str] = []
        self._bar = Bar(total) if total > 1 and not options.quiet and on_terminal() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        if isinstance(error, StdoutGone):
            no_stdout(error)
        # Libraries make other exceptions of an interrupt.
        if isinstance(error, KeyboardInterrupt) or (isinstance(error, Exception) and _signals.came()):
            self.interrupted(error)
        if isinstance(error, CtcError):  # wrong weights fail once, not once a file
            raise click.ClickException(str(error)) from None

    def begin(self) -> None:
        """Loading is over."""
        if self._bar is not None:
            self._bar.begin(self._skipped + len(self._failed))
            self.draw(at_once=True)

    def draw(self, *, at_once: bool = False) -> None:
        if self._bar is not None:
            finished = self._done + self._skipped + len(self._failed)
            self._bar.draw(finished, len(self._failed), self._pixels, at_once=at_once)

    def clear(self) -> None:
        if self._bar is not None:
            self._bar.clear()

    def _say(self, text: str) -> None:
        self.clear()
        tell(text)

    def _json(self, **facts: object) -> None:
        if self._options.as_json:
            self.clear()
            write_stdout(f"{json.dumps(facts)}\n".encode())

    def failed(self, name: str, message: str) -> None:
        self._failed.append(name)
        self._say(f"ctc: {printable(name)}: {message}")
        self._json(file=name, error=message)

    def skipped(self, task: Task) -> None:
        self._skipped += 1
        self._json(file=task.source, output=task.target, skipped=True)

    def outcome(self, outcome: Outcome) -> None:
        """Raises StdoutGone."""
        task, done, options = outcome.task, outcome.done, self._options
        for text in outcome.told:
            if not (options.quiet and text.startswith("note: ")):
                self._say(f"ctc: {printable(task.source)}: {text}")
        if done is not None:
            self._done += 1
            self._nbytes += done.nbytes
            self._pixels += done.width * done.height
            if not options.quiet and (self._bar is None or options.verbose):
                self._say(f"{route(task)}: {done.summary()}")
                if options.verbose:
                    self._say(f"  {done.detail}")
            self._json(file=task.source, output=task.target, **done.facts())
        elif outcome.error is not None:
            if outcome.trace and options.verbose:
                self._say(outcome.trace.rstrip("\n"))
            self.failed(task.source, outcome.error)
        else:
            self.skipped(task)
        self.draw()

    def finish(self, names: Sequence[str]) -> NoReturn:
        """Sum up and exit. names: of the inputs, in their order."""
        self.clear()
        if self._total > 1:
            if not self._options.quiet:
                seconds = time.perf_counter() - self._started
                counts = f"{self._done} done, {len(self._failed)} failed, {self._skipped} skipped"
                rate = f", {speed(self._done, self._pixels, seconds)}" if self._done else ""
                tell(f"ctc: {counts}, {size(self._nbytes)}, {seconds:.1f} s{rate}")
            if self._failed:
                order = {name: place for place, name in enumerate(names)}
                failed = sorted(self._failed, key=lambda name: order.get(name, -1))
                listed = ", ".join(printable(name) for name in failed)
                tell(f"ctc: {len(failed)} of {self._total} inputs failed: {listed}")
        sys.exit(1 if self._failed else 0)

    def interrupted(self, error: BaseException) -> NoReturn:
        code = _signals.exit_code(error)
        self.clear()
        if self._bar is None and sys.stderr is not None and sys.stderr.isatty():
            tell("")  # the terminal shows ^C on the line
        counts = f": {self._done} of {self._total} done" if self._total > 1 else ""
        tell(f"ctc: interrupted{counts}")
        sys.exit(code)


class Runner(AbstractContextManager["Runner"], Protocol):
    def start(self) -> None:
        """Load what is needed. Raises CtcError."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome | None]:
        """What becomes of each task; None now and then, while nothing is new."""


class _Here(contextlib.AbstractContextManager["_Here"]):
    """Runs tasks in this process."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._one: One | None = None

    def start(self) -> None:
        self._one = self._work.prepare()

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        assert self._one is not None
        for task in tasks:
            yield attempt(self._one, task, self._work.batch.skip_existing)

    def __exit__(self, *_: object) -> None:
        pass


def _runner(work: Work, tasks: Sequence[Task], compute: ComputeOptions | None) -> Runner:
    jobs = min(work.batch.jobs, len(tasks))
    # What comes through a pipe, from <(command) for example, comes to this process only.
    if jobs < 2 or any(is_pipe(task.source) for task in tasks):
        return _Here(work)
    from .workers import Pool

    threads = compute.threads if compute is not None else None
    return Pool(work.with_threads(threads or max(1, cores() // jobs)), jobs)


def run_batch(plan: Plan, work: Work, compute: ComputeOptions | None = None) -> NoReturn:
    """Work through the inputs, go on after a bad one, and exit: with 1 if there was one."""
    with Reporter(len(plan.names), work.batch) as report:
        for task in plan.skipped:
            report.skipped(task)
        for name, reason in plan.unusable:
            report.failed(name, reason)
        if plan.tasks:
            report.draw(at_once=True)
            with _runner(work, plan.tasks, compute) as runner:
                runner.start()
                make_folder(plan.folder)
                report.begin()
                for outcome in runner.run(plan.tasks):
                    if outcome is None:
                        report.draw()
                    else:
                        report.outcome(outcome)
                    _signals.check()
        report.finish(plan.names)
