"""``ctc decode``: .ctc files to images, or to one after every so many bytes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import click

from ..codec.options import DecodeOptions, thumbnail_bytes, thumbnail_size
from ..codec.processes import DECODE_BYTES
from ..container.file import Info, info
from ..container.header import HeaderCutError, check_pixels
from ..image.formats import check_quality, check_size, saving_format
from .batch import run_batch
from .files import (
    STREAM,
    CtcInput,
    Origin,
    more_than_asked,
    note_no_picture,
    printable,
    rate_bytes,
    read_ctc,
    read_pieces,
    write_output,
)
from .inputs import Plan, Task, ctc_suffixes, plan
from .options import (
    ACCEPT_DAMAGE,
    BPP,
    COMPUTE,
    INPUTS,
    JOBS,
    NBYTES,
    OUTPUT,
    SCALE,
    WORDS,
    BatchOptions,
    ByteCount,
    ColourType,
    ComputeOptions,
    Whole,
    collected,
    examples,
    exclusive,
)
from .work import Result, Run, Tell, Work, rounded

if TYPE_CHECKING:
    from PIL import Image

    from ..codec.model import CodecModel

_PART = "it holds more than was decoded"


@dataclass(frozen=True)
class Output:
    """Images as they are written.

    image_format: Pillow's name of a format, in any case, or of its suffix; None for the output's suffix.
    background: behind transparency, in formats without it.
    thumbnail: an eighth of each side.
    quality: of lossy formats; None for one that adds little.
    """

    image_format: str | None = None
    background: str | None = None
    thumbnail: bool = False
    quality: int | None = None


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
@click.option(
    "--quality",
    type=Whole("a whole number from 1 to 100", min=1, max=100),
    metavar="N",
    help="Quality of JPEG, WebP, AVIF, 1 to 100 (default: 95; WebP is lossless without).",
)
@click.option("-d", is_flag=True, hidden=True, expose_value=False)
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
@SCALE
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
    if cut.every is not None and (batch.record is not None or batch.engine == "ray"):
        raise click.UsageError("--progressive-every goes without --record and --engine ray")
    try:
        chosen, kind = _plan(inputs, batch, output.image_format, cut.every is not None)
        check_quality(kind, output.quality)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    options = DecodeOptions(accept_damage, max_pixels=compute.limit)
    if cut.every is None:
        run_batch(chosen, DecodeWork(options, output, kind, cut, compute=compute), batch)
    run_batch(chosen, FramesWork(options, output, kind, cut.every, batch, compute=compute), batch)


def _plan(
    inputs: tuple[str, ...], batch: BatchOptions, image_format: str | None, frames: bool
) -> tuple[Plan, str]:
    """The tasks, and Pillow's name of the image format. Raises UsageError, ValueError."""
    suffix = "." + image_format.lower().removeprefix(".") if image_format else ".png"
    kind = saving_format(suffix)
    if frames and batch.output is None:
        raise ValueError("--progressive-every needs -o with a numbered name, frame-%03d.png for example")
    names: list[str | None] = [frame_name(batch.output or "", 1)] if frames else []
    chosen = plan(inputs, batch, suffix, ctc_suffixes)
    names += [task.target for task in [*chosen.tasks, *chosen.skipped]]
    name = names[0] if names else None
    if name in (None, STREAM):
        return chosen, kind
    ending = os.path.splitext(name)[1]
    if not image_format:
        return chosen, saving_format(ending)
    if ending.lower() == ".ctc":
        raise click.UsageError(f"{printable(name)} is no name of an image")
    with contextlib.suppress(ValueError):
        if saving_format(ending) != kind:
            raise click.UsageError(f"{printable(name)} is no name of a {kind} file: leave --format out")
    return chosen, kind


