"""The one loop over inputs, in this process or in several: what is said meanwhile, and how it ends.

Lines come as files are done: in the order of the inputs with one job, as it happens with several. The names
of failed inputs at the end are in the order of the inputs.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from ..codec.processes import cores
from . import signals
from .files import STREAM, OutputExists, StdoutUnusable, is_pipe, printable, tell, write_stdout
from .inputs import Plan, Task
from .job import Job
from .options import BatchOptions
from .work import Outcome, Work, attempt

if TYPE_CHECKING:
    from tqdm import tqdm


_SHOWN = 20
"""Failed inputs that are named at the end of a job that has a record."""
_LINEAR_ALGEBRA = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Threads that numpy's libraries start, here and in workers, one for each core by default: nothing here makes
use of them."""


def run_batch(plan: Plan, work: Work, batch: BatchOptions) -> NoReturn:
    """Work through the inputs, go on after a bad one, and exit: with 1 if there was one."""
    for name in _LINEAR_ALGEBRA:
        os.environ.setdefault(name, "1")
    with Reporter(len(plan.names), batch) as report, Job(plan, work, batch) as job:
        for task in (*plan.skipped, *job.done):
            report.skipped(task)
        for task in job.refused:
            report.failed(task.source, str(OutputExists(task.target or "")))
        for name, reason in plan.unusable:
            report.failed(name, reason)
        with contextlib.closing(_outcomes(job.tasks, work, job.batch, report.note)) as outcomes:
            for outcome in outcomes:
                report.begin()
                if outcome is None:
                    report.draw()
                else:
                    report.outcome(job.finish(outcome))
                signals.check()
        job.end()
        report.finish(plan, job.batch.record)


def _jobs(tasks: Sequence[Task], work: Work, batch: BatchOptions, note: Callable[[str], None]) -> int:
    """Processes that are of use, and that there is memory for."""
    wanted = _useful_jobs(tasks, batch)
    jobs = _fitting(tasks, work, wanted)
    if jobs < wanted:
        note(f"{jobs} of {wanted} jobs: there is no memory for more pictures at a time")
    return jobs


def _useful_jobs(tasks: Sequence[Task], batch: BatchOptions) -> int:
    wanted = batch.jobs or 1
    # Standard input and pipes, from <(command) for example, come to this process only.
    if wanted > 1 and any(task.source == STREAM or is_pipe(task.source) for task in tasks):
        return 1
    return min(wanted, len(tasks))


def _fitting(tasks: Sequence[Task], work: Work, jobs: int) -> int:
    """As many of these as there is memory for, at least one."""
    if jobs < 2:
        return jobs
    from .memory import jobs_that_fit

    return jobs_that_fit(tasks, work, jobs)


