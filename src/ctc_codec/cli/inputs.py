"""Tasks of a command line: the files that its inputs name, and the names of their outputs."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from .files import STREAM, printable, reason
from .options import BatchOptions

_UNUSABLE = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow recognises, and does not read by itself: not meant when a folder is named."""
_BY_PLUGIN = {".heic", ".heif", ".hif", ".jxl"}
"""Suffixes of images that need a plugin. Without it they fail, rather than be left out without a word."""

Suffixes = Callable[[], frozenset[str]]


def image_suffixes() -> frozenset[str]:
    """Suffixes of what ``ctc encode`` takes from folders, in lower case."""
    from PIL import Image

    known = {s for s, kind in Image.registered_extensions().items() if kind in Image.OPEN.keys() - _UNUSABLE}
    return frozenset(known | _BY_PLUGIN) - {".ctc"}


def ctc_suffixes() -> frozenset[str]:
    """The suffix of our own files."""
    return frozenset({".ctc"})


@dataclass(frozen=True)
class Task:
    """An input and what it becomes.

    source: name of the input, ``-`` for standard input.
    target: name of the output, ``-`` for standard output; None where a command writes no file.
    make_folder: the folder of the output may be missing.
    """

    source: str
    target: str | None = None
    make_folder: bool = False


@dataclass
class Plan:
    """The tasks of a command line, and the inputs that give none.

    tasks: what is to be done, in order.
    skipped: what is done already.
    unusable: names that give no input, and why.
    names: of all of these, in order.
    folder: the output folder, or None.
    """

    tasks: list[Task] = field(default_factory=list)
    skipped: list[Task] = field(default_factory=list)
    unusable: list[tuple[str, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    folder: str | None = None

    def leave_out(self, name: str, reason: str) -> None:
        """Note a name that gives no input."""
        self.unusable.append((name, reason))
        self.names.append(name)


def plan(inputs: tuple[str, ...], batch: BatchOptions, suffix: str | None, wanted: Suffixes) -> Plan:
    """Tasks for inputs: to files named by -o, in a folder, or beside them.

    suffix: of the outputs, in place of the inputs' own; None for a command that writes no files.
    wanted: suffixes of the files to take from folders.

    Raises UsageError where names do not fit together or two inputs would be written to one file.
    """
    if batch.skip_existing and batch.force:
        raise click.UsageError("--skip-existing and --force exclude each other")
    folders = _folders_of(inputs, batch.recursive)
    output = STREAM if batch.output == "/dev/stdout" else batch.output
    into_folder = _is_folder(output)
    if folders and output is not None and not into_folder:
        if output == STREAM or os.path.exists(output):
            raise click.UsageError("folders need -o with a folder (or none at all)")
        into_folder = True
    if output is not None and not into_folder and len(inputs) > 1:
        raise click.UsageError("several inputs need -o with a folder (or none at all)")

    result = Plan(folder=output if into_folder else None)
    tasks: list[Task] = []
    if output is not None and not into_folder:
        tasks.append(Task(inputs[0], output))
        result.names.append(inputs[0])
    else:
        for source, relative in _expanded(inputs, wanted, result):
            task = Task(source)
            if suffix is not None:
                task = _task(source, relative, suffix, result.folder, len(inputs))
            tasks.append(task)
            result.names.append(source)
    _check_collisions(tasks)
    if batch.as_json and any(task.target == STREAM for task in tasks):
        raise click.UsageError("--json writes to standard output: use -o FILE for the result")
    for task in tasks:
        (result.skipped if batch.skip_existing and _is_done(task) else result.tasks).append(task)
    return result


def _is_folder(output: str | None) -> bool:
    if output is None or output == STREAM:
        return False
    if not output:
        raise click.UsageError("the name after -o is empty")
    return output.endswith(("/", os.sep)) or os.path.isdir(output)


def _is_done(task: Task) -> bool:
    target = task.target
    return target not in (None, STREAM) and os.path.exists(target) and not os.path.isdir(target)


def _folders_of(inputs: tuple[str, ...], recursive: bool) -> list[str]:
    """The inputs that are folders. Raises UsageError if they are not wanted, or stdin is read twice."""
    if inputs.count(STREAM) > 1:
        raise click.UsageError("standard input can be read only once")
    folders = [name for name in inputs if name != STREAM and os.path.isdir(name)]
    if folders and not recursive:
        raise click.UsageError(f"{printable(folders[0])}: is a folder (use -r to take the files in it)")
    return folders


def _expanded(inputs: tuple[str, ...], wanted: Suffixes, result: Plan) -> Iterator[tuple[str, str]]:
    """Every file to read, and its name below an output folder; names that give none go to the plan."""
    for name in inputs:
        if name == STREAM or not os.path.isdir(name):
            yield name, Path(name).name
            continue

        def failed(error: OSError) -> None:
            result.leave_out(str(error.filename), reason(error))

        before = len(result.unusable)
        empty = True
        for relative in _walk(name, wanted(), result.folder, failed):
            empty = False
            yield os.path.join(name, relative), relative
        if empty and len(result.unusable) == before:
            kind = "*.ctc file" if wanted is ctc_suffixes else "image (no file has the suffix of one)"
            result.leave_out(name, f"there is no {kind} in this folder")


def _walk(
    folder: str, suffixes: frozenset[str], output: str | None, failed: Callable[[OSError], None]
) -> Iterator[str]:
    """Files of these suffixes below a folder, as paths relative to it: a folder's own files by name, then its
    folders by name.

    Hidden files and folders are left out, and so are links to folders, of which a loop could be made, and the
    folder that the outputs go to. Links to files are followed.
    """
    avoided = os.path.realpath(output) if output is not None else None
    for place, folders, files in os.walk(folder, onerror=failed):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) != avoided
        )
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                path = os.path.join(place, name)
                if _may_be_read(path):
                    yield os.path.relpath(path, folder)


def _may_be_read(path: str) -> bool:
    """False for pipes, devices and folders. (A link to nothing is tried, and fails with a reason.)"""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def _task(source: str, relative: str, suffix: str, folder: str | None, count: int) -> Task:
    if source == STREAM:
        if folder is not None or count > 1:
            raise click.UsageError("standard input has no name: use -o FILE for it, alone")
        return Task(source, STREAM)
    if folder is None:
        path = Path(source)
        return Task(source, str(path.with_suffix(suffix) if path.name else path))
    path = Path(folder, relative)
    return Task(source, str(path.with_suffix(suffix) if relative else path), make_folder=True)


def _check_collisions(tasks: list[Task]) -> None:
    """Raise UsageError if two tasks have one output."""
    known: dict[str, Task] = {}
    for task in tasks:
        if task.target is None:
            continue
        other = known.setdefault(os.path.abspath(task.target), task)
        if other is not task:
            both = f"{printable(other.source)} and {printable(task.source)}"
            raise click.UsageError(f"{both} would both be written to {printable(task.target)}")


def make_folder(folder: str | None) -> None:
    """Make the output folder. Raises UsageError if that cannot be."""
    if folder is not None:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            words = "not a directory" if isinstance(error, FileExistsError) else reason(error)
            raise click.UsageError(f"{printable(folder)}: {words}") from None
