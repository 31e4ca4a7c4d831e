"""Disks that are full or may not be written, files that are too long, and quotas."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from reliability.trial import Row, injected, run
from reliability.works import Bench, Work, refused, undisturbed, whole


class CannotMount(Exception):
    """There are no disks of one's own here."""


@contextlib.contextmanager
def _disk(place: Path, kib: int) -> Iterator[Path]:
    """A small disk of its own. Raises CannotMount."""
    if not shutil.which("mount"):
        raise CannotMount("there is no mount")
    disk = place / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", disk], capture_output=True)
    if done.returncode:
        raise CannotMount(done.stderr.decode().strip())
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def _remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def _mounting(row: Row, trials: Callable[[], None]) -> Row:
    try:
        trials()
    except CannotMount as error:
        row.trials -= 1
        row.not_here = f"nothing can be mounted: {error}"
    return row


def full_disk(bench: Bench, work: Work, trials: int) -> Row:
    """A disk of random size, too small; after it has grown the same command finishes."""
    row = Row("disk full", work.name)
    need = sum(map(len, work.expected.values())) // 1024

    def tries() -> None:
        for row.trials in range(1, trials + 1):
            with bench.place() as place, _disk(place, 4 * bench.rng.randint(1, max(1, need // 5))) as disk:
                done = run(work.into(disk), place)
                row.struck += done.code != 0
                if done.code:
                    refused(row, done, place, "No space left on device")
                whole(row, work, disk, "full disk")
                _remount(disk, "size=64m")
                undisturbed(row, work, run(work.into(disk), place), disk)

    return _mounting(row, tries)


def read_only(bench: Bench, work: Work, trials: int) -> Row:
    """A disk that may not be written; afterwards the same command finishes."""
    row = Row("read-only disk", work.name)

    def tries() -> None:
        for row.trials in range(1, trials + 1):
            with bench.place() as place, _disk(place, 1 << 16) as disk:
                _remount(disk, "ro")
                done = run(work.into(disk), place)
                row.struck += done.code != 0
                refused(row, done, place, "Read-only file system", "Permission denied")
                _remount(disk, "rw")
                undisturbed(row, work, run(work.into(disk), place), disk)

    return _mounting(row, tries)


def file_limit(bench: Bench, work: Work, trials: int) -> Row:
    """Files that may have a random length, too short for some."""
    row = Row("file size limit", work.name)
    longest = max(map(len, work.expected.values()))
    for row.trials in range(1, trials + 1):
        limit = bench.rng.randrange(longest)
        with bench.place() as place:
            out = place / "out"
            done = run(
                work.into(out), place,
                preexec_fn=lambda n=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)),
            )  # fmt: skip
            row.struck += done.code != 0
            if done.code and limit > 500:  # words go to a file too
                refused(row, done, place, "File too large")
            whole(row, work, out, "file limit")
            undisturbed(row, work, run(work.into(out), place), out)
    return row


def quota(bench: Bench, work: Work, trials: int) -> Row:
    """EDQUOT, EIO and ENOSPC of the system calls behind a write, by strace."""
    row = Row("EDQUOT, EIO, ENOSPC at fsync, link, rename", work.name)
    for row.trials in range(1, trials + 1):
        error, words = bench.rng.choice(
            [("EDQUOT", "Disk quota exceeded"), ("EIO", "Input/output error"), ("ENOSPC", "No space left")]
        )
        calls = bench.rng.choice(["fsync", "rename,renameat,renameat2,link,linkat"])
        with bench.place() as place:
            out, when = place / "out", bench.rng.randint(1, 3 if len(work.expected) > 1 else 1)
            trace = injected(calls, f"error={error}:when={when}+")
            if not trace:
                row.trials, row.not_here = 0, "there is no strace"
                return row
            done = run([*trace, *work.into(out)], place)
            row.struck += done.code != 0
            if done.code:
                refused(row, done, place, words)
            whole(row, work, out, error)
            undisturbed(row, work, run(work.into(out), place), out)
    return row
