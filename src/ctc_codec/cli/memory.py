"""Memory that pictures take, and how many can be worked on at a time with what there is."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import accumulate

from ..codec.processes import MODEL_BYTES, free_memory
from ..container.header import MAGIC, MAX_HEADER_BYTES, Header
from .inputs import Task
from .work import Work

_ICONS = (b"\0\0\1\0", b"\0\0\2\0")
"""First bytes of files that Pillow loads while it opens them."""


def jobs_that_fit(tasks: Sequence[Task], work: Work, jobs: int) -> int:
    """How many of ``jobs`` processes can work on the largest of the pictures at once with the memory that is
    free, at least one."""
    each = work.bytes_per_pixel
    free = free_memory() if each else None
    if free is None:
        return jobs
    needs = sorted((MODEL_BYTES + each * pixels_of(task.source) for task in tasks), reverse=True)
    return max(sum(need <= free for need in accumulate(needs[:jobs])), 1)


def pixels_of(name: str) -> int:
    """Pixels of the picture in a file by its first bytes; 0 where they do not tell."""
    # What goes wrong will be said when its turn comes.
    with contextlib.suppress(Exception), open(name, "rb") as file:
        first = file.read(MAX_HEADER_BYTES)
        if not first.startswith(MAGIC):
            return 0 if first.startswith(_ICONS) else _image_pixels(name)
        header = Header.parse(first)[0]
        return header.width * header.height
    return 0


def _image_pixels(name: str) -> int:
    import warnings

    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # --max-pixels takes its place
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(name) as image:
            return image.width * image.height
