"""Files that are elsewhere: a URL is read and written through fsspec (https, s3, gs, memory, tar, and so on).

Everything here raises OSError and nothing else, with words in ``strerror``.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import re
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Part = tuple[int, int]
"""First byte and size of a part of a file."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?:://|::.*://)", re.DOTALL)
_LOCAL = re.compile(r"(?:file|local)://")
_FIRST_BYTES = 1 << 10
"""Bytes that the first read fetches at least: the header, and of small pictures the quality table too."""
_WITH_FOLDERS = {"dbfs", "ftp", "hdfs", "arrow_hdfs", "sftp", "smb", "ssh", "webdav", "webhdfs"}
"""Protocols whose folders have to be made, and whose files are seen while they are written."""
_NOT_RENAMED_OVER = {"dbfs", "hdfs", "arrow_hdfs", "smb", "webhdfs"}
"""Those of them where a file does not take the name of another."""
_NUMBERS = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES, FileExistsError: errno.EEXIST}
_BEYOND = 416
"""What an HTTP server says of a part that begins behind the end."""
_GONE = 404, 410
"""What HTTP servers say of files that are not there."""
_SILENCE = 60
"""Seconds without a byte after which an HTTP server is given up."""
_AS_IT_IS = {"Accept-Encoding": "identity"}
"""Of what is compressed on its way there are no parts."""


def is_url(name: str) -> bool:
    """Whether a name is a URL that is not of the local file system."""
    return ":" in name and _URL.match(name) is not None and not _LOCAL.match(name)


def local_name(name: str) -> str:
    """The path of ``file:///path``; other names as they are."""
    found = _LOCAL.match(name)
    return name if found is None else name[found.end() :]


def joined(folder: str, relative: str) -> str:
    """The URL of a name below that of a folder."""
    return f"{folder.rstrip('/')}/{relative.replace(os.sep, '/')}"


class RemoteFile:
    """A file behind a URL, or a part of one, of which only what is read is fetched.

    size: bytes, None where the server does not tell.
    """

    def __init__(
        self, file: IO[bytes], part: Part | None = None, stream: Callable[[], IO[bytes]] | None = None
    ) -> None:
        """stream: opens a file again that can only be read from its beginning on. Raises OSError."""
        self._file, self._stream = file, stream
        self._first = b""
        self._at = 0
        size = getattr(file, "size", None)
        self.size: int | None = size if isinstance(size, int) else None
        if part is not None:
            with _in_words():
                file.seek(part[0])
            self.size = part[1]

    def read(self, count: int) -> bytes:
        """The next bytes, at most ``count``, at least one before the end. Raises OSError."""
        most = _FIRST_BYTES if self.size is None else min(self.size, _FIRST_BYTES)
        if self._at == 0 and not self._first and count < most:
            self._first = self._fetch(most)
        if self.size is not None:
            count = min(count, self.size - self._at)
        piece = self._first[self._at : self._at + count] or self._fetch(count)
        self._at += len(piece)
        return piece

    def _fetch(self, count: int) -> bytes:
        with _in_words():
            try:
                return self._file.read(count)
            except ValueError:  # a web server that knows no parts
                if self._stream is None:
                    raise
            left, self._file, self._stream = self._file.tell(), self._stream(), None
            while left and (piece := self._file.read(left)):
                left -= len(piece)
            return self._file.read(count)


@contextlib.contextmanager
def opened(url: str, part: Part | None = None) -> Iterator[RemoteFile]:
    """A file to read, or a part of it. Raises OSError."""
    system, path = _system(url)
    with contextlib.ExitStack() as files:

        def opening(**how: Any) -> IO[bytes]:
            file: IO[bytes] = system.open(path, "rb", **how)
            files.push(lambda *_: _closed(file))
            return file

        with _in_words():
            file = opening(cache_type="none")
        size = getattr(file, "size", None)
        is_web = part is None and "http" in _protocols(system)
        stream = functools.partial(opening, block_size=0, size=size) if is_web else None
        yield RemoteFile(file, part, stream)


def _closed(file: IO[bytes]) -> None:
    with contextlib.suppress(Exception):
        file.close()


def read_part(name: str, start: int, count: int) -> bytes:
    """Bytes of a file from ``start`` on: ``count``, or fewer where it ends. One request. Raises OSError.

    A server that knows no parts gives the whole file: that is returned if ``start`` is 0.
    """
    if not is_url(name):
        with open(local_name(name), "rb", buffering=0) as file:
            file.seek(start)
            return b"".join(_pieces(file, count))
    system, path = _system(name)
    with _in_words():
        from fsspec.asyn import AsyncFileSystem

        if not isinstance(system, AsyncFileSystem):  # cat_file of others reads ahead, by megabytes
            with system.open(path, "rb", cache_type="none") as file:
                file.seek(start)
                return b"".join(_pieces(file, count))
        try:
            data = bytes(system.cat_file(path, start=start, end=start + count))
        except Exception as error:
            if start and _is_beyond(error):
                return b""
            raise
    if start and len(data) > count:
        raise OSError(errno.ENOTSUP, "the server gives whole files only")
    return data


