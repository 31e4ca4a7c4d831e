"""Inputs and outputs of the command: standard streams, URLs, whole files or none."""

from __future__ import annotations

import codecs
import contextlib
import errno
import functools
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any

import click

from ..container import file, storage
from ..container.atomic import Limits, write_whole
from ..container.file import Parser, bpp_bytes
from ..container.header import MAX_HEADER_BYTES, Header, HeaderCutError
from ..container.storage import RemoteFile, is_url
from ..errors import InputError, OutputError
from .names import member_of
from .signals import shielded

STREAM = "-"
"""The name of standard input and output."""

STDIN_NAMES = {"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}
STDOUT_NAMES = {"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}
"""Others."""

_HEAD = 1 << 12
"""Bytes that tell whether a stream is of the right kind."""
_SOON_READ = 1 << 26
"""Bytes of a file that is read before anything is known of it."""
_LONGEST_LIST = 1 << 32
_PIECE = 1 << 16
"""Bytes that are read at a time."""
_REMOTE_PIECE = 1 << 26
"""The same of a URL, where each piece is a request."""
_EXCESS = 1 << 24
"""Bytes behind the end of a file that are counted at most."""


class StdoutUnusable(OutputError):
    """Standard output takes nothing, or no more: all that is still to be written there would fail too."""


class OutputExists(OutputError):
    """There is such a file already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{printable(name)}: exists already (-o gives another name, -f overwrites it)")


def printable(name: str) -> str:
    """A file name for a one-line message."""
    if name == STREAM:
        return "standard input"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def reason(error: OSError) -> str:
    """An error of the system in a few words."""
    return error.strerror or type(error).__name__


# --- inputs -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(name: str) -> Iterator[Any]:
    """A file or stdin, unbuffered: nothing is taken from a pipe, or fetched of a URL, that is not asked for.
    Raises InputError."""
    try:
        if is_url(name):
            with _opened_url(name) as remote:
                yield remote
        elif name != STREAM:
            with open(name, "rb", buffering=0) as file:
                yield file
        elif sys.stdin is None:
            raise InputError("it is closed")
        else:
            buffered: Any = sys.stdin.buffer
            yield getattr(buffered, "raw", buffered)
    except OSError as error:
        raise InputError(reason(error)) from None


def _opened_url(name: str) -> contextlib.AbstractContextManager[RemoteFile]:
    place = member_of(name)
    if place is None:
        return storage.opened(name)
    from ..container import shards

    return shards.opened(*place)


def _pieces(stream: RawIOBase | RemoteFile, count: int) -> Iterator[bytes]:
    """The next bytes of a stream, ``count`` or up to its end, as they come."""
    most = _REMOTE_PIECE if isinstance(stream, RemoteFile) else _PIECE
    while count and (piece := _read(stream, min(count, most))):
        yield piece
        count -= len(piece)


def _read(stream: RawIOBase | RemoteFile, count: int) -> bytes:
    """The next bytes, at most ``count``, at least one before the end."""
    if isinstance(stream, RemoteFile):
        return stream.read(count)
    while (piece := stream.read(count)) is None:  # a pipe that does not block, as some programs leave behind
        select.select([stream], [], [])
    return piece


def read_input(
    name: str, limit: int | None = None, judge: Callable[[bytes], int | None] | None = None
) -> bytes:
    """All bytes of a file, or of stdin for ``-``. Raises InputError, also for more than ``limit``.

    judge: takes the first bytes, if there are some thousands, and returns another limit, or None; or raises.
        Files are not worth it that are read at once.
    """
    with _opened(name) as stream:
        head = b"".join(_pieces(stream, _HEAD))
        size = _size(stream)
        if judge is not None and len(head) == _HEAD and not 0 < size <= _SOON_READ:
            judged = judge(head)
            limit = limit if size or judged is None else judged  # a file has an end
        left = sys.maxsize if limit is None else max(limit - len(head), 0)
        if size <= left + len(head):
            pieces = [head, *_pieces(stream, left)]
            if not _read(stream, 1):
                return b"".join(pieces)
    raise InputError(f"longer than {limit} bytes, which is too much")


def _size(stream: RawIOBase | RemoteFile) -> int:
    """Bytes of a regular file; 0 for a pipe, and where a server does not tell."""
    if isinstance(stream, RemoteFile):
        return stream.size or 0
    with contextlib.suppress(OSError, ValueError):
        found = os.fstat(stream.fileno())
        return found.st_size if stat.S_ISREG(found.st_mode) else 0
    return 0


@contextlib.contextmanager
def silent_libraries() -> Iterator[None]:
    """Drop what libraries in C write to stderr by themselves, as libtiff does of damaged files."""
    try:
        saved = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        with shielded(), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        with shielded():
            os.dup2(saved, 2)
            os.close(saved)


class CtcInput:
    """The beginning of a .ctc file, which grows as it is asked for.

    header: read at once.
    """

    def __init__(self, stream: RawIOBase | RemoteFile) -> None:
        """Raises FormatError for what is no .ctc file, as soon as that is known."""
        self._stream = stream
        self._data = bytearray()
        while True:
            self._data += (piece := _read(stream, MAX_HEADER_BYTES - len(self._data)))
            try:
                self.header = Header.parse(bytes(self._data))[0]
                return
            except HeaderCutError:
                if not piece:
                    raise

    @property
    def size(self) -> int:
        """Bytes of a regular file; 0 for a pipe, and where a server does not tell."""
        return _size(self._stream)

    def first(self, count: int) -> bytes:
        """The first bytes, ``count`` of them if there are so many."""
        for piece in _pieces(self._stream, max(count - len(self._data), 0)):
            self._data += piece
        return bytes(self._data if count >= len(self._data) else self._data[:count])

    def whole(self) -> bytes:
        """All bytes of a regular file, and some that follow its end, where they do not belong; of a pipe all
        up to its end or its first damage."""
        end = self.header.file_bytes
        if size := self.size:
            return self.first(min(size, end + _EXCESS))
        parser = Parser()
        parser.feed(self.first(len(self._data)))
        for piece in _pieces(self._stream, end - len(self._data)):
            self._data += piece
            parser.feed(piece)
            if parser.damage is not None:
                return bytes(self._data)
        return self.first(end)


def read_ctc(name: str, part: Callable[[CtcInput], bytes] = CtcInput.whole) -> bytes:
    """Bytes of a .ctc file, or of stdin, and no more of a pipe than these. Raises InputError, FormatError."""
    with _opened(name) as stream:
        return part(CtcInput(stream))


def rate_bytes(source: CtcInput, bpp: float | None, nbytes: int | None) -> int:
    """See :func:`ctc_codec.container.file.rate_bytes`."""

    def smallest() -> int:
        from ..codec.walk import picture_bytes

        count = source.header.first_bytes
        return picture_bytes(source.first(count)) or count

    return file.rate_bytes(source.header, smallest, bpp=bpp, nbytes=nbytes)


def more_than_asked(data: bytes, bpp: float) -> str | None:
    """A note if a prefix that :func:`rate_bytes` gave has more than ``bpp`` bits per pixel."""
    asked = bpp_bytes(Header.parse(data)[0], bpp)
    if len(data) <= asked:
        return None
    return f"note: {bpp:g} bpp are {asked} bytes, too few: the smallest picture has {len(data)}"


def holds_picture(data: bytes) -> bool:
    """Whether a file, or a prefix of one, is long enough to hold a picture."""
    header = Header.parse(data)[0]
    if len(data) >= min(header.first_bytes, header.file_bytes):
        return True
    from ..codec.walk import picture_bytes

    return picture_bytes(data) is not None


def note_no_picture(data: bytes, tell: Callable[[str], None]) -> None:
    """Note that a file, or a prefix of one, is too short to hold a picture."""
    if not holds_picture(data):
        tell(f"note: {len(data)} bytes hold no picture yet")


def read_pieces(name: str, size: int) -> Iterator[bytes]:
    """The bytes of a .ctc file, or of stdin, in pieces, the last one shorter, once they are there. Raises
    InputError, FormatError."""
    with _opened(name) as stream:
        source = CtcInput(stream)
        done, end = 0, max(source.header.file_bytes, _size(stream))
        while piece := source.first(min(done + size, end))[done:]:
            yield piece
            done += len(piece)


def is_pipe(name: str) -> bool:
    """Whether a name is there and neither a regular file nor a folder, but a pipe or a device."""
    with contextlib.suppress(OSError):
        mode = os.stat(name).st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return False


def read_names(name: str) -> tuple[str, ...]:
    """File names in a list, one a line, or each with a zero byte at its end. Raises UsageError."""
    try:
        data = read_input(name, _LONGEST_LIST)
    except InputError as error:
        raise click.UsageError(f"{printable(name)}: {error}") from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell writes it
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(codecs.BOM_UTF8)
    names = data.split(b"\0") if b"\0" in data else data.splitlines()
    return tuple(os.fsdecode(line) for line in names if line)


# --- outputs ----------------------------------------------------------------------------------------


def check_output(name: str, force: bool, make_folder: bool = False) -> None:
    """Raise OutputError early if :func:`write_output` is going to refuse."""
    if name == STREAM:
        if sys.stdout is None:
            raise StdoutUnusable("standard output is closed")
        if sys.stdout.isatty() and not force:
            raise StdoutUnusable("binary data is not written to a terminal (use -o FILE, or -f)")
        return
    if is_url(name):
        if not force and is_there(name):
            raise OutputExists(name)
        return
    if os.path.isdir(name):
        raise OutputError(f"{printable(name)}: is a directory")
    if os.path.isfile(name) and not force:
        raise OutputExists(name)
    if not make_folder and not os.path.isdir(os.path.dirname(os.path.abspath(name))):
        raise OutputError(f"{printable(name)}: no such directory")
    try:
        os.lstat(name)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OutputError(f"{printable(name)}: {reason(error)}") from None
    folder = existing_above(os.path.realpath(name))
    if not is_pipe(name) and os.path.isdir(folder) and not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{printable(name)}: {os.strerror(errno.EACCES)}")


def is_there(name: str) -> bool:
    """Whether an output exists already, behind a URL too. Raises OutputError."""
    if not is_url(name):
        return os.path.exists(name) and not os.path.isdir(name)
    try:
        return storage.exists(name)
    except OSError as error:
        raise OutputError(f"{printable(name)}: {reason(error)}") from None


class Sizes:
    """Bytes of outputs; those below a folder of a store are looked up once, all together."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder

    def of(self, name: str) -> int | None:
        """Bytes of a file, -1 if it is not there; None if only its store knows. Raises OutputError."""
        if not is_url(name):
            with contextlib.suppress(OSError):
                return os.stat(name).st_size
            return -1
        if self._folder is None:
            return None
        return self._below.get(name.removeprefix(storage.joined(self._folder, "")), -1)

    @functools.cached_property
    def _below(self) -> dict[str, int]:
        assert self._folder is not None
        try:
            return storage.sizes(self._folder)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise OutputError(f"{printable(self._folder)}: {reason(error)}") from None


def existing_above(path: str) -> str:
    """The nearest folder above an absolute path that is there, or what has its name; the root if none is."""
    above = os.path.dirname(path)
    return above if above == path or os.path.lexists(above) else existing_above(above)


def check_not_input(source: str, target: str) -> None:
    """Raise OutputError if an input is about to be replaced by what becomes of it."""
    if is_one_file(source, target):
        raise OutputError(f"{printable(target)}: is the input itself")


def is_one_file(source: str, target: str | None) -> bool:
    """Whether two names are of one file, be it through links."""
    if target is not None and is_url(target):
        return source == target
    with contextlib.suppress(OSError):
        return target is not None and STREAM not in (source, target) and os.path.samefile(source, target)
    return False


@dataclass(frozen=True)
class Origin:
    """The input that an output comes of, for what is kept of it besides its content.

    source: name of the input.
    times: the output gets its times.
    """

    source: str
    times: bool = False

    def limits(self) -> Limits:
        """What an output may have of permissions, and its times."""
        with contextlib.suppress(OSError):
            found = os.stat(self.source)
            if self.source != STREAM and stat.S_ISREG(found.st_mode):
                times = (found.st_atime_ns, found.st_mtime_ns) if self.times else None
                return Limits(stat.S_IMODE(found.st_mode) & 0o666 | stat.S_IWUSR, found.st_gid, times)
        return Limits()

    def folder_mode(self) -> int:
        """Permissions of folders that are made for an output: at most those of the input's folder."""
        with contextlib.suppress(OSError):
            if self.source != STREAM:
                found = os.stat(os.path.dirname(os.path.abspath(self.source)))
                return stat.S_IMODE(found.st_mode) & 0o777 | stat.S_IRWXU
        return 0o777


def write_output(
    name: str, data: bytes, force: bool, make_folder: bool = False, origin: Origin | None = None
) -> None:
    """Write a whole file or nothing; ``-`` is stdout, and a device or a pipe is written as it is.

    An existing regular file is refused unless ``force``; if replaced, its permissions are kept. Nobody may
    read an output who may not read its origin. Raises OutputError.
    """
    check_output(name, force, make_folder)
    if name == STREAM:
        write_stdout(data)
        return
    origin = origin or Origin(STREAM)
    try:
        if is_url(name):
            with shielded():
                storage.write(name, data)
            return
        if make_folder:
            _make_parents(name, origin.folder_mode())
        if is_pipe(name):
            Path(name).write_bytes(data)
            return
        with shielded():
            write_whole(name, data, replace=force, limits=origin.limits())
    except FileExistsError:
        raise OutputExists(name) from None
    except OSError as error:
        raise OutputError(f"{printable(name)}: {reason(error)}") from None


def remove_input(source: str, target: str | None) -> None:
    """Remove an input of which an output was written. Raises OutputError."""
    try:
        if is_one_file(source, target):
            return
        if is_url(source):
            storage.remove(source)
        else:
            os.unlink(source)
    except OSError as error:
        raise OutputError(f"its output is written, but it cannot be removed: {reason(error)}") from None


def _make_parents(name: str, mode: int) -> None:
    path = os.path.abspath(name)
    above = existing_above(path)
    missing = []
    while (path := os.path.dirname(path)) != above:
        missing.append(path)
    if not os.path.isdir(above):
        raise OutputError(f"{printable(name)}: a file has the name of a folder above it")
    for folder in reversed(missing):
        try:
            os.mkdir(folder, mode)
        except FileExistsError:  # another process may have made it
            if not os.path.isdir(folder):
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
