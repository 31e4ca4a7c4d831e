"""Processes: the cores and the memory that there are to work with, and workers that end with their parent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

MODEL_BYTES = 100_000_000
"""Memory of a process with a model, before it works on a picture."""
ENCODE_BYTES = 80
"""Memory that encoding takes besides, at most, by pixel of the picture."""
DECODE_BYTES = 65
"""The same of decoding, with the image file that is written."""

_PROC = "/proc"
_QUOTAS = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
_LIMITS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def cores(proc: str = _PROC) -> int:
    """Cores that this process may use: by its affinity, and by the CPU quota of its container, rounded up.

    proc: where the system tells of processes.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _groups(proc, "cpu"):
        for names in _QUOTAS:
            with contextlib.suppress(OSError, ValueError):
                quota, period = map(int, " ".join(_read(folder, name) for name in names).split())
                if quota > 0 and period > 0:
                    found = min(found, -(-quota // period))
    return found


def free_memory(proc: str = _PROC) -> int | None:
    """Bytes that may still be used, by the machine and by the memory limit of the container; None where the
    system does not tell.

    proc: where the system tells of processes.
    """
    found = []
    with contextlib.suppress(OSError, ValueError):
        found.append(1024 * _entry(_read(proc, "meminfo"), "MemAvailable:"))
    for folder in _groups(proc, "memory"):
        for limit, usage, cache in _LIMITS:
            with contextlib.suppress(OSError, ValueError):
                left = int(_read(folder, limit)) - int(_read(folder, usage))
                with contextlib.suppress(OSError, ValueError):
                    left += _entry(_read(folder, "memory.stat"), cache)  # given back when it is needed
                found.append(max(left, 0))
    return min(found, default=None)


def _groups(proc: str, controller: str) -> Iterator[str]:
    """Folders of the control groups that this process is in, nested ones first, of both versions."""
    with contextlib.suppress(OSError, ValueError):
        paths = {}
        for line in _read(proc, "self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or controller in controllers.split(","):
                paths["cgroup" if controllers else "cgroup2"] = path
        for line in _read(proc, "self/mountinfo").splitlines():
            mount, _, kind = line.partition(" - ")
            root, folder = mount.split()[3:5]
            version, _, options = kind.split(maxsplit=2)
            if version in paths and (version == "cgroup2" or controller in options.split(",")):
                yield from _upward(folder, root.rstrip("/"), paths[version])


def _upward(folder: str, root: str, path: str) -> Iterator[str]:
    """A group's folder and those around it, up to ``folder``, where the group ``root`` is mounted."""
    inside = path.startswith(f"{root}/") and ".." not in path  # else the mount is all that can be seen
    parts = path[len(root) :].split("/") if inside else []
    names = [part for part in parts if part]
    for count in range(len(names), -1, -1):
        yield os.path.join(folder, *names[:count])


def _read(folder: str, name: str) -> str:
    with open(os.path.join(folder, name)) as file:
        return file.read()


def _entry(text: str, name: str) -> int:
    """The number after a name at the beginning of a line. Raises ValueError."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == [name]:
            return int(words[1])
    raise ValueError(name)


def end_with_parent() -> None:
    """End this process, a worker, as soon as its parent is gone."""
    from multiprocessing import parent_process
    from threading import Thread

    parent = parent_process()

    def leave() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=leave, daemon=True).start()
