"""A lock that a forked process finds open. Standard library only."""

from __future__ import annotations

import os
import threading
from types import TracebackType


class Lock:
    """A lock for a ``with``, which its thread may take again. In a forked child it is a new one: there the
    thread that held it is gone."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
