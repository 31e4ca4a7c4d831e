"""Files that get their name when they are whole: Linux's ``O_TMPFILE``.

Nothing is left of one if this process is killed while it writes, or the machine loses power.
"""

from __future__ import annotations

import os
from os import link
from pathlib import Path

_FLAG = getattr(os, "O_TMPFILE", 0)


def fill(descriptor: int, data: bytes, mode: int | None) -> None:
    """Write all of a file, with the permissions ``mode``, or the usual ones. Raises OSError."""
    with open(descriptor, "wb", closefd=False) as file:
        if mode is not None:
            os.fchmod(descriptor, mode)
        file.write(data)


def write_unnamed(path: Path, data: bytes, mode: int | None) -> bool:
    """Write a new file. False, with nothing done, where system or file system cannot; raises OSError for what
    else goes wrong, a full disk for example, and if ``path`` exists."""
    if not _FLAG:
        return False
    try:
        descriptor = os.open(path.parent, os.O_WRONLY | _FLAG, 0o666)
    except OSError:  # who opens a file by its name next is told the reason, if there is another one
        return False
    try:
        fill(descriptor, data, mode)
        try:
            # The descriptor says that links are followed: else this link would be linked to.
            link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)
        except FileExistsError:
            raise
        except OSError:  # no /proc, or not allowed here
            return False
        return True
    finally:
        os.close(descriptor)
