"""The record of a job: a SQLite database with a row for every file, by which an interrupted job goes on.

A row is there before its file is worked on. So what is found later at the name of an output that is not done
comes of this job, and is written anew; what was there before the job is not touched.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import CtcError
from .files import printable
from .inputs import Task
from .work import Outcome

WAITING, DONE, FAILED, REFUSED = "waiting", "done", "failed", "refused"
"""States of a file; refused: its output was there before the job."""

_APPLICATION = 0x43544A42
"""By which SQLite's databases tell whose they are."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    target TEXT PRIMARY KEY,  -- name or URL of the output; in a shard, the name that it has when unpacked
    source TEXT NOT NULL,     -- name or URL of the input; names that are not UTF-8 are blobs
    status TEXT NOT NULL,     -- waiting, done, failed, refused
    bytes INTEGER,            -- of the output
    bpp REAL,
    psnr REAL,                -- dB: by the file's quality table, with --json as measured
    seconds REAL,             -- that it took
    error TEXT,               -- why there is no output, in one line
    sha256 TEXT,              -- of the bytes of the input that were read
    read_bytes INTEGER,       -- their number
    shard INTEGER,            -- with --pack: number of the tar
    at INTEGER,               -- and the place of the output's first byte in it
    tries INTEGER NOT NULL DEFAULT 0,
    finished REAL             -- seconds since 1970
);
CREATE INDEX IF NOT EXISTS by_shard ON files (shard, at) WHERE shard IS NOT NULL;
"""


class RecordError(CtcError):
    """The record of a job cannot be used."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a record knows of a file that is done.

    target: see Task.
    nbytes: of the output.
    shard, at: where it is, None without shards.
    """

    target: str
    nbytes: int
    shard: int | None
    at: int | None


@dataclass
class Sorted:
    """Tasks of a job, by what is to be done: ``waiting``, ``done`` in an earlier run, and ``refused``, whose
    outputs were there before."""

    waiting: list[Task] = field(default_factory=list)
    done: list[Task] = field(default_factory=list)
    refused: list[Task] = field(default_factory=list)


class Record:
    """A job's record; a context that closes it.

    path: of the database, on a disk of this machine.
    """

    def __init__(self, path: str, job: str) -> None:
        """Open or make the record of a job, which is described in one line.

        Raises RecordError, also if it is the record of another job, or in use.
        """
        self.path = path
        with self._in_words():
            self._lock = _locked(f"{path}-lock")
        try:
            self._open(job)
        except BaseException:
            self.close()
            raise

    def _open(self, job: str) -> None:
        with self._in_words():
            self._database = sqlite3.connect(self.path, isolation_level=None)
            self._check_application()
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.executescript(_SCHEMA)
            self._database.execute("INSERT OR IGNORE INTO job VALUES ('job', ?)", (job,))
            found = self._database.execute("SELECT value FROM job WHERE name = 'job'").fetchone()[0]
        if found != job:
            raise RecordError(
                f"{printable(self.path)}: the record of another job: {found} (--record names one)"
            )

    def _check_application(self) -> None:
        """Raise RecordError for a database of another program, which is left as it is."""
        if self._database.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION:
            return
        if self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise RecordError(f"{printable(self.path)}: a database of another program")
        self._database.execute(f"PRAGMA application_id = {_APPLICATION}")

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it. What it holds is on the disk."""
        with contextlib.suppress(sqlite3.Error, AttributeError):  # it was not opened
            self._database.close()
        _unlock(f"{self.path}-lock", self._lock)

    def sort(
        self,
        tasks: Iterable[Task],
        is_whole: Callable[[Row], bool],
        is_there: Callable[[Task], bool],
    ) -> Sorted:
        """Sort the tasks of the job, and keep a row of each.

        is_whole: whether the output of a row is still as it was written.
        is_there: whether there is something at the name of an output.

        Raises RecordError, and what these raise.
        """
        found = Sorted()
        with self._in_words(), self._transaction():
            for task in tasks:
                status = self._status(task, is_whole, is_there)
                {DONE: found.done, REFUSED: found.refused}.get(status, found.waiting).append(task)
        return found

    def _status(self, task: Task, is_whole: Callable[[Row], bool], is_there: Callable[[Task], bool]) -> str:
        query = "SELECT status, source, bytes, shard, at FROM files WHERE target = ?"
        target, source = _stored(task.target or ""), _stored(task.source)
        found = self._database.execute(query, (target,)).fetchone()
        before, of, *place = found or (None, source)
        status = WAITING
        if before in (None, REFUSED):
            status = REFUSED if is_there(task) else WAITING
        elif before == DONE and is_whole(row := Row(task.target or "", *place)):
            if _is_one_name(of, source):
                return DONE
            if row.shard is not None or is_there(task):  # the output of another input
                return REFUSED
        if (status, source) != (before, of):
            self._database.execute(
                "INSERT INTO files (target, source, status) VALUES (?1, ?2, ?3) "
                "ON CONFLICT (target) DO UPDATE SET source = ?2, status = ?3",
                (target, source, status),
            )
        return status

    def finish(self, outcome: Outcome, shard: int | None = None, at: int | None = None) -> None:
        """Note what became of a task. Raises RecordError."""
        facts = {} if outcome.result is None else outcome.result.facts
        failed = outcome.error or (outcome.result is not None and outcome.result.error)
        with self._in_words():
            self._database.execute(
                "UPDATE files SET status = ?, bytes = ?, bpp = ?, psnr = ?, seconds = ?, error = ?, "
                "sha256 = ?, read_bytes = ?, shard = ?, at = ?, finished = ?, tries = tries + 1 "
                "WHERE target = ?",
                (
                    FAILED if failed else DONE,
                    facts.get("bytes"),
                    facts.get("bpp"),
                    facts.get("psnr"),
                    round(outcome.seconds, 4),
                    _stored(failed) if failed else None,
                    outcome.sha256,
                    outcome.read_bytes,
                    shard,
                    at,
                    round(time.time(), 3),
                    _stored(outcome.task.target or ""),
                ),
            )

    def rows(self, shard: int) -> Iterator[Row]:
        """The outputs that are in a shard. Raises RecordError."""
        with self._in_words():
            query = "SELECT target, bytes, shard, at FROM files WHERE shard = ? AND status = ? ORDER BY at"
            for target, *place in self._database.execute(query, (shard, DONE)).fetchall():
                yield Row(os.fsdecode(target), *place)

    def last_shard(self) -> int | None:
        """Number of the last shard that has outputs. Raises RecordError."""
        with self._in_words():
            found: int | None = self._database.execute("SELECT max(shard) FROM files").fetchone()[0]
            return found

    def begin_naming(self, shard: int) -> None:
        """Note on the disk, with all rows so far, that a shard is about to get its name, which was free.

        Raises RecordError.
        """
        with self._in_words(), self._transaction():
            self._database.execute("INSERT OR REPLACE INTO job VALUES ('naming', ?)", (str(shard),))

    def is_naming(self, shard: int) -> bool:
        """Whether this was noted of a shard last. Raises RecordError."""
        with self._in_words():
            found = self._database.execute("SELECT value FROM job WHERE name = 'naming'").fetchone()
            return found == (str(shard),)

    def move(self, shard: int, number: int) -> None:
        """Give a shard another number. Raises RecordError."""
        with self._in_words():
            self._database.execute("UPDATE files SET shard = ? WHERE shard = ?", (number, shard))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All rows or none, and on the disk at the end. Those that come one by one may be lost with the
        machine's power, and then are done again."""
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
        self._database.execute("PRAGMA synchronous=NORMAL")

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise RecordError(f"{printable(self.path)}: {error}") from None
        except BlockingIOError:
            raise RecordError(f"{printable(self.path)}: another process works on this job") from None
        except OSError as error:
            raise RecordError(f"{printable(self.path)}: {error.strerror}") from None


def _stored(name: str) -> str | bytes:
    """A name, or its bytes where they are not UTF-8, which SQLite's text is."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def _is_one_name(one: str | bytes, other: str | bytes) -> bool:
    """Whether two names are of one place, as they are written."""
    return one == other or os.path.abspath(os.fsdecode(one)) == os.path.abspath(os.fsdecode(other))


def _locked(name: str) -> int | None:
    """A lock that ends with this process. Raises BlockingIOError while another has it, OSError."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    while True:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(name)):
                return descriptor
        os.close(descriptor)  # whose last holder has just removed it


def _unlock(name: str, descriptor: int | None) -> None:
    if descriptor is not None:
        with contextlib.suppress(OSError):
            os.unlink(name)
        os.close(descriptor)
