"""Memory that is free, back to the system."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # not glibc
        return None
    return found


_LARGE = 1 << 14


def give_back(positions: int) -> None:
    """What a stage of the work has freed is not kept for the next one, if the image is large.

    positions: of its latent; from 4 megapixels on it counts.
    glibc keeps freed blocks of up to 32 MB, and the tensors of a tile are no larger: a third of a gigabyte
    beside the arrays of a large image. Takes some hundredths of a second.
    """
    if positions > _LARGE and (trim := _trim()) is not None:
        trim(0)
