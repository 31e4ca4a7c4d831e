"""Worker processes: both ends of the pipes between them and the command.

Every worker loads the model once and has one pipe, one task at a time, and no lock in common with the others.
So it is always known who works on what: a worker that is killed fails its file and no other, and a new one
takes its place. (concurrent.futures gives up all that is left then, and leaves its workers behind if the
command itself is killed.)
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess

from ..errors import CtcError
from . import files as _files
from . import signals as _signals
from .inputs import Task
from .work import Outcome, Work, attempt, explain

_Pipe = connection.Connection

_TICK = 0.1
"""Seconds after which somebody may look whether a signal came, or redraw."""
_GRACE = 5
"""Seconds that a worker has to end, before it is killed."""


class WorkerError(CtcError):
    """Worker processes do not come up."""


# --- in a worker ------------------------------------------------------------------------------------


def _serve(pipe: _Pipe, work: Work, tag: str) -> None:
    """Load, say that it worked (None) or why not, and then turn tasks into outcomes until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C goes to the whole group: the command decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # stdout is the command's alone
    _files.set_tag(tag)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the command is gone, and nobody listens
        try:
            one = work.prepare()
        except Exception as error:
            message, trace = explain(error)
            pipe.send(message)
            print(trace, end="", file=sys.stderr, flush=True)
            os._exit(1)
        pipe.send(None)
        while True:
            pipe.send(attempt(one, pipe.recv(), work.batch.skip_existing))
    os._exit(0)  # nothing is left that Python would have to tidy up, slowly


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _files.writing.acquire(timeout=_GRACE)  # a partial file is either renamed by then or not begun
        os._exit(1)


# --- in the command ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _without_sigint() -> Iterator[None]:
    """A process that is started in here never sees ^C, not even while its Python comes up."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it unblocks signals when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    return f"was killed by signal {-code}" + (" (out of memory?)" if code == -9 else "")


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: _Pipe
    tag: str
    ready: bool = False
    task: Task | None = None


class Pool(contextlib.AbstractContextManager["Pool"]):
    """Runs tasks in ``jobs`` processes. None of them outlives the ``with``."""

    def __init__(self, work: Work, jobs: int) -> None:
        self._work = work
        self._jobs = jobs
        self._workers: list[_Worker] = []

    def start(self) -> None:
        """Return when the first worker is ready. Raises WorkerError."""
        with _signals.shielded():
            self._refill(self._jobs)
        while not any(worker.ready for worker in self._workers):
            with _signals.shielded():
                self._collect()

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome | None]:
        """Outcomes as they come; None every now and then."""
        waiting = deque(tasks)
        while waiting or any(worker.task for worker in self._workers):
            with _signals.shielded():
                self._give(waiting)
                outcomes = self._collect()
                self._give(waiting)  # before anybody spends time on the outcomes
                self._refill(len(waiting))
            yield from outcomes
            if not outcomes:
                yield None

    def __exit__(self, *_: object) -> None:
        with _signals.shielded():
            for worker in self._workers:
                worker.process.terminate()
            for worker in self._workers:
                self._bury(worker)
            self._workers.clear()

    def _begin(self) -> _Worker:
        """Raises OSError."""
        tag = f"{secrets.token_hex(4)}-"
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._work, tag), daemon=True, name="ctc worker"
        )
        try:
            resource_tracker.ensure_running()  # it unblocks signals when it starts
            with _without_sigint():
                process.start()
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()  # so that the pipe ends with the worker
        return _Worker(process, ours, tag)

    def _give(self, waiting: deque[Task]) -> None:
        for worker in self._workers:
            if waiting and worker.ready and worker.task is None:
                with contextlib.suppress(OSError):  # it is dead: that is seen when its pipe is read
                    worker.pipe.send(waiting[0])
                    worker.task = waiting.popleft()

    def _collect(self) -> list[Outcome]:
        """Wait for a moment. Raises WorkerError, once no worker is left that could do anything."""
        outcomes = []
        for pipe in connection.wait([worker.pipe for worker in self._workers], _TICK):
            worker = next(worker for worker in self._workers if worker.pipe is pipe)
            try:
                said = worker.pipe.recv()
            except (EOFError, OSError):
                outcomes += self._lost(worker)
                continue
            if isinstance(said, Outcome):
                worker.task = None
                outcomes.append(said)
            elif said is None:
                worker.ready = True
            else:
                self._give_up(worker, said)
        return outcomes

    def _lost(self, worker: _Worker) -> list[Outcome]:
        """A worker is gone."""
        self._workers.remove(worker)
        self._bury(worker)
        time.sleep(_TICK / 2)  # a signal to the whole group is on its way to this process too
        how = _ending(worker.process.exitcode or 0)
        if not worker.ready:
            self._jobs -= 1
            if not self._workers:
                raise WorkerError(f"a worker process {how} before it was ready")
        return [] if worker.task is None else [Outcome(worker.task, error=f"its worker process {how}")]

    def _give_up(self, worker: _Worker, reason: str) -> None:
        """A worker could not load: with wrong weights nobody can, and the first to say so ends it all."""
        if not any(worker.ready for worker in self._workers):
            raise WorkerError(reason)
        self._jobs -= 1
        self._workers.remove(worker)
        self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        worker.process.join(_GRACE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()
        if worker.task is not None:
            _files.remove_partials(worker.task.target, worker.tag)

    def _refill(self, waiting: int) -> None:
        """Begin workers, also in place of those that are gone, as far as there is work for them. Raises
        WorkerError if there are none and none can be begun."""
        busy = sum(worker.task is not None for worker in self._workers)
        while len(self._workers) < min(self._jobs, busy + waiting):
            try:
                self._workers.append(self._begin())
            except OSError as error:  # too many files are open, or processes run
                if not self._workers:
                    reason = error.strerror or type(error).__name__
                    raise WorkerError(f"no worker process can be started: {reason}") from None
                self._jobs = len(self._workers)
