"""Reading inputs and writing outputs for the command line: stdin and stdout, whole files or none."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from pathlib import Path

from ._errors import InputError, OutputError

STREAM = "-"


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def read_input(name: str) -> bytes:
    """All bytes of a file, or of stdin for ``-``. Raises InputError."""
    try:
        if name == STREAM:
            return sys.stdin.buffer.read()
        return Path(name).read_bytes()
    except OSError as error:
        raise InputError(_reason(error)) from None


def check_output(name: str, force: bool) -> None:
    """Raise OutputError early if :func:`write_output` is going to refuse."""
    if name == STREAM:
        if sys.stdout.isatty() and not force:
            raise OutputError("binary data is not written to a terminal (use -o FILE, or -f)")
        return
    path = Path(name)
    if path.is_dir():
        raise OutputError(f"{name}: is a directory")
    if path.is_file() and not force:
        raise OutputError(f"{name}: exists already (use -f to overwrite)")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{name}: no such directory")


def write_output(name: str, data: bytes, force: bool) -> None:
    """Write a whole file or nothing; ``-`` is stdout.

    The bytes go to a temporary file beside the target, which is then renamed. An existing regular
    file is refused unless ``force``. Raises OutputError.
    """
    try:
        check_output(name, force)
        if name == STREAM:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        target = Path(os.path.realpath(name))
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            target.write_bytes(data)  # a device or a pipe: nothing to rename
            return
        _replace(target, data, force)
    except BrokenPipeError:
        # Python flushes stdout once more at exit: give it a place where that works.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError("the reader of the pipe is gone") from None
    except FileExistsError:
        raise OutputError(f"{name}: exists already (use -f to overwrite)") from None
    except OSError as error:
        where = "standard output" if name == STREAM else name
        raise OutputError(f"{where}: {_reason(error)}") from None


def _replace(target: Path, data: bytes, force: bool) -> None:
    partial = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
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
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
