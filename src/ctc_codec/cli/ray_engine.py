"""Actors of a Ray cluster in the place of worker processes (``--engine ray``).

Each loads the model once, and has two calls at a time, so that it never waits for the next. A call is a chunk
of tasks, as many as take about half a second. What a lost actor had is given to others, one task a call, so
that a task that kills actors is found out: it fails alone, after three of them.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import socket
import sys
import tempfile
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .. import __version__
from ..codec.processes import cores
from ..errors import WeightsError
from . import signals
from .files import read_input
from .inputs import Task
from .options import BatchOptions
from .signals import shielded
from .work import Outcome, Run, Work, attempt, explain, internal_error
from .workers import WorkerError, remove_partials_of

_TICK = 0.1
"""Seconds after which it is seen whether a signal came, or the bar is redrawn."""
_CHUNK_SECONDS = 0.5
_LONGEST_CHUNK = 64
_CALLS = 2
"""Chunks that an actor has at a time."""
_TRIES = 3
"""Actors that a task may lose, alone in its call, and times that an actor may be lost before it is up."""
_GRACE = 3
"""Seconds that actors have to end."""
_CONNECT_SECONDS = 10
_PATIENCE = 20
"""Seconds until it is said that no actor is up."""
_STORE_BYTES = 200_000_000
"""Shared memory of a cluster that is made here: outputs for shards pass through it, nothing else."""

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_NUM_REDIS_GET_RETRIES": "2",
}
"""Without these Ray reports home, speaks to programmers on stderr, and looks for a cluster for minutes."""


# --- in an actor ------------------------------------------------------------------------------------


class _Actor:
    """Works on tasks, with the model loaded once."""

    def load(
        self, folder: str, work: Work, batch: BatchOptions, weights: bytes | None
    ) -> tuple[str, int, str | None]:
        """Load what is needed. Returns this package's version, this process's number, and why it cannot work.

        folder: that relative names are in, if this machine has it.
        weights: a file's content from the command's machine.
        """
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        with contextlib.suppress(OSError):
            os.chdir(folder)
        self._work, self._batch = work, batch
        error = None
        try:
            self._run: Run = work.prepare() if weights is None else _prepared_with(work, weights)
        except Exception as reason:
            error = explain(reason)[0]
        return __version__, os.getpid(), error

    def run(self, tasks: Sequence[Task]) -> list[Outcome]:
        """The outcomes of a chunk."""
        return [attempt(self._work, lambda: self._run, task, self._batch) for task in tasks]


def _prepared_with(work: Work, weights: bytes) -> Run:
    """What works on a file, with weights from the command's machine."""
    with tempfile.NamedTemporaryFile(prefix="ctc-", suffix=".safetensors") as file:
        file.write(weights)
        file.flush()
        try:
            return replace(work, compute=replace(work.compute, weights=file.name)).prepare()
        except WeightsError as error:
            raise WeightsError(str(error).replace(file.name, str(work.compute.weights))) from None


# --- in the command ---------------------------------------------------------------------------------


@dataclass
class _Worker:
    """An actor, seen from here.

    loading: the call that tells whether it is up, None once it is.
    calls: the chunks that it has.
    alone: they are one task, of an actor that was lost.
    process: its number, while it is up.
    losses: since it was last up.
    """

    actor: Any
    loading: Any
    calls: dict[Any, list[Task]] = field(default_factory=dict)
    alone: bool = False
    process: int = 0
    losses: int = 0


def outcomes(
    tasks: Sequence[Task], work: Work, batch: BatchOptions, tell: Callable[[str], None]
) -> Iterator[Outcome | None]:
    """Outcomes of tasks in actors, none of which outlives the iterator; None now and then while nothing is
    new.

    tell: takes words about the cluster.

    Raises WorkerError if there is no Ray, no cluster, or no actor that can work.
    """
    weights = None
    if work.compute.weights is not None:
        weights = read_input(work.compute.weights)
    with _only_data_on_stdout():
        ray = _connected(batch)
        try:
            engine = _Engine(ray, work, batch, weights, tell)
            try:
                yield from engine.outcomes(tasks)
            finally:
                with shielded():
                    engine.end()
        finally:
            with shielded():
                ray.shutdown()


