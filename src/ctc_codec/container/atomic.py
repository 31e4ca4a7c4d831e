"""Whole files or none: outputs, caches, checkpoints and weights. Standard library only."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def write_whole(path: str | os.PathLike[str], data: bytes, *, replace: bool = True) -> None:
    """Write a file that gets its name once it is whole and on the disk.

    The bytes go to ``.ctc-PID-RANDOM.partial`` beside the target, which is then renamed. A link is followed;
    a file that is replaced keeps its permissions.

    replace: False refuses an existing target.

    Raises OSError, FileExistsError among them; nothing is left behind then.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".ctc-{os.getpid()}-{os.urandom(4).hex()}.partial")
    try:
        mode = _mode_of(target)
        with open(partial, "xb") as file:
            if mode is not None:
                os.chmod(partial, mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(partial, target)
        else:
            _rename_new(partial, target)
    except OSError as error:
        error.filename, error.filename2 = str(target), None
        raise
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _mode_of(path: Path) -> int | None:
    """Permissions of a file, None if it is not there. Raises OSError, for a link to itself for example."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


def _rename_new(partial: Path, target: Path) -> None:
    """Rename to a name that is free. Raises FileExistsError."""
    try:
        os.link(partial, target)  # fails if the target was made meanwhile, unlike a rename
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(str(target)) from None
        os.replace(partial, target)


def remove_partials(folder: str | os.PathLike[str], process: int) -> None:
    """Remove unfinished files that a process, which has ended, left in a folder."""
    with contextlib.suppress(OSError):
        for partial in Path(folder).glob(f".ctc-{process}-*.partial"):
            partial.unlink()
