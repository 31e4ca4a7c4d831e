"""Worker processes: a pool in which one that dies fails its own file and no other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker

from pebble import ProcessExpired, ProcessPool

from ..codec.processes import end_with_parent
from ..container.atomic import remove_partials
from ..container.storage import is_url
from ..errors import CtcError
from .files import STREAM
from .inputs import Task
from .options import BatchOptions
from .signals import shielded
from .work import Outcome, Run, Work, attempt, begin, explain, failure

_TICK = 0.1
"""Seconds after which it is seen whether a signal came, or the bar is redrawn."""
_GRACE = 3
"""Seconds that a worker has to end, before the pool kills it."""


class WorkerError(CtcError):
    """Worker processes do not come up."""


# --- in a worker ------------------------------------------------------------------------------------

_prepared: Run | None = None


def _begin_worker() -> None:
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, not when a network is done
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # stdout is the command's alone
    end_with_parent()


def _prepare(work: Work) -> None:
    """Load in a worker. Raises WorkerError with the reason."""
    global _prepared
    if _prepared is None:
        try:
            _prepared = work.prepare()
        except Exception as error:
            message, trace = explain(error)
            print(trace, end="", file=sys.stderr, flush=True)
            raise WorkerError(message) from None


def _attempt(work: Work, task: Task, batch: BatchOptions) -> Outcome:
    _prepare(work)

    def prepared() -> Run:
        assert _prepared is not None
        return _prepared

    return attempt(work, prepared, task, batch)


# --- in the command ---------------------------------------------------------------------------------


def outcomes(tasks: Sequence[Task], work: Work, batch: BatchOptions, jobs: int) -> Iterator[Outcome | None]:
    """Outcomes of tasks in ``jobs`` processes, none of which outlives the iterator.

    None comes once they are up, and now and then while nothing is new. Raises CtcError if they do not come up
    or cannot load.
    """
    waiting = deque(tasks)
    while (refused := _refused(work, waiting[0], batch)) is not None:
        yield refused  # no worker is started for what no worker is needed for
        waiting.popleft()
        if not waiting:
            return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass  # a closed standard stream: a pipe of the pool must not take its place
    os.close(descriptor)
    running: dict[Future[Outcome], Task] = {}
    with _pool(jobs, running.values()) as pool:
        _load(pool, work, jobs)
        yield None
        while waiting or running:
            with shielded():
                while waiting and len(running) < jobs:  # no more: what is begun is known then
                    task = waiting.popleft()
                    running[pool.schedule(_attempt, (work, task, batch))] = task
                done, _ = wait(running, _TICK, FIRST_COMPLETED)
                found = [_outcome(future, running[future]) for future in done]
                for future in done:
                    del running[future]
            yield from found
            if not found:
                yield None


def _refused(work: Work, task: Task, batch: BatchOptions) -> Outcome | None:
    """The outcome of a task of which nothing will come, None of others. Raises StdoutUnusable."""
    try:
        begin(work, task, batch)
    except Exception as error:
        return failure(error, task, batch)
    return None


@contextlib.contextmanager
def _pool(jobs: int, unfinished: Iterable[Task]) -> Iterator[ProcessPool]:
    """A pool that ends with the context. Unfinished outputs are removed then."""
    pool = ProcessPool(jobs, initializer=_begin_worker, context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        with shielded():
            pool.stop()
            workers = multiprocessing.active_children()
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join(_GRACE)  # one that is starting must not miss what the pool takes down
            pool.join()
            for task in unfinished:
                remove_partials_of(task, [worker.pid or 0 for worker in workers])


def _load(pool: ProcessPool, work: Work, jobs: int) -> None:
    """Start the workers, which load side by side, and see one of them done. Raises WorkerError."""
    try:
        with shielded(), _without_sigint():
            loading = [pool.schedule(_prepare, (work,)) for _ in range(jobs)]
        done: set[Future[None]] = set()
        while not done:
            with shielded():
                done, _ = wait(loading, _TICK, FIRST_COMPLETED)
        done.pop().result()
    except ProcessExpired as error:
        raise WorkerError(f"a worker process {_ending(error)} before it was ready") from None
    except BrokenProcessPool as error:
        reason = error.__cause__
        words = f": {reason.strerror}" if isinstance(reason, OSError) else ""
        raise WorkerError(f"no worker process can be started{words}") from None


@contextlib.contextmanager
def _without_sigint() -> Iterator[None]:
    """Processes and threads that are started in here never see ^C, not even while a Python comes up."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it unblocks signals when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _outcome(future: Future[Outcome], task: Task) -> Outcome:
    """The outcome of a finished future. Raises StdoutUnusable, WorkerError."""
    try:
        return future.result()
    except ProcessExpired as error:
        remove_partials_of(task, [error.pid or 0])
        return Outcome(task, error=f"its worker process {_ending(error)}")
    except BrokenProcessPool:
        raise WorkerError("the worker processes are gone") from None
    except WorkerError as error:  # one that came later could not load
        return Outcome(task, error=str(error))


def remove_partials_of(task: Task, workers: Iterable[int]) -> None:
    """Remove what processes that are gone may have left beside an output."""
    if task.target is not None and task.target != STREAM and not is_url(task.target):
        for worker in workers:
            remove_partials(os.path.dirname(os.path.realpath(task.target)), worker)


def _ending(error: ProcessExpired) -> str:
    code = error.exitcode
    if code is None or code >= 0:
        return f"ended with code {code}"
    return f"was killed by signal {-code}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