class _DataOnly:
    """Standard output without its text layer."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _only_data_on_stdout() -> Iterator[None]:
    """Drop what Ray prints there of lost processes, as no setting keeps it from doing."""
    before = sys.stdout
    if before is not None:
        sys.stdout = _DataOnly(before)
    try:
        yield
    finally:
        sys.stdout = before


def _connected(batch: BatchOptions) -> Any:
    """The module ray, connected to a cluster. Raises WorkerError."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise WorkerError("--engine ray needs pip install 'ctc-codec[ray]'") from None
    address = batch.address or os.environ.get("RAY_ADDRESS") or "local"
    _check_reachable(address)
    options: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    if address == "local":
        options |= {
            "num_cpus": cores(),
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
        }
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with shielded():
            ray.init(address, **options)
    except SystemExit:  # what Ray makes of SIGTERM until the handlers are ours again
        raise signals.Interrupted(signal.SIGTERM) from None
    except Exception as error:
        signals.check()
        words = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        hint = " (has it a token? RAY_AUTH_MODE=token)" if "Failed to connect" in words else ""
        raise WorkerError(f"no Ray cluster at {address}: {words.strip()}{hint}") from None
    finally:
        for number, handler in handlers.items():  # of which it takes one
            signal.signal(number, handler)
    return ray