def _pieces(file: Any, count: int) -> Iterator[bytes]:
    while count > 0 and (piece := file.read(count)):
        yield piece
        count -= len(piece)


def _is_beyond(error: Exception) -> bool:
    """Whether a store, of HTTP or of S3, says that a part begins behind the end."""
    status = error.status if hasattr(error, "status") else getattr(error, "code", None)
    return status == _BEYOND or (getattr(error, "errno", None) == errno.EINVAL and "range" in str(error))


@contextlib.contextmanager
def seekable(name: str, piece: int) -> Iterator[BinaryIO]:
    """A file to look into here and there. Raises OSError, also for what goes wrong in the ``with``.

    piece: bytes that are fetched at least, in one request.
    """
    if not is_url(name):
        with open(local_name(name), "rb") as file:
            yield file
        return
    system, path = _system(name)
    with _in_words(), system.open(path, "rb", cache_type="none") as remote:
        yield io.BufferedReader(remote, piece)


def write(url: str, data: bytes) -> None:
    """Write a file that is there whole, or not at all. Raises OSError."""
    _put(url, lambda system, path: system.pipe_file(path, data))


def upload(url: str, name: str) -> None:
    """Write a file that is local, as :func:`write`. Raises OSError."""
    _put(url, lambda system, path: system.put_file(name, path))


def _put(url: str, put: Callable[[AbstractFileSystem, str], object]) -> None:
    system, path = _system(url)
    with _in_words():
        if not _WITH_FOLDERS.intersection(_protocols(system)):
            put(system, path)
            return
        folder = path.rpartition("/")[0]
        partial = f"{folder}/.ctc-{os.getpid()}-{os.urandom(4).hex()}.partial"
        system.makedirs(folder, exist_ok=True)
        try:
            put(system, partial)
            if _NOT_RENAMED_OVER.intersection(_protocols(system)) and system.exists(path):
                system.rm_file(path)
            system.mv(partial, path)
        except BaseException:
            with contextlib.suppress(Exception):
                system.rm_file(partial)
            raise


def exists(url: str) -> bool:
    """Whether there is a file or a folder. Raises OSError."""
    system, path = _system(url)
    with _in_words():
        return bool(system.exists(path))


def is_folder(url: str) -> bool:
    """Whether a URL is that of a folder: by its slash, or by what the store says. Raises OSError."""
    if url.endswith("/"):
        return True
    system, path = _system(url)
    if "http" in _protocols(system):  # it would get the whole file and look for links in it
        return False
    with _in_words():
        return bool(system.isdir(path))


def sizes(url: str) -> dict[str, int]:
    """Bytes of every file below a folder, by its name relative to it; in the order of the names.

    Raises OSError.
    """
    system, path = _system(url)
    with _in_words():
        found: dict[str, dict[str, Any]] = system.find(path, detail=True)
        start = len(str(path).rstrip("/")) + 1
        return {name[start:]: int(about["size"] or 0) for name, about in sorted(found.items())}


def remove(url: str) -> None:
    """Remove a file. Raises OSError."""
    system, path = _system(url)
    with _in_words():
        system.rm_file(path)


def _system(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL, and the path in it."""
    with _in_words():
        from fsspec import config, core

        if url.startswith("http") and "http" not in config.conf:
            from aiohttp import ClientTimeout

            patient = ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)
            for protocol in ("http", "https"):
                config.conf[protocol] = {
                    "client_kwargs": {"timeout": patient, "trust_env": True, "headers": _AS_IT_IS}
                }
        system, path = core.url_to_fs(url)
        return system, path


def _protocols(system: AbstractFileSystem) -> tuple[str, ...]:
    found = system.protocol
    return (found,) if isinstance(found, str) else tuple(found)


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """Whatever goes wrong in a file system, as an OSError with words."""
    try:
        yield
    except ImportError as error:
        raise OSError(errno.ENOPKG, f"URLs need pip install 'ctc-codec[urls]' ({_line(error)})") from None
    except OSError as error:
        raise _with_words(error) from None
    except NotImplementedError:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from None
    except Exception as error:
        raise OSError(errno.EIO, _line(error)) from None


def _with_words(error: OSError) -> OSError:
    if error.strerror and type(error).__module__ == "builtins":
        return error
    cause = error.__cause__
    if cause is not None and _is_of_server(cause):
        return OSError(errno.EIO, _line(cause))
    number = _NUMBERS.get(type(error))
    return OSError(errno.EIO, _line(error)) if number is None else OSError(number, os.strerror(number))


def _is_of_server(cause: BaseException) -> bool:
    """Whether the cause of a file that is not there is another: a server that does not answer, or refuses."""
    if type(cause).__module__.startswith("aiohttp."):
        return getattr(cause, "status", None) not in _GONE
    return isinstance(cause, OSError) and cause.errno != errno.ENOENT


def _line(error: BaseException) -> str:
    status = getattr(error, "status", None)  # of an HTTP response
    if isinstance(status, int):
        return f"the server says {status}"
    return " ".join(str(error).split()) or type(error).__name__
