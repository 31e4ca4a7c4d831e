"""``ctc decode``: .ctc files to images, or to one after every so many bytes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import click

from ..codec.options import DecodeOptions
from ..container.file import truncate
from ..container.header import HeaderCutError
from .batch import run_batch
from .files import STREAM, check_output, read_pieces, write_output
from .inputs import Plan, Task, ctc_suffixes, plan
from .options import (
    ACCEPT_DAMAGE,
    BPP,
    COMPUTE,
    INPUTS,
    JOBS,
    NBYTES,
    OUTPUT,
    WORDS,
    BatchOptions,
    ByteCount,
    ColourType,
    ComputeOptions,
    collected,
    examples,
    exclusive,
)
from .work import Result, Run, Tell, Work

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Output:
    """Images as they are written.

    image_format: Pillow's name of a format, in any case, or of its suffix; None for the output's suffix.
    background: behind transparency, in formats without it.
    thumbnail: an eighth of each side.
    """

    image_format: str | None = None
    background: str | None = None
    thumbnail: bool = False


@dataclass(frozen=True)
class Cut:
    """The part of each file that is decoded.

    bpp, nbytes: bits per pixel, or bytes, at most.
    every: an image after every so many bytes.
    """

    bpp: float | None = None
    nbytes: int | None = None
    every: int | None = None


@click.command(
    short_help=".ctc files, whole or cut anywhere, to images.",
    epilog=examples(
        "ctc decode photo.ctc                         # photo.png",
        "ctc decode photo.ctc --bpp 0.3 -o small.jpg",
        "ctc decode -r archive -o pictures --format webp --jobs auto",
        "ctc decode photo.ctc --thumbnail -o icon.png # an eighth of each side, fast",
        "ctc decode logo.ctc --background '#ffffff' -o logo.jpg",
        "curl -s https://example.org/a.ctc | ctc decode - --progressive-every 10k -o frame-%03d.png",
        more="Exit codes: 0 done, 1 an input failed (the others are done), 2 wrong usage, 130 interrupted.",
    ),
)
@INPUTS
@OUTPUT
@BPP
@NBYTES
@click.option("--format", "image_format", metavar="NAME", help="Image format (default: suffix, or png).")
@ACCEPT_DAMAGE
@click.option(
    "--background",
    type=ColourType(),
    metavar="COLOR",
    help="What is behind transparency, for formats without it.",
)
@click.option("--thumbnail", is_flag=True, help="An eighth of each side, much faster.")
@click.option(
    "--progressive-every",
    "every",
    type=ByteCount(),
    help="An image after every N bytes, as they arrive, and one at the end; needs -o NAME%03d.png.",
)
@JOBS
@COMPUTE
@WORDS
@collected(batch=BatchOptions, compute=ComputeOptions, output=Output, cut=Cut)
def decode(
    inputs: tuple[str, ...],
    *,
    accept_damage: bool,
    output: Output,
    cut: Cut,
    batch: BatchOptions,
    compute: ComputeOptions,
) -> None:
    """Decode .ctc files, whole or cut anywhere, to images (by default PNG beside each input)."""
    exclusive(bpp=cut.bpp, bytes=cut.nbytes, progressive_every=cut.every)
    exclusive(thumbnail=output.thumbnail, progressive_every=cut.every)
    if cut.every is not None and (len(inputs) > 1 or batch.recursive or batch.skip_existing):
        raise click.UsageError("--progressive-every takes one input, without -r and --skip-existing")
    try:
        chosen, kind = _plan(inputs, batch, output.image_format, cut.every is not None)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    options = DecodeOptions(accept_damage, max_pixels=compute.limit)
    if cut.every is None:
        run_batch(chosen, DecodeWork(options, output, kind, cut, compute=compute), batch)
    run_batch(chosen, FramesWork(options, output, kind, cut.every, batch.force, compute=compute), batch)


def _plan(
    inputs: tuple[str, ...], batch: BatchOptions, image_format: str | None, frames: bool
) -> tuple[Plan, str]:
    """The tasks, and Pillow's name of the image format. Raises UsageError, ValueError."""
    from ..image.save import saving_format

    suffix = f".{image_format}" if image_format else ".png"
    kind = saving_format(suffix)
    names: list[str | None] = [frame_name(batch.output or "", 1)] if frames else []
    chosen = plan(inputs, batch, suffix.lower(), ctc_suffixes)
    names += [task.target for task in [*chosen.tasks, *chosen.skipped]]
    if not image_format and names and names[0] not in (None, STREAM):
        kind = saving_format(os.path.splitext(names[0])[1])
    return chosen, kind


@dataclass(frozen=True)
class _ImageWork(Work):
    """Work that makes images.

    kind: Pillow's name of their format.
    """

    options: DecodeOptions
    output: Output
    kind: str

    def warned(self, tell: Tell) -> DecodeOptions:
        """The options, with warnings told."""
        return replace(self.options, warn=lambda message: tell(f"warning: {message}"))

    def encoded(self, image: Image.Image) -> bytes:
        """An image file. Raises OutputError."""
        from ..image.save import image_bytes

        return image_bytes(image, self.kind, background=self.output.background)

    def note(self, image: Image.Image, tell: Tell) -> None:
        """Note that the format cannot hold an image's transparency, if no background was given."""
        from ..image.save import flattens

        if self.output.background is None and flattens(image, self.kind):
            tell(
                f"note: {self.kind} does not hold this transparency: "
                "it is flattened onto white (see --background)"
            )


@dataclass(frozen=True)
class DecodeWork(_ImageWork):
    """Decode a file, or as much of it as ``cut`` says, to an image."""

    cut: Cut

    def prepare(self) -> Run:
        model = self.compute.load()
        from ..codec.decoder import decode, thumbnail

        make = thumbnail if self.output.thumbnail else decode
        bpp, nbytes = self.cut.bpp, self.cut.nbytes

        def run(data: bytes, task: Task, tell: Tell) -> Result:
            if bpp is not None or nbytes is not None:
                data = truncate(data, bpp=bpp, nbytes=nbytes)
            image = make(data, self.warned(tell), weights=model)
            self.note(image, tell)
            detail = f"weights {model.fingerprint.hex()}"
            return Result.of_file(data, size=image.size, output=self.encoded(image), detail=detail)

        return run


# --- images as bytes arrive -------------------------------------------------------------------------

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


@dataclass(frozen=True)
class FramesWork(_ImageWork):
    """Decode one input to many images; its target is a pattern of names.

    every: bytes between two images.
    force: existing files are replaced.
    """

    streams: ClassVar[bool] = True
    every: int
    force: bool

    def prepare(self) -> Run:
        model = self.compute.load()
        from ..codec.decoder import Decoder

        def run(_: bytes, task: Task, tell: Tell) -> Result:
            assert task.target is not None
            check_output(frame_name(task.target, 1), self.force)
            decoder = Decoder(self.warned(tell), weights=model)
            data, frames = bytearray(), 0
            for piece in read_pieces(task.source, self.every):
                data += piece
                decoder.feed(piece)
                try:
                    image = decoder.image()
                except HeaderCutError:
                    continue
                frames += 1
                if frames == 1:
                    self.note(image, tell)
                write_output(frame_name(task.target, frames), self.encoded(image), self.force)
            if not frames:
                decoder.image()  # says why
            return Result.of_file(bytes(data), detail=f"{frames} frames")

        return run