def _check_reachable(address: str) -> None:
    """Raise WorkerError for a HOST:PORT where nothing listens: Ray would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise WorkerError(f"no Ray cluster at {address}: {error}") from None


class _Engine:
    """The actors, and which of them has what."""

    def __init__(
        self, ray: Any, work: Work, batch: BatchOptions, weights: bytes | None, tell: Callable[[str], None]
    ) -> None:
        self._ray = ray
        self._tell = tell
        self._threads = work.compute.threads or 1
        total = ray.cluster_resources().get("CPU", 1)
        count = batch.jobs or max(int(total) // self._threads, 1)
        self._cpus = _cpus_of_each(count, self._threads, total)
        kind = ray.remote(num_cpus=self._cpus, max_restarts=-1, max_task_retries=0)(_Actor)
        self._given = os.getcwd(), work.limited(self._threads), batch, weights
        actors = [kind.remote() for _ in range(count)]
        self._workers = [_Worker(actor, self._load(actor)) for actor in actors]
        self._suspects: deque[Task] = deque()
        self._losses: Counter[Task] = Counter()
        self._chunk = 1
        self._down_since: float | None = time.monotonic()

    def _load(self, actor: Any) -> Any:
        return actor.load.remote(*self._given)

    def outcomes(self, tasks: Sequence[Task]) -> Iterator[Outcome | None]:
        """See the function of this name."""
        waiting = deque(tasks)
        while waiting or self._suspects or any(worker.calls for worker in self._workers):
            with shielded():
                for worker in self._workers:
                    self._hand_out(worker, waiting)
                found = self._collected()
            yield from found
            if not found:
                self._see_whether_any_is_up()
                yield None

    def _hand_out(self, worker: _Worker, waiting: deque[Task]) -> None:
        """Give a worker what it can take now."""
        if worker.loading is not None:
            return
        if self._suspects:  # the others end what they have, until these are done
            if not worker.calls:
                worker.alone = True
                self._call(worker, [self._suspects.popleft()])
            return
        while waiting and len(worker.calls) < (_CALLS if not worker.alone else 0):
            count = min(self._chunk, len(waiting) // (_CALLS * len(self._workers)) + 1)
            self._call(worker, [waiting.popleft() for _ in range(count)])

    def _call(self, worker: _Worker, chunk: list[Task]) -> None:
        worker.calls[worker.actor.run.remote(chunk)] = chunk

    def _collected(self) -> list[Outcome]:
        """What is new after a tick, or sooner."""
        at_work = {ref: worker for worker in self._workers for ref in worker.calls}
        loading = {worker.loading: worker for worker in self._workers if worker.loading is not None}
        pending = [*at_work, *loading]
        ready, _ = self._ray.wait(pending, timeout=_TICK)
        if ready:
            ready, _ = self._ray.wait(pending, num_returns=len(pending), timeout=0)
        found: list[Outcome] = []
        for ref in ready:
            if ref in loading:
                self._see_loaded(loading[ref])
            else:
                found += self._finished(at_work[ref], ref)
        return found

    def _see_loaded(self, worker: _Worker) -> None:
        """Take a worker that is up. Raises WorkerError if it was the last one and cannot work."""
        try:
            version, worker.process, error = self._ray.get(worker.loading)
        except self._ray.exceptions.RayError as lost:
            worker.losses += 1
            if worker.losses < _TRIES:
                worker.loading = self._load(worker.actor)
                return
            version, error = __version__, _first_line(lost)
        if error is None and version != __version__:
            error = f"there is ctc-codec {version}, here {__version__}"
        worker.loading = None
        worker.losses = 0
        if error is None:
            return
        self._workers.remove(worker)
        self._suspects.extend(task for chunk in worker.calls.values() for task in chunk)
        worker.calls.clear()
        self._ray.kill(worker.actor)
        if not self._workers:
            raise WorkerError(error)
        self._tell(f"an actor cannot work: {error}")

    def _finished(self, worker: _Worker, ref: Any) -> list[Outcome]:
        """The outcomes of a call, none if its actor was lost."""
        if ref not in worker.calls:
            return []  # of an actor that was just given up
        chunk = worker.calls.pop(ref)
        alone, worker.alone = worker.alone, False
        try:
            found: list[Outcome] = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            return [Outcome(task, error=internal_error(error)) for task in chunk]
        except self._ray.exceptions.RayError:
            return self._lost(worker, chunk, alone)
        seconds = sum(outcome.seconds for outcome in found)
        if seconds > _CHUNK_SECONDS:
            self._chunk = max(self._chunk // 2, 1)
        elif seconds < _CHUNK_SECONDS / 2 and len(chunk) == self._chunk:
            self._chunk = min(self._chunk * 2, _LONGEST_CHUNK)
        return found

    def _lost(self, worker: _Worker, chunk: list[Task], alone: bool) -> list[Outcome]:
        """What a lost actor had goes to others, unless it has lost too many."""
        for task in chunk:
            remove_partials_of(task, [worker.process])
        if worker.loading is None:
            worker.loading = self._load(worker.actor)
            self._tell("an actor was lost: what it had is done again")
        failed = []
        for task in chunk:
            self._losses[task] += alone
            if self._losses[task] < _TRIES:
                self._suspects.append(task)
            else:
                words = f"{_TRIES} actors were lost with it (out of memory?)"
                failed.append(Outcome(task, error=words))
        return failed

    def _see_whether_any_is_up(self) -> None:
        """Tell that a cluster seems to have no room."""
        if any(worker.loading is None for worker in self._workers):
            self._down_since = None
        elif self._down_since is None:
            self._down_since = time.monotonic()
        elif time.monotonic() - self._down_since > _PATIENCE:
            self._down_since = math.inf  # said once an outage
            free = self._ray.available_resources().get("CPU", 0)
            self._tell(f"no actor is up: each takes {self._cpus:g} CPUs of {free:g} that are free")

    def end(self) -> None:
        """End the actors, and remove what they have not finished."""
        calls = [ref for worker in self._workers for ref in worker.calls]
        with contextlib.suppress(Exception):
            for worker in self._workers:
                self._ray.kill(worker.actor)
            if calls:
                self._ray.wait(calls, num_returns=len(calls), timeout=_GRACE)
        for worker in self._workers:
            for task in (task for chunk in worker.calls.values() for task in chunk):
                remove_partials_of(task, [worker.process])


def _cpus_of_each(count: int, threads: int, total: float) -> float:
    """CPUs that Ray is to keep for an actor: those of its threads, or where a cluster has not so many, what
    lets all actors in. Ray takes whole ones, or a fraction of one."""
    if count * threads <= total:
        return threads
    share = total / count
    return math.floor(share) if share >= 1 else math.floor(share * 100) / 100 or 0.01


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
