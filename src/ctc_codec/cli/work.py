"""What is done with one file. Records of it travel to worker processes and back."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from ..container.file import info as container_info
from ..container.file import truncate as truncate_bytes
from ..errors import CtcError
from . import signals as _signals
from .files import OutputExists, StdoutGone, check_not_input, check_output, read_input, write_output
from .inputs import Task
from .options import BatchOptions, ComputeOptions

if TYPE_CHECKING:
    from PIL import Image

Tell = Callable[[str], None]
"""Takes what else there is to say of a file: ``note: ...``, or ``warning: ...``, which is never silenced."""


@dataclass(frozen=True)
class Done:
    """What came of a file.

    nbytes, bpp: of the .ctc, written or read; width, height: of the image; seconds: all of it, less what
    ``psnr`` took; psnr: dB, measured (infinite for equal images), or by the file's quality table, or None;
    detail: more to say.
    """

    nbytes: int
    bpp: float
    width: int
    height: int
    seconds: float
    psnr: float | None = None
    detail: str = ""

    @classmethod
    def of(cls, data: bytes, started: float, **more: Any) -> Done:
        found = container_info(data)
        size = {"width": found.header.width, "height": found.header.height}
        by_default = {"seconds": time.perf_counter() - started, "psnr": found.psnr}
        return cls(len(data), found.bpp, **size | by_default | more)

    def summary(self) -> str:
        return f"{self.width}x{self.height}, {self.nbytes} bytes, {self.bpp:.4f} bpp"

    def facts(self) -> dict[str, Any]:
        """For JSON, which knows no infinity."""
        psnr = self.psnr if self.psnr is not None and math.isfinite(self.psnr) else None
        return {
            "bytes": self.nbytes,
            "bpp": round(self.bpp, 5),
            "width": self.width,
            "height": self.height,
            "seconds": round(self.seconds, 3),
            "psnr": psnr if psnr is None else round(psnr, 3),
        }


@dataclass(frozen=True)
class Outcome:
    """Of a task: ``done``, or ``error`` (one line), or neither if its output exists already. told: see Tell;
    trace: where an internal error came from."""

    task: Task
    done: Done | None = None
    error: str | None = None
    told: list[str] = field(default_factory=list)
    trace: str = ""


One = Callable[[Task, Tell], Done]


class Work(Protocol):
    """A command with its options; can be pickled."""

    @property
    def batch(self) -> BatchOptions: ...

    def with_threads(self, threads: int) -> Work:
        """The same with so many threads."""

    def prepare(self) -> One:
        """Load what is needed in this process, and return what works on a file. Raises CtcError."""


def attempt(one: One, task: Task, skip_existing: bool) -> Outcome:
    """Work on a file, whatever comes of it. Raises StdoutGone, and Interrupted."""
    told: list[str] = []
    try:
        return Outcome(task, done=one(task, told.append), told=told)
    except OutputExists as error:  # since the plan was made
        return Outcome(task, error=None if skip_existing else str(error), told=told)
    except Exception as error:
        message, trace = explain(error)
        return Outcome(task, error=message, told=told, trace=trace)


def explain(error: Exception) -> tuple[str, str]:
    """An error as one line, and the traceback of one that is a bug. Raises StdoutGone, and Interrupted."""
    _signals.check()  # libraries make other exceptions of an interrupt
    if isinstance(error, StdoutGone):
        raise error  # the other inputs cannot do better
    if isinstance(error, CtcError):
        return str(error), ""
    if out_of_memory(error):
        return "not enough memory", ""
    return internal_error(error), traceback.format_exc()


def out_of_memory(error: Exception) -> bool:
    """Whether there was too little of it, in the words of Python, onnxruntime, or the loader of libraries."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or "allocate memory" in text
        or "bad_alloc" in text
        or "bad allocation" in text
        or "failed to map segment from shared object" in text
        or "can't start new thread" in text
    )


def internal_error(error: Exception) -> str:
    return " ".join(f"internal error, please report it: {type(error).__name__}: {error}".split())


