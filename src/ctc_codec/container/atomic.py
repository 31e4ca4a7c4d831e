"""Whole files or none: outputs, caches, checkpoints and weights. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What a file may have of permissions, and its times.

    mode: permissions that it has at most.
    group: whose members the group's permissions are for; None: of any group.
    times: of access and modification, in nanoseconds; None for now.
    """

    mode: int = 0o666
    group: int | None = None
    times: tuple[int, int] | None = None


def write_whole(
    path: str | os.PathLike[str],
    data: bytes,
    *,
    replace: bool = True,
    limits: Limits | None = None,
) -> None:
    """Write a file that gets its name once it is whole and on the disk.

    The bytes go to ``.ctc-PID-RANDOM.partial`` beside the target, which is then renamed. A link is followed;
    a file that is replaced keeps its permissions, as far as the limits and the file system allow.

    replace: False refuses an existing target.

    Raises OSError, FileExistsError among them; nothing is left behind then.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".ctc-{os.getpid()}-{os.urandom(4).hex()}.partial")
    try:
        limits = limits or Limits()
        before = _mode_of(target)
        with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, limits.mode)) as file:
            made = os.stat(partial)
            mode = limits.mode & (stat.S_IMODE(made.st_mode) if before is None else before)
            if limits.group not in (None, made.st_gid):  # its group is everybody else to the limits
                mode &= ~0o070 | (mode & 0o007) << 3
            if mode != stat.S_IMODE(made.st_mode):
                with contextlib.suppress(OSError):  # exFAT, SMB
                    os.chmod(partial, mode)
            file.write(data)
            file.flush()
            _flush_to_disk(file.fileno())
        if limits.times is not None:
            with contextlib.suppress(OSError):
                os.utime(partial, ns=limits.times)
        if replace:
            os.replace(partial, target)
        else:
            rename_new(partial, target)
    except OSError as error:
        error.filename, error.filename2 = str(target), None
        raise
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _flush_to_disk(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:  # not every file system can
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


def _mode_of(path: Path) -> int | None:
    """Permissions of a file, None if it is not there. Raises OSError, for a link to itself for example."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


def rename_new(partial: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Rename to a name that is free; ``partial`` may be left, too. Raises FileExistsError, OSError."""
    try:
        os.link(partial, target)  # fails if the target was made meanwhile, unlike a rename
    except FileExistsError:
        raise
    except (OSError, AttributeError):  # a file system, or a Python, without hard links
        if os.path.exists(target):
            raise FileExistsError(str(target)) from None
        os.replace(partial, target)


def remove_partials(folder: str | os.PathLike[str], process: int) -> None:
    """Remove unfinished files that a process, which has ended, left in a folder."""
    with contextlib.suppress(OSError):
        for partial in Path(folder).glob(f".ctc-{process}-*.partial"):
            partial.unlink()
