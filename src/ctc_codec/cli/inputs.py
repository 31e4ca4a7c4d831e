"""Tasks of a command line: the files that its inputs name, and the names of their outputs."""

from __future__ import annotations

import functools
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from ..container import storage
from ..container.storage import is_url
from ..errors import OutputError
from ..image.formats import ImageSuffixes
from .files import STDOUT_NAMES, STREAM, existing_above, is_pipe, is_there, printable, reason
from .names import beside, inside, is_shard, member_url, path_in
from .options import BatchOptions

Suffixes = Callable[[], Container[str]]
_SHOWN = 3
"""Inputs of one output that are named."""


def image_suffixes() -> Container[str]:
    """Suffixes of what ``ctc encode`` takes from folders, in lower case."""
    return _IMAGE_SUFFIXES


_IMAGE_SUFFIXES = ImageSuffixes()


def ctc_suffixes() -> Container[str]:
    """The suffix of our own files."""
    return frozenset({".ctc"})


def check_name(output: str | None) -> None:
    """Raise UsageError for the name of an image as that of a .ctc file."""
    if output is not None and os.path.splitext(output)[1].lower().removeprefix(".") in _WORDS:
        raise click.UsageError(f"{printable(output)} is the name of an image: a .ctc file is written")


@dataclass(frozen=True, slots=True)
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
    left_out: suffixes of files in folders that no image has, "none" for files without.
    folder: the output folder, or None.
    """

    tasks: list[Task] = field(default_factory=list)
    skipped: list[Task] = field(default_factory=list)
    unusable: list[tuple[str, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    folder: str | None = None

    def leave_out(self, name: str, reason: str) -> None:
        """Note a name that gives no input."""
        self.unusable.append((name, reason))
        self.names.append(name)


def plan(inputs: tuple[str, ...], batch: BatchOptions, suffix: str | None, wanted: Suffixes) -> Plan:
    """Tasks for inputs: to files named by -o, in a folder, or beside them.

    suffix: of the outputs, in place of the inputs' own; None for a command that writes no files.
    wanted: suffixes of the files to take from folders.

    Raises UsageError where names do not fit together, or where no input has an output of its own.
    """
    if not inputs:  # an empty list
        return Plan()
    if batch.skip_existing and batch.force:
        raise click.UsageError("--skip-existing and --force exclude each other")
    if suffix is not None:
        _check_words(inputs[: len(inputs) - batch.listed], suffix, wanted)
    folders = _folders_of(inputs, batch.recursive)
    output = STREAM if batch.output in STDOUT_NAMES else batch.output
    into_folder = _is_folder(output) or (output is not None and (batch.into_folder or bool(batch.pack)))
    if suffix is not None and output is None and not batch.listed:
        _check_positional(inputs, suffix, wanted)
    if folders and output is not None and not into_folder:
        if output == STREAM or (not is_url(output) and os.path.exists(output)):
            raise click.UsageError("folders need -o with a folder (or none at all)")
        into_folder = True
    if output is not None and not into_folder and (len(inputs) > 1 or batch.listed):
        hint = "" if output == STREAM or os.path.exists(output) else f": -o {printable(output)}/ makes it"
        raise click.UsageError(f"several inputs need -o with a folder, or none at all{hint}")

    if output is not None and into_folder:
        _check_folder(output)
    replaced = None if batch.keep_suffix else wanted
    result = Plan(folder=output if into_folder else None)
    tasks: list[Task] = []
    if output is not None and not into_folder:
        tasks.append(Task(inputs[0], output))
        result.names.append(inputs[0])
    else:
        for source, relative in _expanded(inputs, batch, wanted, result):
            task = Task(source)
            if suffix is not None:
                own = beside(source) if result.folder is None else inside(result.folder, relative)
                task = _task(source, _renamed(own, suffix, replaced), result.folder, len(inputs))
            tasks.append(task)
            result.names.append(source)
    tasks = _without_collisions(tasks, result, keeps=batch.keep_suffix or wanted is ctc_suffixes)
    for task in tasks:
        if task.target == STREAM and batch.as_json:
            raise click.UsageError("--json writes to standard output: use -o FILE for the result")
        if batch.remove and any(name == STREAM or is_pipe(name) for name in (task.source, task.target or "")):
            raise click.UsageError(
                "--rm goes with files, not with standard input or output, pipes or devices"
            )
        if is_pipe(task.source) and task.target is not None and output is None:
            raise click.UsageError(f"{printable(task.source)} is a pipe: use -o FILE for it")
    for task in tasks:
        (result.skipped if batch.skip_existing and _is_done(task) else result.tasks).append(task)
    return result


_WORDS = {
    "avif", "bmp", "gif", "heic", "heif", "ico", "jp2", "jpeg", "jpg", "jxl", "png", "ppm", "psd", "tga",
    "tif", "tiff", "webp",
}  # fmt: skip
"""Names of usual image formats, and their suffixes."""


def _check_words(inputs: tuple[str, ...], suffix: str, wanted: Suffixes) -> None:
    """Raise UsageError for what is no file but was meant as the value of an option: ``-f png``, ``-q 80``."""
    decodes = wanted is ctc_suffixes and suffix not in (".ctc", ".html")
    for name in inputs:
        if (name in _WORDS or name.isdecimal()) and not os.path.exists(name):
            meant = "" if not decodes else " (--quality?)" if name.isdecimal() else " (--format?)"
            raise click.UsageError(f"{name} is no file{meant}")


def _check_positional(inputs: tuple[str, ...], suffix: str, wanted: Suffixes) -> None:
    """Raise UsageError for a second name that is meant as an output."""
    if len(inputs) != 2 or inputs[1] == STREAM or os.path.isdir(inputs[1]) or is_url(inputs[1]):
        return
    ending, missing = os.path.splitext(inputs[1])[1].lower(), not os.path.exists(inputs[1])
    foreign = ending not in wanted()
    image = wanted is ctc_suffixes and ending[1:] in _WORDS
    meant = foreign and ending and (ending == suffix or missing or image)
    if meant or (ending == suffix and missing):
        raise click.UsageError(f"{printable(inputs[1])}: an output goes after -o")


def _is_input_folder(name: str, recursive: bool) -> bool:
    """Whether an input is a folder; a store is asked only where folders are wanted. Raises UsageError."""
    if not is_url(name):
        return name != STREAM and os.path.isdir(name)
    try:
        return name.endswith("/") or (recursive and storage.is_folder(name))
    except OSError as error:
        raise click.UsageError(f"{printable(name)}: {reason(error)}") from None


def _is_folder(output: str | None) -> bool:
    if output is None or output == STREAM:
        return False
    if not output:
        raise click.UsageError("the name after -o is empty")
    return output.endswith(("/", os.sep)) or (not is_url(output) and os.path.isdir(output))


def _is_done(task: Task) -> bool:
    if task.target in (None, STREAM):
        return False
    try:
        return is_there(task.target)
    except OutputError as error:
        raise click.UsageError(str(error)) from None


def _folders_of(inputs: tuple[str, ...], recursive: bool) -> list[str]:
    """The inputs that are folders. Raises UsageError if they are not wanted, or stdin is read twice."""
    if inputs.count(STREAM) > 1:
        raise click.UsageError("standard input can be read only once")
    folders = [name for name in inputs if _is_input_folder(name, recursive)]
    if folders and not recursive:
        words = "is a folder (-r takes the files in it, -o writes into it)"
        raise click.UsageError(f"{printable(folders[0])}: {words}")
    return folders


def _expanded(
    inputs: tuple[str, ...], batch: BatchOptions, wanted: Suffixes, result: Plan
) -> Iterator[tuple[str, str]]:
    """Every file to read, and its name below an output folder; names that give none go to the plan."""
    listed, recursive = batch.listed, batch.recursive

    for number, name in enumerate(inputs):
        if wanted is ctc_suffixes and is_shard(name) and not os.path.isdir(name):
            yield from _members(name, "", result)
            continue
        if not _is_input_folder(name, recursive):
            yield name, _below(name) if number >= len(inputs) - listed else os.path.basename(path_in(name))
            continue

        def failed(error: OSError) -> None:
            result.leave_out(str(error.filename), reason(error))

        before, left_out = len(result.unusable), len(result.left_out)
        empty = True
        for source, relative in _walk(name, wanted, result, failed):
            empty = False
            yield source, relative
        if empty and len(result.unusable) == before:
            kind = "*.ctc file" if wanted is ctc_suffixes else "image (no file has the suffix of one)"
            result.leave_out(name, f"there is no {kind} in this folder")
            del result.left_out[left_out:]


def _below(name: str) -> str:
    """A name of a list as one below an output folder: with the folders that it names."""
    path = os.path.splitdrive(os.path.normpath(path_in(name)))[1]
    return os.sep.join(part for part in path.split(os.sep) if part not in ("", os.pardir)) or os.curdir


def _walk(
    folder: str, wanted: Suffixes, result: Plan, failed: Callable[[OSError], None]
) -> Iterator[tuple[str, str]]:
    """Files of these suffixes below a folder, and their paths relative to it: a folder's own files by name,
    then its folders by name. Of shards the members.

    Hidden files and folders are left out, and so are links to folders, of which a loop could be made, and the
    folder that the outputs go to. Links to files are followed.
    """
    suffixes = wanted()
    for relative in (_remote_files if is_url(folder) else _local_files)(folder, result, failed):
        suffix = os.path.splitext(relative)[1].lower()
        source = inside(folder, relative)
        if suffix in suffixes:
            yield source, relative
        elif wanted is ctc_suffixes and is_shard(relative):
            yield from _members(source, os.path.dirname(relative), result)
        elif wanted is image_suffixes and suffix != ".ctc":
            result.left_out.append(suffix or "none")


def _local_files(folder: str, result: Plan, failed: Callable[[OSError], None]) -> Iterator[str]:
    avoided = os.path.realpath(result.folder) if result.folder is not None else None
    for place, folders, files in os.walk(folder, onerror=failed):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) != avoided
        )
        for name in sorted(files):
            path = os.path.join(place, name)
            if not name.startswith(".") and _may_be_read(path):
                yield os.path.relpath(path, folder)


def _remote_files(folder: str, result: Plan, failed: Callable[[OSError], None]) -> Iterator[str]:
    avoided = storage.joined(result.folder, "") if result.folder is not None else None
    try:
        found = storage.sizes(folder)
    except OSError as error:
        error.filename = folder
        failed(error)
        return
    for relative in found:
        hidden = any(part.startswith(".") for part in relative.split("/"))
        if not hidden and (avoided is None or not storage.joined(folder, relative).startswith(avoided)):
            yield relative


def _members(shard: str, folder: str, result: Plan) -> Iterator[tuple[str, str]]:
    """The files in a shard as URLs, and their names below an output folder."""
    from ..container import shards

    try:
        for member in shards.members(shard):
            yield member_url(shard, member.name), os.path.join(folder, shards.relative_name(member.name))
    except OSError as error:
        result.leave_out(shard, reason(error))


def _may_be_read(path: str) -> bool:
    """False for pipes, devices and folders. (A link to nothing is tried, and fails with a reason.)"""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def _task(source: str, target: str, folder: str | None, count: int) -> Task:
    if source != STREAM:
        return Task(source, target, make_folder=folder is not None)
    if folder is not None or count > 1:
        raise click.UsageError("standard input has no name: use -o FILE for it, alone")
    return Task(source, STREAM)


def _renamed(name: str, suffix: str, replaced: Suffixes | None) -> str:
    """A name with a suffix more, or in place of one that is to be replaced."""
    path = name if is_url(name) else str(Path(name))
    if not os.path.basename(path):
        return path
    if replaced is not None:
        stem, old = os.path.splitext(path)
        path = stem if old.lower() in replaced() else path
        if replaced is ctc_suffixes and path.lower().endswith(suffix):
            return path  # photo.png of photo.png.ctc
    return path + suffix


# --- outputs of one name ----------------------------------------------------------------------------


def _without_collisions(tasks: list[Task], result: Plan, *, keeps: bool) -> list[Task]:
    """The tasks less those that share an output with another, which go to the plan; an input that is named
    twice is taken once. Raises UsageError if none is left.

    keeps: suffixes are kept already, or there is nothing in them.
    """
    dropped: set[int] = set()
    twice: Counter[str] = Counter()
    collided: list[list[Task]] = []
    for first, *more in _sharing(tasks):
        group = [first]
        for task in more:
            if _is_one_input(first, task):
                dropped.add(id(task))
                twice[task.source] += 1
            else:
                group.append(task)
        if len(group) > 1:
            collided.append(group)
            dropped.update(map(id, group))
    if twice:
        result.names[:] = _without(result.names, twice)
    left = [task for task in tasks if id(task) not in dropped]

    def hint(group: list[Task]) -> str:
        if len({os.path.basename(task.source) for task in group}) < len(group):
            return " (-r of the folder above keeps their folders, and so does --files-from)"
        return "" if keeps else " (--keep-suffix gives each a name of its own)"

    def words(group: list[Task]) -> str:
        shown = " and ".join(printable(task.source) for task in group[:_SHOWN])
        return shown + (" and others" if len(group) > _SHOWN else "")

    if collided and not left:
        target = printable(collided[0][0].target or "")
        raise click.UsageError(f"{words(collided[0])} would both be written to {target}{hint(collided[0])}")
    for group in collided:
        for task in group:
            others = [other for other in group[: _SHOWN + 2] if other is not task]
            text = f"left out: {words(others)} would be written to {printable(task.target or '')} too"
            result.unusable.append((task.source, text + (hint(group) if task is group[0] else "")))
    return left


def _without(names: list[str], counts: Counter[str]) -> Iterator[str]:
    """Names less the first so many of each."""
    for name in names:
        if counts[name]:
            counts[name] -= 1
        else:
            yield name


def _sharing(tasks: list[Task]) -> Iterator[list[Task]]:
    """Tasks of one output, two or more at a time."""
    real_folder = functools.cache(os.path.realpath)

    def real(target: str) -> str:
        if is_url(target):
            return target
        folder, name = os.path.split(target)
        path = os.path.join(real_folder(folder), name)
        return os.path.realpath(path) if os.path.islink(path) else path

    # Of millions of tasks, nearly all are alone: of these there is one number.
    first: dict[int, Task] = {}
    alike: dict[int, list[Task]] = {}
    for task in tasks:
        if task.target is not None and task.target != STREAM:
            folded = hash(_folded(real(task.target)))
            if first.setdefault(folded, task) is not task:
                alike.setdefault(folded, [first[folded]]).append(task)
    for together in alike.values():
        by_name: dict[str, dict[str, list[Task]]] = {}
        for task in together:
            name = real(task.target or "")
            by_name.setdefault(_folded(name), {}).setdefault(name, []).append(task)
        for spellings in by_name.values():
            groups, name = list(spellings.values()), next(iter(spellings))
            if len(groups) > 1 and not is_url(name) and _folds(os.path.dirname(name)):
                groups = [[task for group in groups for task in group]]
            yield from (group for group in groups if len(group) > 1)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _folds(folder: str) -> bool:
    """Whether names in a folder that differ only in upper and lower case are one."""
    import tempfile

    if not os.path.isdir(folder):
        folder = existing_above(folder)
    try:
        with tempfile.NamedTemporaryFile(prefix=".ctc-case-", dir=folder) as probe:
            return os.path.exists(os.path.join(folder, os.path.basename(probe.name).swapcase()))
    except OSError:
        return False


def _is_one_input(a: Task, b: Task) -> bool:
    try:
        return os.path.samefile(a.source, b.source)
    except OSError:
        return os.path.realpath(a.source) == os.path.realpath(b.source)


def _check_folder(folder: str) -> None:
    """Raise UsageError if an output folder cannot be made."""
    if is_url(folder):
        return
    place = os.path.abspath(folder)
    if not os.path.isdir(place if os.path.lexists(place) else existing_above(place)):
        raise click.UsageError(f"{printable(folder)}: not a directory")
