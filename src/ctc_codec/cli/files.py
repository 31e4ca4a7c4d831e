"""Inputs and outputs of the command: standard streams, whole files or none."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ..container.atomic import write_whole
from ..errors import InputError, OutputError
from .signals import shielded

STREAM = "-"
"""The name of standard input and output."""


class StdoutUnusable(OutputError):
    """Standard output takes nothing, or no more: all that is still to be written there would fail too."""


class OutputExists(OutputError):
    """There is such a file already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{printable(name)}: exists already (use -f to overwrite)")


def printable(name: str) -> str:
    """A file name for a one-line message."""
    if name == STREAM:
        return "standard input"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def reason(error: OSError) -> str:
    """An error of the system in a few words."""
    return error.strerror or type(error).__name__


# --- inputs -----------------------------------------------------------------------------------------


def read_input(name: str) -> bytes:
    """All bytes of a file, or of stdin for ``-``. Raises InputError."""
    try:
        if name != STREAM:
            return Path(name).read_bytes()
        if sys.stdin is None:
            raise InputError("it is closed")
        return sys.stdin.buffer.read()
    except OSError as error:
        raise InputError(reason(error)) from None


def read_pieces(name: str, size: int) -> Iterator[bytes]:
    """The bytes of a file in pieces, the last one shorter; those of stdin once they are there. Raises
    InputError."""
    if name != STREAM:
        data = read_input(name)
        yield from (data[start : start + size] for start in range(0, len(data), size))
        return
    if sys.stdin is None:
        raise InputError("it is closed")
    try:
        while piece := sys.stdin.buffer.read(size):
            yield piece
    except OSError as error:
        raise InputError(reason(error)) from None


def is_pipe(name: str) -> bool:
    """Whether a name is there and no regular file, but a pipe or a device."""
    with contextlib.suppress(OSError):
        return not stat.S_ISREG(os.stat(name).st_mode)
    return False


# --- outputs ----------------------------------------------------------------------------------------


def check_output(name: str, force: bool, make_folder: bool = False) -> None:
    """Raise OutputError early if :func:`write_output` is going to refuse."""
    if name == STREAM:
        if sys.stdout is not None and sys.stdout.isatty() and not force:
            raise StdoutUnusable("binary data is not written to a terminal (use -o FILE, or -f)")
        return
    if os.path.isdir(name):
        raise OutputError(f"{printable(name)}: is a directory")
    if os.path.isfile(name) and not force:
        raise OutputExists(name)
    if not make_folder and not os.path.isdir(os.path.dirname(os.path.abspath(name))):
        raise OutputError(f"{printable(name)}: no such directory")


def check_not_input(source: str, target: str) -> None:
    """Raise OutputError if an input is about to be replaced by what becomes of it, be it through a link."""
    with contextlib.suppress(OSError):
        if STREAM not in (source, target) and os.path.samefile(source, target):
            raise OutputError(f"{printable(target)}: is the input itself")


def write_output(name: str, data: bytes, force: bool, make_folder: bool = False) -> None:
    """Write a whole file or nothing; ``-`` is stdout, and a device or a pipe is written as it is.

    An existing regular file is refused unless ``force``; if replaced, its permissions are kept. Raises
    OutputError.
    """
    check_output(name, force, make_folder)
    if name == STREAM:
        write_stdout(data)
        return
    try:
        if make_folder:
            _make_parents(name)
        if is_pipe(name):
            Path(name).write_bytes(data)
            return
        with shielded():
            write_whole(name, data, replace=force)
    except FileExistsError:
        raise OutputExists(name) from None
    except OSError as error:
        raise OutputError(f"{printable(name)}: {reason(error)}") from None


def _make_parents(name: str) -> None:
    try:
        os.makedirs(os.path.dirname(os.path.abspath(name)), exist_ok=True)
    except FileExistsError:
        raise OutputError(f"{printable(name)}: a file has the name of a folder above it") from None


def write_stdout(data: bytes) -> None:
    """Write to stdout and flush. Raises StdoutUnusable."""
    if sys.stdout is None:
        raise StdoutUnusable("standard output is closed")
    try:
        rest = memoryview(data)
        while rest:  # unbuffered (PYTHONUNBUFFERED), it may take less than all
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        drop_stdout()
        raise StdoutUnusable("broken pipe: the reader of standard output is gone") from None
    except OSError as error:
        drop_stdout()
        raise StdoutUnusable(f"standard output: {reason(error)}") from None


def drop_stdout() -> None:
    """Give Python, which flushes stdout once more at exit, a place where that works."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str, *, newline: bool = True) -> None:
    """Say something on stderr; that it cannot be heard is no reason to fail."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True, nl=newline)