# --- encode -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EncodeWork:
    """``ctc encode``. quality, bpp, nbytes, psnr: targets; background: flatten transparency onto it."""

    batch: BatchOptions
    compute: ComputeOptions
    effort: int
    quality: float | None = None
    bpp: float | None = None
    nbytes: int | None = None
    psnr: float | None = None
    context: bool = True
    background: str | None = None
    metadata: bool = False
    quality_table: bool = True

    def with_threads(self, threads: int) -> EncodeWork:
        return replace(self, compute=replace(self.compute, threads=threads))

    def prepare(self) -> One:
        model = self.compute.load()
        from PIL import Image

        from ..codec.decoder import decode as decode_image
        from ..codec.encoder import encode as encode_image
        from ..image.open import open_image
        from ..image.source import psnr_against, source_image

        Image.MAX_IMAGE_PIXELS = None  # --max-pixels takes its place
        limit = self.compute.limit

        def one(task: Task, tell: Tell) -> Done:
            check_output(task.target, self.batch.force, task.make_folder)
            check_not_input(task.source, task.target)
            started = time.perf_counter()
            # Nested, so that neither the file nor Pillow's image is held while this one is coded.
            source = source_image(
                open_image(read_input(task.source), limit), background=self.background, metadata=self.metadata
            )
            for note in source.notes:
                tell(f"note: {note}")
            data = encode_image(
                source,
                quality=self.quality,
                bpp=self.bpp,
                nbytes=self.nbytes,
                psnr=self.psnr,
                effort=self.effort,
                quality_table=self.quality_table,
                context=self.context,
                weights=model,
                max_pixels=limit,
            )
            write_output(task.target, data, self.batch.force, task.make_folder)
            seconds = time.perf_counter() - started
            measured = None
            if self.batch.as_json:
                decoded = decode_image(data, weights=model, max_pixels=None)
                measured = psnr_against(source, decoded)
            detail = f"{seconds:.2f} s, weights {model.fingerprint.hex()}"
            return Done.of(data, started, seconds=seconds, psnr=measured, detail=detail)

        return one


# --- decode -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DecodeWork:
    """``ctc decode``. bpp, nbytes: use no more of a file; kind: Pillow's name of the image format;
    background: for formats without alpha; thumbnail: an eighth of each side."""

    batch: BatchOptions
    compute: ComputeOptions
    kind: str
    bpp: float | None = None
    nbytes: int | None = None
    accept_damage: bool = False
    background: str | None = None
    thumbnail: bool = False

    def with_threads(self, threads: int) -> DecodeWork:
        return replace(self, compute=replace(self.compute, threads=threads))

    def prepare(self) -> One:
        model = self.compute.load()
        from ..codec.decoder import decode, thumbnail
        from ..image.save import image_bytes

        def one(task: Task, tell: Tell) -> Done:
            check_output(task.target, self.batch.force, task.make_folder)
            check_not_input(task.source, task.target)
            started = time.perf_counter()
            data = read_input(task.source)
            if self.bpp is not None or self.nbytes is not None:
                data = truncate_bytes(data, bpp=self.bpp, nbytes=self.nbytes)
            how: dict[str, Any] = {
                "weights": model,
                "accept_damage": self.accept_damage,
                "max_pixels": self.compute.limit,
                "warn": lambda message: tell(f"warning: {message}"),
            }
            image = thumbnail(data, **how) if self.thumbnail else decode(data, **how)
            if note := flattening_note(image, self.kind, self.background):
                tell(note)
            output = image_bytes(image, self.kind, background=self.background)
            write_output(task.target, output, self.batch.force, task.make_folder)
            size = {"width": image.width, "height": image.height}
            seconds = time.perf_counter() - started
            detail = f"{seconds:.2f} s, weights {model.fingerprint.hex()}"
            return Done.of(data, started, seconds=seconds, detail=detail, **size)

        return one


def flattening_note(image: Image.Image, kind: str, background: str | None) -> str | None:
    """What there is to tell if an image format cannot hold transparency and nobody said what is to become of
    it."""
    from ..image.save import flattens

    if background is not None or not flattens(image, kind):
        return None
    return f"note: {kind} does not hold this transparency: it is flattened onto white (see --background)"


# --- truncate ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TruncateWork:
    """``ctc truncate``, with one of the targets."""

    batch: BatchOptions
    bpp: float | None = None
    nbytes: int | None = None
    psnr: float | None = None

    def with_threads(self, threads: int) -> TruncateWork:
        return self

    def prepare(self) -> One:
        def one(task: Task, tell: Tell) -> Done:
            check_output(task.target, self.batch.force, task.make_folder)
            started = time.perf_counter()
            data = read_input(task.source)
            small = truncate_bytes(data, bpp=self.bpp, nbytes=self.nbytes, psnr=self.psnr)
            write_output(task.target, small, self.batch.force, task.make_folder)
            return Done.of(small, started, detail=f"{len(data)} bytes before")

        return one
