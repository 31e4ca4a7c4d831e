"""Outputs in tar shards, by one writer, so that an interrupted job loses none that is finished.

The shard that is being written is a local file beside the job's record. It gets its name below the output
folder, or is uploaded, once it is long enough or the job is done.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import glob
import os
import shutil
from collections.abc import Iterator
from typing import BinaryIO

from ..container import shards, storage
from ..container.atomic import write_whole
from ..container.storage import is_url
from ..errors import OutputError
from .files import is_there, printable, reason
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
        self._open_rows: set[Row] = set()
        self._file: BinaryIO | None = None
        self._number = 0
        self._is_published = functools.cache(lambda number: is_there(self._name(number)))
        with _in_words(record.path):
            left = sorted(glob.glob(f"{glob.escape(record.path)}-shard-*"))
            if left:
                self._take_up(left[-1])
            else:
                last = record.last_shard()
                self._number = 0 if last is None else last + 1
                while self._is_published(self._number):
                    self._number += 1

    def _name(self, number: int) -> str:
        return inside(self._folder, f"ctc-{number:06d}.tar")

    @property
    def _spool(self) -> str:
        return f"{self._record.path}-shard-{self._number:06d}"

    def _take_up(self, spool: str) -> None:
        """Go on with a shard behind the last output that the record knows."""
        self._number = int(spool.rpartition("-")[2])
        sound = {member.offset: member for member in shards.sound_end(spool)[0]}
        end = 0
        for row in self._record.rows(self._number):
            member = sound.get(row.at or 0)
            if member is None or (member.name, member.size) != (shards.member_name(row.target), row.nbytes):
                break
            self._open_rows.add(row)
            end = -(-(member.offset + member.size) // _BLOCK) * _BLOCK
        self._file = open(spool, "r+b")  # noqa: SIM115
        self._file.truncate(end)
        self._file.seek(end)

    def _members(self) -> Iterator[shards.Member]:
        """What is in the shard."""
        for row in self._record.rows(self._number):
            yield shards.Member(shards.member_name(row.target), row.at or 0, row.nbytes)

    def is_whole(self, row: Row) -> bool:
        """Whether an output is still in its shard. Raises OutputError."""
        if row.shard is None:
            return False
        if self._file is not None and row.shard == self._number:
            return row in self._open_rows
        return bool(self._is_published(row.shard))

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Append an output. Returns the number of its shard, and its place there. Raises OutputError."""
        with _in_words(self._spool):
            if self._file is None:
                self._file = open(self._spool, "w+b")  # noqa: SIM115
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
        name = self._name(self._number)
        with _in_words(name):
            at = self._file.tell()
            shards.finish(self._file)
            index = shards.index_bytes(self._members(), self._file.tell())
            self._file.flush()
            os.fsync(self._file.fileno())
            try:
                if is_url(name):
                    storage.upload(name, self._spool)
                    storage.write(shards.index_name(name), index)
                    os.unlink(self._spool)
                else:
                    _move(self._spool, name)
                    write_whole(shards.index_name(name), index)
            except OSError:
                self._file.truncate(at)  # to be gone on with
                raise
            self._file.close()
        self._file = None
        self._number += 1


@contextlib.contextmanager
def _in_words(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{printable(name)}: {reason(error)}") from None


def _move(spool: str, name: str) -> None:
    os.makedirs(os.path.dirname(os.path.abspath(name)), exist_ok=True)
    try:
        os.replace(spool, name)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        partial = os.path.join(os.path.dirname(name), f".ctc-{os.getpid()}-{os.urandom(4).hex()}.partial")
        try:
            shutil.copyfile(spool, partial)
            os.replace(partial, name)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(partial)
        os.unlink(spool)