def _outcomes(
    tasks: Sequence[Task], work: Work, batch: BatchOptions, note: Callable[[str], None]
) -> Generator[Outcome | None, None, None]:
    """The outcome of each task; None now and then while nothing is new."""
    if batch.engine == "ray" and tasks:
        from .ray_engine import outcomes as of_actors

        yield from of_actors(tasks, work, batch, note)
        return
    jobs = _jobs(tasks, work, batch, note)
    if jobs > 1:
        from .workers import outcomes

        yield from outcomes(tasks, work.limited(work.compute.threads or max(1, cores() // jobs)), batch, jobs)
        return
    prepare = functools.cache(work.prepare)
    for task in tasks:
        yield attempt(work, prepare, task, batch)


# --- what is said -----------------------------------------------------------------------------------


def on_terminal() -> bool:
    """Whether stderr is a terminal that a line can be redrawn on."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _route(task: Task) -> str:
    if task.target is None:
        return printable(task.source)
    target = "standard output" if task.target == STREAM else printable(task.target)
    return f"{printable(task.source)} -> {target}"


def _notes(notes: Sequence[str]) -> dict[str, object]:
    return {"notes": [note.removeprefix("note: ") for note in notes]} if notes else {}


def _figure(value: float) -> str:
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}"


def _size(nbytes: int) -> str:
    if nbytes < 1000:
        return f"{nbytes} bytes"
    return f"{_figure(nbytes / 1e3)} kB" if nbytes < 1e6 else f"{_figure(nbytes / 1e6)} MB"


class Reporter:
    """Tells what becomes of ``total`` inputs: lines or a bar on stderr, JSON on stdout.

    As a context: what ends all work at once, in there, ends the command in order.
    """

    def __init__(self, total: int, batch: BatchOptions) -> None:
        self._total = total
        self._batch = batch
        self._started = time.perf_counter()
        self._done = self._skipped = self._nbytes = self._pixels = 0
        self._failed: list[str] = []
        self._bar = _bar(total) if total > 1 and not batch.quiet and on_terminal() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()
        if isinstance(error, StdoutUnusable):  # what is still to be written there is lost too
            tell(f"ctc: {error}")
            sys.exit(1)
        # Libraries make other exceptions of an interrupt.
        if isinstance(error, KeyboardInterrupt) or (isinstance(error, Exception) and signals.came()):
            self._interrupted(error)

    def begin(self) -> None:
        """Loading is over, if it was not before."""
        if self._bar is not None and self._bar.desc:
            self._bar.set_description_str("", refresh=False)
            self._bar.unpause()
            self.draw()

    def draw(self) -> None:
        """Draw the bar anew, if it is time."""
        if self._bar is not None:
            words = [
                f"{_figure(self._pixels / max(time.perf_counter() - self._started, 1e-3) / 1e6)} Mpixel/s"
            ]
            words += [f"{len(self._failed)} failed"] * bool(self._failed)
            self._bar.set_postfix_str(", ".join(words), refresh=False)
            self._bar.update(self._done + self._skipped + len(self._failed) - self._bar.n)

    def _clear(self) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.clear()

    def _say(self, text: str) -> None:
        self._clear()
        tell(text)

    def _json(self, facts: dict[str, object]) -> None:
        if self._batch.as_json:
            self._clear()
            write_stdout(f"{json.dumps(facts)}\n".encode())

    def note(self, text: str) -> None:
        """Something about the whole batch."""
        if not self._batch.quiet:
            self._say(f"ctc: note: {text}")

    def failed(self, name: str, message: str, notes: Sequence[str] = ()) -> None:
        """An input failed before there was anything else to tell of it."""
        self._failed.append(name)
        self._say(f"ctc: {printable(name)}: {message}")
        self._json({"file": name, "error": message} | _notes(notes))

    def skipped(self, task: Task) -> None:
        """An output exists already."""
        self._skipped += 1
        self._json({"file": task.source, "output": task.target, "skipped": True})

    def outcome(self, outcome: Outcome) -> None:
        """Raises StdoutUnusable."""
        task, quiet, verbose = outcome.task, self._batch.quiet, self._batch.verbose
        for text in outcome.notes:
            if not (quiet and text.startswith("note: ")):
                self._say(f"ctc: {printable(task.source)}: {text}")
        if outcome.trace and verbose:
            self._say(outcome.trace.rstrip("\n"))
        if outcome.result is not None:
            self._result(outcome)
        elif outcome.error is not None:
            self.failed(task.source, outcome.error, outcome.notes)
        else:
            self.skipped(task)
        self.draw()

    def _result(self, outcome: Outcome) -> None:
        task, result, batch = outcome.task, outcome.result, self._batch
        assert result is not None
        self._pixels += result.pixels
        if result.text is not None and not batch.as_json:
            self._clear()
            write_stdout(f"{result.text}\n".encode())
        facts: dict[str, object] = {"file": task.source} | result.facts
        if task.target is not None:
            seconds = round(outcome.seconds, 3)
            facts = {"file": task.source, "output": task.target} | result.facts | {"seconds": seconds}
        facts |= _notes(outcome.notes)
        if result.error is not None:
            self._failed.append(task.source)
            self._say(f"ctc: {printable(task.source)}: {result.error}")
            facts["error"] = result.error
        else:
            self._done += 1
            self._nbytes += result.nbytes
            if not batch.quiet and (self._bar is None or batch.verbose):
                self._say(f"{_route(task)}: {result.line}")
                if batch.verbose:
                    self._say(", ".join([f"  {outcome.seconds:.2f} s", *filter(None, [result.detail])]))
        self._json(facts)

    def finish(self, plan: Plan, record: str | None = None) -> NoReturn:
        """Sum up and exit.

        record: a file that has the errors, too, if there are many.
        """
        self._clear()
        if plan.left_out and not self._batch.quiet:
            kinds = ", ".join(map(printable, sorted(set(plan.left_out))))
            tell(f"ctc: {len(plan.left_out)} in folders left out, by their suffix: {kinds}")
        if self._total > 1:
            if not self._batch.quiet:
                seconds = time.perf_counter() - self._started
                counts = f"{self._done} done, {len(self._failed)} failed, {self._skipped} skipped"
                tell(f"ctc: {counts}, {_size(self._nbytes)} of .ctc, {seconds:.1f} s{self._speed(seconds)}")
            if self._failed:
                order = {name: place for place, name in enumerate(plan.names)}
                failed = sorted(self._failed, key=lambda name: order.get(name, -1))
                shown = failed if record is None else failed[:_SHOWN]
                listed = ", ".join(printable(name) for name in shown)
                if len(shown) < len(failed):
                    listed += f" and others, see {printable(record or '')}"
                tell(f"ctc: {len(failed)} of {self._total} inputs failed: {listed}")
        sys.exit(1 if self._failed else 0)

    def _speed(self, seconds: float) -> str:
        if not self._done:
            return ""
        seconds = max(seconds, 1e-3)
        pixels = _figure(self._pixels / seconds / 1e6)
        return f", {_figure(self._done / seconds)} files/s, {pixels} Mpixel/s"

    def _interrupted(self, error: BaseException) -> NoReturn:
        code = signals.exit_code(error)
        self._clear()
        if sys.stderr is not None and sys.stderr.isatty():
            tell("" if self._bar is None else "\r\x1b[K", newline=self._bar is None)  # of the ^C on the line
        counts = f": {self._done} of {self._total} done" if self._total > 1 else ""
        tell(f"ctc: interrupted{counts}")
        sys.exit(code)


def _bar(total: int) -> tqdm[NoReturn]:
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread of its own
    sized = False
    with contextlib.suppress(OSError):
        sized = os.get_terminal_size(sys.stderr.fileno()).columns > 0
    return tqdm(
        total=total,
        desc="loading the model: ",
        unit=" files",
        file=sys.stderr,
        dynamic_ncols=sized,
        ncols=None if sized else 79,  # a serial line, for example, has no size
        nrows=None if sized else 24,
        leave=False,
        miniters=0,
        bar_format="{desc}{percentage:3.0f} % |{bar}| {n_fmt}/{total_fmt}, {rate_fmt}{postfix}, "
        "{remaining} left",
    )