@dataclass(frozen=True)
class _ImageWork(Work):
    """Work that makes images.

    kind: Pillow's name of their format.
    """

    options: DecodeOptions
    output: Output
    kind: str

    @property
    def bytes_per_pixel(self) -> int:
        return DECODE_BYTES

    def warned(self, tell: Tell) -> DecodeOptions:
        """The options, with warnings told."""
        return replace(self.options, warn=lambda message: tell(f"warning: {message}"))

    def read_part(self, task: Task, part: Callable[[CtcInput], bytes]) -> bytes:
        """Bytes of the input. Raises CtcError, also if it cannot be decoded or the format cannot hold it."""

        def checked(source: CtcInput) -> bytes:
            size = source.header.width, source.header.height
            check_pixels(*size, self.options.max_pixels)
            if self.output.thumbnail:
                size = thumbnail_size(*size)
            check_size(self.kind, *size)
            return part(source)

        return read_ctc(task.source, checked)

    def encoded(self, image: Image.Image) -> bytes:
        """An image file. Raises OutputError."""
        from ..image.save import image_bytes

        return image_bytes(image, self.kind, background=self.output.background, quality=self.output.quality)

    def note(self, image: Image.Image, tell: Tell) -> None:
        """Note what the format cannot hold: metadata, and transparency, if no background was given."""
        from ..image.save import dropped, flattens

        if lost := dropped(image, self.kind):
            tell(f"note: {self.kind} does not hold {', '.join(lost)}: not written")
        if self.output.background is None and flattens(image, self.kind):
            tell(
                f"note: {self.kind} does not hold this transparency: "
                "it is flattened onto white (see --background)"
            )

    def result(
        self,
        found: Info,
        size: tuple[int, int],
        output: bytes | None,
        model: CodecModel,
        frames: int | None = None,
    ) -> Result:
        """The result of decoding a file to a picture of a size, or to so many frames."""
        used = found.used_bytes
        bpp = 8 * used / (found.header.width * found.header.height)
        width, height = size
        facts: dict[str, Any] = {"width": width, "height": height}
        if output is not None:
            facts |= {"bytes": len(output), "bpp": round(8 * len(output) / (width * height), 5)}
        else:
            facts["frames"] = frames
        facts |= {"from_bytes": used, "from_bpp": round(bpp, 5), "psnr": rounded(found.psnr)}
        words = "" if frames is None else f", {frames} frame{'s' * (frames != 1)}"
        line = f"{width}x{height}{words}, from {used} bytes, {bpp:.4f} bpp"
        detail = f"weights {model.fingerprint.hex()}"
        return Result(line, facts, output=output, nbytes=found.nbytes, pixels=width * height, detail=detail)


@dataclass(frozen=True)
class DecodeWork(_ImageWork):
    """Decode a file, or as much of it as ``cut`` says, to an image."""

    cut: Cut

    def read(self, task: Task) -> bytes:
        return self.read_part(task, self._part)

    def _part(self, source: CtcInput) -> bytes:
        if self.cut.bpp is not None or self.cut.nbytes is not None:
            return source.first(rate_bytes(source, self.cut.bpp, self.cut.nbytes))
        if self.output.thumbnail:
            return source.first(thumbnail_bytes(source.header))
        return source.whole()

    def prepare(self) -> Run:
        model = self.compute.load()
        from ..codec.decoder import decode, thumbnail

        make = thumbnail if self.output.thumbnail else decode

        def run(data: bytes, task: Task, tell: Tell) -> Result:
            if self.cut.bpp is not None and (note := more_than_asked(data, self.cut.bpp)):
                tell(note)
            note_no_picture(data, tell)
            image = make(data, self.warned(tell), weights=model)
            self.note(image, tell)
            found = info(data)
            result = self.result(found, image.size, self.encoded(image), model)
            if self.output.thumbnail or self.cut != Cut() or found.damage is not None:
                result = replace(result, kept=_PART)
            return result

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
    batch: how they are written.
    """

    streams: ClassVar[bool] = True
    every: int
    batch: BatchOptions

    def first_output(self, task: Task) -> str | None:
        return None if task.target is None else frame_name(task.target, 1)

    def read(self, task: Task) -> bytes:
        return self.read_part(task, lambda source: b"")

    def prepare(self) -> Run:
        model = self.compute.load()
        from ..codec.decoder import Decoder

        def run(_: bytes, task: Task, tell: Tell) -> Result:
            assert task.target is not None
            damages: list[str] = []
            options = replace(self.options, warn=damages.append)
            decoder = Decoder(options, weights=model)
            origin = Origin(task.source, self.batch.preserve)
            data, frames, size = bytearray(), 0, (0, 0)
            for piece in read_pieces(task.source, self.every):
                data += piece
                decoder.feed(piece)
                try:
                    image = decoder.image()
                except HeaderCutError:
                    continue
                frames, size = frames + 1, image.size
                for damage in damages:
                    tell(f"warning: {damage}")
                if frames == 1:
                    self.note(image, tell)
                name = frame_name(task.target, frames)
                write_output(name, self.encoded(image), self.batch.force, origin=origin)
                if damages:  # nothing behind it will be used
                    break
            if not frames:
                decoder.image()  # says why
            result = self.result(info(bytes(data)), size, None, model, frames=frames)
            return replace(result, kept=_PART) if damages else result

        return run
