"""Outputs in tar shards, by one writer, so that an interrupted job loses none that is finished.

The shard that is being written is a local file beside the job's record. It gets its name below the output
folder, or is uploaded, once it is long enough or the job is done.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import shutil
from collections.abc import Iterator
from typing import BinaryIO

from ..container import shards, storage
from ..container.atomic import rename_new, write_whole
from ..container.storage import is_url
from ..errors import OutputError
from .files import Sizes, is_there, printable, reason
from .names import inside
from .record import Record, Row

_BLOCK = 512
"""Members of a tar begin at multiples of so many bytes."""


class Packer:
    """Writes shards ``ctc-000000.tar``, ``ctc-000001.tar`` and so on into a folder, or below a URL."""

    def __init__(self, folder: str, record: Record, shard_bytes: int) -> None:
        """Take up the shard that an earlier run left. Raises OutputError, RecordError."""
        self._folder = folder
        self._record = record
        self._shard_bytes = shard_bytes
        self._sizes = Sizes(folder)
        self._open_rows: set[Row] = set()
        self._file: BinaryIO | None = None
        self._number = 0
        self._is_published = functools.cache(self._is_there_as_written)
        with _in_words(record.path):
            left = sorted(glob.glob(f"{glob.escape(record.path)}-shard-[0-9]*"))
            if left:
                self._take_up(left[-1])
            else:
                last = record.last_shard()
                self._number = self._free(0 if last is None else last + 1)

    def _name(self, number: int) -> str:
        return inside(self._folder, f"ctc-{number:06d}.tar")

    def _free(self, number: int) -> int:
        """The first number from this one on whose name is free."""
        while is_there(self._name(number)):
            number += 1
        return number

    def _spool(self, number: int) -> str:
        return f"{self._record.path}-shard-{number:06d}"

    def _take_up(self, spool: str) -> None:
        """Go on with a shard behind the last output that the record knows."""
        self._number = int(spool.rpartition("-")[2])
        if self._record.is_naming(self._number) and self._is_published(self._number):
            self._put_index()
            return
        sound = {member.offset: member for member in shards.sound_end(spool)[0]}
        end = 0
        for row in self._record.rows(self._number):
            member = sound.get(row.at or 0)
            if member is None or (member.name, member.size) != (shards.member_name(row.target), row.nbytes):
                break
            self._open_rows.add(row)
            end = _end(row)
        self._file = open(spool, "r+b")  # noqa: SIM115
        self._file.truncate(end)
        self._file.seek(end)

    def is_whole(self, row: Row) -> bool:
        """Whether an output is still in its shard. Raises OutputError."""
        if row.shard is None:
            return False
        if self._file is not None and row.shard == self._number:
            return row in self._open_rows
        return self._is_published(row.shard)

    def _is_there_as_written(self, number: int) -> bool:
        """Whether there is a shard with the length of what the record says is in it."""
        last = max(self._record.rows(number), key=_end, default=None)
        return last is not None and self._sizes.of(self._name(number)) == _end(last) + shards.END_BYTES

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Append an output. Returns the number of its shard, and its place there. Raises OutputError."""
        spool = self._spool(self._number)
        with _in_words(spool):
            if self._file is None:
                self._file = open(spool, "w+b")  # noqa: SIM115
            at = shards.append(self._file, shards.member_name(name), data)
            self._file.flush()
            return self._number, at

    def close(self) -> None:
        """Let go of the shard, which another run takes up."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def publish_long(self) -> None:
        """Publish the shard if it is long enough. Raises OutputError."""
        if self._file is not None and self._file.tell() >= self._shard_bytes:
            self.publish()

    def publish(self) -> None:
        """End the shard, if there is one, and give it its name. Raises OutputError."""
        if self._file is None:
            return
        at = self._file.tell()
        if at == 0:
            self.close()
            os.unlink(self._spool(self._number))
            return
        with _in_words(self._name(self._number)):
            shards.finish(self._file)
            self._file.flush()
            os.fsync(self._file.fileno())
            try:
                self._give_name()
            except OSError:
                self._file.truncate(at)  # to be gone on with
                raise
        self.close()
        self._put_index()

    def _give_name(self) -> None:
        """Copy or link the shard to the first free name. Raises OSError."""
        while True:
            spool, name = self._spool(self._number), self._name(self._number)
            if not is_there(name):
                self._record.begin_naming(self._number)
                if is_url(name):
                    storage.upload(name, spool)
                    return
                with contextlib.suppress(FileExistsError):
                    _link(spool, name)
                    return
            # Another job came first. The record goes before the file: nothing of it is to be taken for ours.
            number = self._free(self._number + 1)
            self._record.move(self._number, number)
            os.rename(spool, self._spool(number))
            self._number = number

    def _put_index(self) -> None:
        """Write the index of a shard that has its name, and end with it. Raises OutputError."""
        name = shards.index_name(self._name(self._number))
        rows = list(self._record.rows(self._number))
        found = (shards.Member(shards.member_name(row.target), row.at or 0, row.nbytes) for row in rows)
        index = shards.index_bytes(found, _end(rows[-1]) + shards.END_BYTES)
        with _in_words(name):
            if is_url(name):
                storage.write(name, index)
            else:
                write_whole(name, index)
            os.unlink(self._spool(self._number))
        self._number = self._free(self._number + 1)


def _end(row: Row) -> int:
    """Where in its shard the next output begins."""
    return -(-((row.at or 0) + row.nbytes) // _BLOCK) * _BLOCK


@contextlib.contextmanager
def _in_words(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{printable(name)}: {reason(error)}") from None


def _link(spool: str, name: str) -> None:
    """Give a shard its name, which must be free, too. Raises FileExistsError, OSError."""
    os.makedirs(os.path.dirname(os.path.abspath(name)), exist_ok=True)
    try:
        os.link(spool, name)
    except FileExistsError:
        raise
    except (OSError, AttributeError):  # another file system, or one without hard links
        partial = os.path.join(os.path.dirname(name), f".ctc-{os.getpid()}-{os.urandom(4).hex()}.partial")
        try:
            with open(spool, "rb") as source, open(partial, "xb") as target:
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
            rename_new(partial, name)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(partial)
