"""A plan with a record: what is still to be done, and where what is done is kept."""

from __future__ import annotations

import os
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from ..container.storage import is_url
from ..errors import OutputError
from .files import STREAM, Sizes, is_pipe, is_there, printable, reason, remove_input
from .inputs import Plan, Task
from .names import inside
from .options import BatchOptions
from .signals import shielded
from .work import Outcome, Work

if TYPE_CHECKING:
    from .pack import Packer
    from .record import Record, Row


class Job:
    """The tasks of a plan that are to be done, and what becomes of them.

    tasks: in order.
    done: in an earlier run.
    refused: their outputs were there before.
    batch: the options that they are done with.
    """

    def __init__(self, plan: Plan, work: Work, batch: BatchOptions) -> None:
        """Raises UsageError where options do not fit together, RecordError, OutputError."""
        _check(plan, batch)
        self.tasks, self.batch = plan.tasks, batch
        self.done: list[Task] = []
        self.refused: list[Task] = []
        self._record: Record | None = None
        self._packer: Packer | None = None
        path = _record_path(plan, work, batch) if plan.names else None
        if path is None:
            return
        from .record import Record

        self._sizes = Sizes(plan.folder)
        self._record = Record(path, _job(work, batch))
        try:
            self._sort(plan, batch)
        except BaseException:
            self.close()
            raise

    def _sort(self, plan: Plan, batch: BatchOptions) -> None:
        assert self._record is not None
        tasks = plan.tasks
        is_whole = self._is_whole
        if batch.pack:
            from .pack import Packer

            assert plan.folder is not None
            tasks = [replace(task, target=_relative(task, plan.folder)) for task in tasks]
            self._packer = Packer(plan.folder, self._record, batch.shard_bytes)
            is_whole = self._packer.is_whole
        found = self._record.sort(tasks, is_whole, self._was_there)
        self.tasks, self.done, self.refused = found.waiting, found.done, found.refused
        # What is there now under the name of one of these comes of an earlier run of this job.
        self.batch = replace(batch, record=self._record.path, force=True, skip_existing=False)

    def _was_there(self, task: Task) -> bool:
        if self.batch.force or self._packer is not None or task.target is None:
            return False
        size = self._sizes.of(task.target)
        return is_there(task.target) if size is None else size >= 0

    def _is_whole(self, row: Row) -> bool:
        size = self._sizes.of(row.target)
        if size is None:
            return is_there(row.target)
        return size == row.nbytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of its files."""
        if self._packer is not None:
            self._packer.close()
        if self._record is not None:
            self._record.close()

    def finish(self, outcome: Outcome) -> Outcome:
        """Note an outcome, keep what it wants kept, and return it without that. Raises CtcError."""
        if self._record is None:
            return outcome
        with shielded():
            place: tuple[int, int] | tuple[()] = ()
            result = outcome.result
            if self._packer is not None and result is not None and result.output is not None:
                place = self._packer.add(outcome.task.target or "", result.output)
                outcome = replace(outcome, result=replace(result, output=None))
            self._record.finish(outcome, *place)
            if self._packer is not None:
                self._packer.publish_long()
            if self.batch.remove:
                outcome = self._without_input(outcome)
        return outcome

    def _without_input(self, outcome: Outcome) -> Outcome:
        """Remove an input, after its row says so: else a run that goes on would miss it."""
        task, result = outcome.task, outcome.result
        try:
            if result is not None and result.error is None and result.kept is None:
                remove_input(task.source, task.target)
        except OutputError as error:
            return replace(outcome, result=None, error=str(error))
        return outcome

    def end(self) -> None:
        """All is done that can be. Raises OutputError."""
        if self._packer is not None:
            with shielded():
                self._packer.publish()


def _check(plan: Plan, batch: BatchOptions) -> None:
    """Raise UsageError where options do not fit together."""
    if batch.pack and plan.folder is None and plan.names:
        raise click.UsageError("--pack needs -o with a folder")
    if batch.pack and (batch.remove or batch.preserve):
        raise click.UsageError("--pack keeps inputs, and no times: --rm and --preserve do not go with it")
    if batch.address is not None and batch.engine != "ray":
        raise click.UsageError("--address is of a Ray cluster: --engine ray")
    elsewhere = batch.engine == "ray" or (batch.jobs or 1) > 1
    recorded = batch.engine == "ray" or batch.record is not None or batch.pack
    for task in plan.tasks if recorded or elsewhere else ():
        names = (task.source, task.target or "")
        if recorded and any(name == STREAM or is_pipe(name) for name in names):
            raise click.UsageError("--engine, --record and --pack go with files, not with pipes")
        if elsewhere and any(name.startswith("memory://") for name in names):
            raise click.UsageError("memory:// is of this process alone: --jobs 1")


def _job(work: Work, batch: BatchOptions) -> str:
    """The job of a record in one line. Raises WeightsError."""
    return work.job + (f", {batch.pack}" if batch.pack else "")


def _record_path(plan: Plan, work: Work, batch: BatchOptions) -> str | None:
    """Where the record is, None without one. Raises UsageError, OutputError."""
    if batch.record is not None:
        if is_url(batch.record):
            raise click.UsageError(f"{printable(batch.record)}: a record is a file on a disk of this machine")
        return batch.record
    if batch.engine != "ray" and not batch.pack:
        return None
    if plan.folder is not None and not is_url(plan.folder):
        try:
            os.makedirs(plan.folder, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{printable(plan.folder)}: {reason(error)}") from None
        return os.path.join(plan.folder, ".ctc-job.sqlite")
    import hashlib

    digest = hashlib.sha256(os.fsencode(f"{_job(work, batch)} {plan.folder}")).hexdigest()
    return f"ctc-job-{digest[:8]}.sqlite"


def _relative(task: Task, folder: str) -> str:
    """The name of an output below the folder."""
    assert task.target is not None
    if is_url(folder):
        return task.target.removeprefix(inside(folder, ""))
    return os.path.relpath(task.target, folder).replace(os.sep, "/")
