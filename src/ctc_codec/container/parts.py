"""Parts of files, local or behind a URL: nothing else of them is fetched.

Everything here raises OSError and nothing else, with words in ``strerror``.
"""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from .storage import _in_words, _system, is_url, local_name

_BEYOND = 416
"""What an HTTP server says of a part that begins behind the end."""


def read_part(name: str, start: int, count: int) -> bytes:
    """Bytes of a file from ``start`` on: ``count``, or fewer where it ends. One request. Raises OSError.

    A server that knows no parts gives the whole file: that is returned if ``start`` is 0.
    """
    if not is_url(name):
        with open(local_name(name), "rb", buffering=0) as file:
            file.seek(start)
            return b"".join(_pieces(file, count))
    with _in_words():
        from fsspec.asyn import AsyncFileSystem

        system, path = _system(name)
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
    codes = getattr(error, "status", None), getattr(error, "code", None)
    return _BEYOND in codes or getattr(error, "errno", None) == errno.EINVAL


@contextlib.contextmanager
def seekable(name: str, piece: int) -> Iterator[BinaryIO]:
    """A file to look into here and there. Raises OSError, also for what goes wrong in the ``with``.

    piece: bytes that are fetched at least, in one request.
    """
    if not is_url(name):
        with open(local_name(name), "rb") as file:
            yield file
        return
    with _in_words():
        system, path = _system(name)
        with system.open(path, "rb", cache_type="none") as remote:
            yield io.BufferedReader(remote, piece)
