"""Reading inputs and writing outputs for the command line: stdin and stdout, whole files or none.

While an output is written it has no name, or, where that cannot be, one of its own, ``.ctc-TAG.partial``, in
the folder of its target. It gets that one for a moment in any case.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
import threading
from pathlib import Path

from ..errors import InputError, OutputError
from . import signals as _signals
from .unnamed import fill, write_unnamed

STREAM = "-"

writing = threading.Lock()
"""Held while a file has its partial name: who ends this process from another thread waits for it."""

_tag = ""
"""Begins the partial names of this process: who kills it knows what it may have left."""


class StdoutGone(OutputError):
    """Standard output takes no more: nothing that is still to be written there can succeed."""


class OutputExists(OutputError):
    """There is such a file already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{printable(name)}: exists already (use -f to overwrite)")


def printable(name: str) -> str:
    """A file name for a one-line message."""
    if name == STREAM:
        return "standard input"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def read_input(name: str) -> bytes:
    """All bytes of a file, or of stdin for ``-``. Raises InputError."""
    try:
        if name != STREAM:
            return Path(name).read_bytes()
        if sys.stdin is None:
            raise InputError("it is closed")
        return sys.stdin.buffer.read()
    except OSError as error:
        raise InputError(_reason(error)) from None


def is_pipe(name: str) -> bool:
    """Whether a name is there and no regular file, but a pipe or a device."""
    with contextlib.suppress(OSError):
        return not stat.S_ISREG(os.stat(name).st_mode)
    return False


def check_output(name: str, force: bool, make_folder: bool = False) -> None:
    """Raise OutputError early if :func:`write_output` is going to refuse."""
    if name == STREAM:
        if sys.stdout is not None and sys.stdout.isatty() and not force:
            raise StdoutGone("binary data is not written to a terminal (use -o FILE, or -f)")
        return
    if os.path.isdir(name):
        raise OutputError(f"{printable(name)}: is a directory")
    if os.path.isfile(name) and not force:
        raise OutputExists(name)
    if not make_folder and not os.path.isdir(os.path.dirname(os.path.abspath(name))):
        raise OutputError(f"{printable(name)}: no such directory")


def drop_stdout() -> None:
    """Give Python, which flushes stdout once more at exit, a place where that works."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_stdout(data: bytes) -> None:
    """Write to stdout and flush. Raises StdoutGone."""
    if sys.stdout is None:
        raise StdoutGone("standard output is closed")
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        drop_stdout()
        raise StdoutGone("broken pipe: the reader of standard output is gone") from None
    except OSError as error:
        drop_stdout()
        raise StdoutGone(f"standard output: {_reason(error)}") from None


def write_output(name: str, data: bytes, force: bool, make_folder: bool = False) -> None:
    """Write a whole file or nothing; ``-`` is stdout.

    The bytes go to a temporary file beside the target, which is then renamed. An existing regular
    file is refused unless ``force``; if replaced, its permissions are kept. Raises OutputError.
    """
    check_output(name, force, make_folder)
    if name == STREAM:
        write_stdout(data)
        return
    try:
        if make_folder:
            _make_parents(name)
        with contextlib.suppress(FileNotFoundError):
            mode = os.stat(name).st_mode
            if not stat.S_ISREG(mode):
                Path(name).write_bytes(data)  # a device or a pipe: nothing to rename
                return
        with _signals.shielded(), writing:
            _replace(Path(os.path.realpath(name)), data, force)
    except FileExistsError:
        raise OutputExists(name) from None
    except OSError as error:
        raise OutputError(f"{printable(name)}: {_reason(error)}") from None


def _make_parents(name: str) -> None:
    try:
        os.makedirs(os.path.dirname(os.path.abspath(name)), exist_ok=True)
    except FileExistsError:
        raise OutputError(f"{printable(name)}: a file has the name of a folder above it") from None


def set_tag(tag: str) -> None:
    """Begin this process's partial names with ``tag``."""
    global _tag
    _tag = tag


def remove_partials(target: str, tag: str) -> None:
    """Remove what a process of that tag, which is no more, may have left beside ``target``."""
    with contextlib.suppress(OSError):
        for partial in Path(os.path.realpath(target)).parent.glob(f".ctc-{tag}*.partial"):
            partial.unlink()


def check_not_input(source: str, target: str) -> None:
    """Raise OutputError if an input is about to be replaced by what becomes of it, be it through a link."""
    with contextlib.suppress(OSError):
        if STREAM not in (source, target) and os.path.samefile(source, target):
            raise OutputError(f"{printable(target)}: is the input itself")


def _replace(target: Path, data: bytes, force: bool) -> None:
    partial = target.with_name(f".ctc-{_tag}{secrets.token_hex(6)}.partial")
    mode = None
    with contextlib.suppress(FileNotFoundError):
        mode = stat.S_IMODE(target.stat().st_mode)
    try:
        if not write_unnamed(partial, data, mode):
            _write_named(partial, data, mode)
        if not force:
            try:
                os.link(partial, target)  # fails if somebody made the target meanwhile
                return
            except FileExistsError:
                raise
            except OSError:
                pass  # a file system without hard links
        os.replace(partial, target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _write_named(path: Path, data: bytes, mode: int | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        fill(descriptor, data, mode)
    finally:
        os.close(descriptor)
