"""Shards: many .ctc files in one tar, in the layout of WebDataset.

A sample's key ends there at the first dot of its base name, so dots of our stems are written as ``%2E``:
``photos/a.b.ctc`` is the member ``photos/a%2Eb.ctc``. Standard library only. Raises OSError and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO

from ..errors import FormatError
from .file import info
from .storage import Part, RemoteFile, is_url, read_part, seekable
from .storage import opened as opened_url

SUFFIX = ".ctc"
_BLOCK = tarfile.BLOCKSIZE
END_BYTES = 2 * _BLOCK
"""Length of a shard's end."""
_PIECE = 4 * _BLOCK
"""Bytes that a look at a member fetches: one more, its header, and one for a long name before that."""
_LONGEST_INDEX = 1 << 28
_ENCODING, _ERRORS = "utf-8", "surrogateescape"
_UNREADABLE = tarfile.TarError, ValueError, ArithmeticError, LookupError, RuntimeError, MemoryError
"""What tarfile raises at damaged headers."""


@dataclass(frozen=True, slots=True)
class Member:
    """A .ctc file in a shard.

    name: as it is written there, see :func:`relative_name`.
    offset: of its first byte in the shard.
    size: bytes.
    """

    name: str
    offset: int
    size: int


# --- names ------------------------------------------------------------------------------------------


def member_name(relative: str) -> str:
    """The name in a shard of a .ctc file, given by its path below a folder."""
    folder, slash, base = relative.replace(os.sep, "/").rpartition("/")
    stem, dot, suffix = base.rpartition(".")
    return folder + slash + stem.replace("%", "%25").replace(".", "%2E") + dot + suffix


def relative_name(member: str) -> str:
    """The path below a folder of a member, ours or another program's; it does not lead out of the folder."""
    *folders, base = member.replace(os.sep, "/").split("/")
    stem, dot, suffix = base.rpartition(".")
    base = stem.replace("%2E", ".").replace("%25", "%") + dot + suffix
    return "/".join([*(part for part in folders if part not in ("", ".", "..")), base])


def _is_ctc(member: tarfile.TarInfo) -> bool:
    """Hidden files are left out, as those of folders are: other systems' metadata is in them."""
    name = member.name.rpartition("/")[2].lower()
    return member.isreg() and not member.issparse() and name.endswith(SUFFIX) and not name.startswith(".")


# --- writing ----------------------------------------------------------------------------------------


def append(file: IO[bytes], name: str, data: bytes) -> int:
    """Write a member, in one call, to a file that stands at its end; return where its data begin there.

    name: see :func:`member_name`.

    Nothing but name and data is in it: no time, no owner.
    """
    member = tarfile.TarInfo(name)
    member.size = len(data)
    head = member.tobuf(tarfile.PAX_FORMAT, _ENCODING, _ERRORS)
    at = file.tell() + len(head)
    file.write(head + data + bytes(-len(data) % _BLOCK))
    return at


def finish(file: IO[bytes]) -> None:
    """Write the end of a shard."""
    file.write(bytes(END_BYTES))


def index_name(shard: str) -> str:
    """The name of a shard's index, which lies beside it."""
    path, mark, query = shard.partition("?") if shard.startswith(("http:", "https:")) else (shard, "", "")
    return f"{path}.index{mark}{query}"


def index_bytes(found: Iterable[Member], nbytes: int) -> bytes:
    """The index of a shard of so many bytes: what :func:`members` would find there, in JSON."""
    listed = [[member.name, member.offset, member.size] for member in found]
    return json.dumps({"bytes": nbytes, "members": listed}, separators=(",", ":")).encode()


# --- reading ----------------------------------------------------------------------------------------


def members(name: str) -> Iterator[Member]:
    """The .ctc files of a shard, in order, of which only headers are read.

    name: of a local file, or its URL. Beside that its index is looked for, which saves a request a member.

    A shard that was cut gives those that are there whole. Raises OSError for what is no tar, and at damage,
    after those before it.
    """
    with seekable(name, _PIECE) as file:
        size = file.seek(0, os.SEEK_END)
        if is_url(name) and (indexed := _indexed(name, size)) is not None:
            yield from indexed
            return
        for found in _headers(file, size):
            if _is_ctc(found) and found.offset_data + found.size <= size:
                yield Member(found.name, found.offset_data, found.size)


def _indexed(shard: str, size: int) -> list[Member] | None:
    """What the index of a shard says, None without one that fits."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        index = json.loads(read_part(index_name(shard), 0, _LONGEST_INDEX))
        found = [Member(str(name), int(offset), int(nbytes)) for name, offset, nbytes in index["members"]]
        if index["bytes"] == size and all(0 <= each.offset <= size - each.size <= size for each in found):
            return found
    return None


@contextlib.contextmanager
def opened(name: str, member: str) -> Iterator[RemoteFile]:
    """A member of a shard to read, of which only what is read is fetched. Raises OSError.

    Members are looked up once in a process: a shard does not change while it is read.
    """
    place = _places(name).get(member)
    if place is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if is_url(name):
        with opened_url(name, place) as remote:
            yield remote
    else:
        with open(name, "rb", buffering=0) as file:
            yield RemoteFile(file, place)


@functools.lru_cache(8)
def _places(name: str) -> dict[str, Part]:
    """First bytes and sizes of the members. Raises OSError."""
    return {member.name: (member.offset, member.size) for member in members(name)}


def sound_end(path: str) -> tuple[list[Member], int]:
    """The .ctc files of an unfinished shard, and where it is to be cut and the next one to be appended.

    They are whole, and their check sums fit; the first that is not so ends the list. Raises
    OSError, also for a file that is no tar.
    """
    found: list[Member] = []
    end = 0
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        try:
            for member in _headers(file, size) if size >= _BLOCK else ():
                at = member.offset_data
                stop = at + (member.size if member.isreg() else 0)
                if stop > size:
                    break
                if _is_ctc(member):
                    file.seek(at)
                    if not _is_sound(file.read(member.size)):
                        break
                    found.append(Member(member.name, at, member.size))
                end = stop + -stop % _BLOCK
        except OSError:
            if end == 0:
                raise  # somebody else's file
    return found, end


def _is_sound(data: bytes) -> bool:
    try:
        return info(data).damage is None
    except FormatError:
        return False


def _headers(file: BinaryIO, size: int) -> Iterator[tarfile.TarInfo]:
    """All headers of a tar of that size, up to its end or to where it was cut. Raises OSError."""
    at = 0
    try:
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:", encoding=_ENCODING, errors=_ERRORS) as tar:
            while (member := tar.next()) is not None:
                if member.size < 0:
                    raise OSError(errno.EIO, f"damaged tar file at byte {at}")
                at = tar.offset
                yield member
    except _UNREADABLE:
        pass  # cut or damaged: what stands there tells
    if not _is_cut(file, at, size):
        raise OSError(errno.EIO, f"damaged tar file at byte {at}" if at else "not a tar file")


def _is_cut(file: BinaryIO, at: int, size: int) -> bool:
    """Whether a tar ends at ``at``, where no whole header is, or is cut in what stands there."""
    file.seek(at)
    block = file.read(_BLOCK)
    if len(block) < _BLOCK:
        return at > 0
    if not any(block):
        return True
    with contextlib.suppress(tarfile.TarError, ValueError):
        extended = tarfile.TarInfo.frombuf(block, _ENCODING, _ERRORS)  # a long name, before its own header
        return at + 2 * _BLOCK + extended.size + -extended.size % _BLOCK > size
    return False
