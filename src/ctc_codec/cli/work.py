"""The work on one input that all commands have in common. Its records travel to processes."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from .. import __version__
from ..container.file import info
from ..container.quality_table import EXACT
from ..errors import CtcError, WeightsError
from . import signals
from .files import (
    STREAM,
    Origin,
    OutputExists,
    StdoutUnusable,
    check_not_input,
    check_output,
    is_one_file,
    is_pipe,
    printable,
    read_ctc,
    reason,
    remove_input,
    write_output,
)
from .inputs import Task
from .options import BatchOptions, ComputeOptions


@dataclass(frozen=True)
class Result:
    """The result of one input.

    line: for people.
    facts: the same for JSON.
    output: bytes to write to the task's target, or None.
    text: for standard output, where that is what the command is for.
    nbytes: length of the .ctc file that was written or read.
    pixels: of its picture.
    detail: what --verbose adds.
    error: why the input is not accepted, although all of this could be told.
    kept: why the input is not to be removed, although its output could be written.
    later: gives more facts once the output is written; its time does not count.
    """

    line: str
    facts: dict[str, Any]
    output: bytes | None = None
    text: str | None = None
    nbytes: int = 0
    pixels: int = 0
    detail: str = ""
    error: str | None = None
    kept: str | None = None
    later: Callable[[], dict[str, Any]] | None = None

    @classmethod
    def of_file(cls, data: bytes, *, size: tuple[int, int] | None = None, **more: Any) -> Result:
        """Result of a .ctc file that was written or read.

        size: width and height of the picture, None for the file's.
        more: further fields.
        """
        found = info(data)
        width, height = size or (found.header.width, found.header.height)
        facts = {
            "bytes": len(data),
            "bpp": round(found.bpp, 5),
            "width": width,
            "height": height,
            "psnr": rounded(found.psnr),
        }
        line = f"{width}x{height}, {len(data)} bytes, {found.bpp:.4f} bpp"
        return cls(line, facts, nbytes=len(data), pixels=width * height, **more)


def rounded(psnr: float | None) -> float | None:
    """PSNR in dB for JSON, which knows no infinity: None, also for what a quality table calls exact."""
    return round(psnr, 3) if psnr is not None and psnr < EXACT else None


Tell = Callable[[str], None]
"""Takes more words about an input: ``note: ...``, or ``warning: ...``, which is never silenced."""
Run = Callable[[bytes, Task, Tell], Result]


@dataclass(frozen=True, kw_only=True)
class Work:
    """A command with its options.

    streams: the command reads and writes by itself, while bytes arrive.
    in_place: an output may replace its own input.
    """

    streams: ClassVar[bool] = False
    in_place: ClassVar[bool] = False
    compute: ComputeOptions = field(default_factory=ComputeOptions)

    @property
    def bytes_per_pixel(self) -> int:
        """Memory that the work on a picture takes, by its pixels; 0 for work on bytes alone."""
        return 0

    @property
    def job(self) -> str:
        """What it makes of inputs, in one line: the command and all options that outputs depend on.

        Raises WeightsError.
        """
        import hashlib

        names = [each.name for each in fields(self) if each.name not in ("batch", "compute")]
        options = {name: getattr(self, name) for name in names}
        weights = "built in"
        if self.compute.weights is not None:
            try:
                weights = hashlib.sha256(Path(self.compute.weights).read_bytes()).hexdigest()
            except OSError as error:
                raise WeightsError(f"{printable(self.compute.weights)}: {reason(error)}") from None
        command = type(self).__name__.removesuffix("Work").lower()
        return f"{command} {options}, weights {weights}, ctc-codec {__version__}"

    def limited(self, threads: int) -> Self:
        """The same with so many threads."""
        return replace(self, compute=replace(self.compute, threads=threads))

    def first_output(self, task: Task) -> str | None:
        """The name of the first file that is written."""
        return task.target

    def read(self, task: Task) -> bytes:
        """The bytes of a .ctc file to work on: all of them. Raises CtcError where it can be told from them
        that nothing will come of it."""
        return read_ctc(task.source)

    def look(self, data: bytes) -> None:
        """Look at the bytes that were read with what takes time to load. Raises CtcError where it can be told
        from them that nothing will come of it."""

    def prepare(self) -> Run:
        """Load what is needed in this process, and return what works on a file. Raises CtcError."""
        raise NotImplementedError


@dataclass(frozen=True)
class Outcome:
    """The outcome of a task: a result, or an error, or neither if its output exists already.

    error: why there is no result, in one line.
    notes: see Tell.
    trace: where an internal error came from.
    sha256, read_bytes: of what was read of the input, for a record.
    seconds: that it took.
    """

    task: Task
    result: Result | None = None
    error: str | None = None
    notes: Sequence[str] = ()
    trace: str = ""
    sha256: str | None = None
    read_bytes: int | None = None
    seconds: float = field(default=0.0, compare=False)


Prepare = Callable[[], Run]


def begin(work: Work, task: Task, batch: BatchOptions) -> bytes:
    """Read an input and look whether its output can be written: all that needs no model. Raises CtcError."""
    data = _read(work, task, batch)
    work.look(data)
    return data


def _read(work: Work, task: Task, batch: BatchOptions) -> bytes:
    if task.source == STREAM or is_pipe(task.source):  # which may take long
        check_task(work, task, batch)
        data = b"" if work.streams else work.read(task)
    else:
        data = work.read(task)
        check_task(work, task, batch)
    return data


def check_task(work: Work, task: Task, batch: BatchOptions) -> None:
    """Raise OutputError if the output of a task cannot be written."""
    target = None if batch.pack else work.first_output(task)
    if target is not None:
        check_output(target, batch.force, task.make_folder)
        if not work.in_place:
            check_not_input(task.source, target)


def attempt(work: Work, prepare: Prepare, task: Task, batch: BatchOptions) -> Outcome:
    """Work on an input, whatever comes of it. Raises StdoutUnusable, Interrupted, and as ``prepare``."""
    notes: list[str] = []
    started = time.perf_counter()
    known: dict[str, Any] = {"notes": notes}
    try:
        data = _read(work, task, batch)
        if batch.record is not None:
            import hashlib

            known |= {"sha256": hashlib.sha256(data).hexdigest(), "read_bytes": len(data)}
        work.look(data)
    except Exception as error:
        return replace(failure(error, task, batch), seconds=time.perf_counter() - started, **known)
    reading = time.perf_counter() - started
    run = prepare()
    started = time.perf_counter() - reading
    try:
        result = run(data, task, notes.append)
        if task.target is not None and result.output is not None and not batch.pack:
            origin = Origin(task.source, batch.preserve)
            write_output(task.target, result.output, batch.force, task.make_folder, origin)
        seconds = time.perf_counter() - started
        facts = result.facts if result.later is None else result.facts | result.later()
        if batch.remove and result.kept is not None and not is_one_file(task.source, task.target):
            notes.append(f"warning: the input is not removed: {result.kept}")
        elif batch.remove and result.error is None and batch.record is None:  # else once its row is there
            remove_input(task.source, task.target)
        result = replace(result, facts=facts, output=result.output if batch.pack else None, later=None)
        return Outcome(task, result, seconds=seconds, **known)
    except Exception as error:
        return replace(failure(error, task, batch), seconds=time.perf_counter() - started, **known)


def failure(error: Exception, task: Task, batch: BatchOptions, notes: Sequence[str] = ()) -> Outcome:
    """The outcome of a task that failed. Raises StdoutUnusable, and Interrupted."""
    if isinstance(error, OutputExists):  # since the plan was made, or without --skip-existing
        return Outcome(task, error=None if batch.skip_existing else str(error), notes=notes)
    message, trace = explain(error)
    return Outcome(task, error=message, notes=notes, trace=trace)


def explain(error: Exception) -> tuple[str, str]:
    """An error as one line, and the traceback of a bug. Raises StdoutUnusable, and Interrupted."""
    signals.check()  # libraries make other exceptions of an interrupt
    if isinstance(error, StdoutUnusable):
        raise error  # the other inputs cannot do better
    if isinstance(error, CtcError):
        return str(error), ""
    if out_of_memory(error):
        return "not enough memory", ""
    return internal_error(error), traceback.format_exc()


def out_of_memory(error: Exception) -> bool:
    """Whether there was too little of it, in the words of Python, onnxruntime, or the loader of libraries."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or "allocate memory" in text
        or "bad_alloc" in text
        or "bad allocation" in text
        or "failed to map segment from shared object" in text
        or "can't start new thread" in text
    )


def internal_error(error: Exception) -> str:
    """One line about a bug."""
    return " ".join(f"internal error, please report it: {type(error).__name__}: {error}".split())
