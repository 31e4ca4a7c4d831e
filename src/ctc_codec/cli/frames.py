"""``ctc decode --progressive-every``: the image after every so many bytes, as they arrive."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..container.header import HeaderCutError
from ..errors import InputError
from .files import STREAM, check_output, read_input, write_output
from .inputs import Task
from .options import BatchOptions, ComputeOptions
from .work import Done, One, Tell, flattening_note

_FIELD = re.compile(r"%(?:%|0?\d{0,2}d)")


def frame_name(pattern: str, number: int) -> str:
    """``frame-%03d.png``, 7 to ``frame-007.png``; %% stands for %. Raises ValueError unless there is exactly
    one such field."""
    fields = _FIELD.findall(pattern)
    if len(fields) - fields.count("%%") != 1 or "%" in _FIELD.sub("", pattern):
        raise ValueError(
            f"{pattern!r} does not number frames: it needs one field like that of frame-%03d.png"
        )
    return pattern % number


def _pieces(name: str, size: int) -> Iterator[bytes]:
    """The bytes of a file in pieces of ``size``, the last one shorter; those of stdin once they are there."""
    if name != STREAM:
        data = read_input(name)
        yield from (data[start : start + size] for start in range(0, len(data), size))
        return
    if sys.stdin is None:
        raise InputError("it is closed")
    try:
        while piece := sys.stdin.buffer.read(size):
            yield piece
    except OSError as error:
        raise InputError(error.strerror or type(error).__name__) from None


@dataclass(frozen=True)
class FramesWork:
    """Decode one input to many images. Its target is a pattern of names; every: bytes between two frames."""

    batch: BatchOptions
    compute: ComputeOptions
    kind: str
    every: int
    accept_damage: bool = False
    background: str | None = None

    def with_threads(self, threads: int) -> FramesWork:
        return replace(self, compute=replace(self.compute, threads=threads))

    def prepare(self) -> One:
        model = self.compute.load()
        from ..codec.decoder import Decoder
        from ..image.save import image_bytes

        def one(task: Task, tell: Tell) -> Done:
            check_output(frame_name(task.target, 1), self.batch.force)
            started = time.perf_counter()
            decoder = Decoder(
                weights=model,
                max_pixels=self.compute.limit,
                accept_damage=self.accept_damage,
                warn=lambda message: tell(f"warning: {message}"),
            )
            data, frames = bytearray(), 0
            for piece in _pieces(task.source, self.every):
                data += piece
                decoder.feed(piece)
                try:
                    image = decoder.image()
                except HeaderCutError:
                    continue
                frames += 1
                note = flattening_note(image, self.kind, self.background)
                if note and frames == 1:
                    tell(note)
                output = image_bytes(image, self.kind, background=self.background)
                write_output(frame_name(task.target, frames), output, self.batch.force)
            if not frames:
                decoder.image()  # says why
            return Done.of(bytes(data), started, detail=f"{frames} frames")

        return one
