"""``ctc preview``: .ctc files as web pages with a slider over their bytes."""

from __future__ import annotations

import base64
import html
import importlib.resources
import io
import json
import math
import os
import string
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from ..codec.options import DecodeOptions
from ..codec.processes import DECODE_BYTES
from ..container.file import Info
from ..container.file import info as info_of
from ..errors import CtcError, DamageError, InputError
from .batch import on_terminal, run_batch
from .files import STREAM, printable, read_input
from .inputs import Task, ctc_suffixes, plan
from .options import (
    COMPUTE,
    INPUTS,
    JOBS,
    OUTPUT,
    WORDS,
    BatchOptions,
    ComputeOptions,
    collected,
    examples,
)
from .work import Result, Run, Tell, Work

if TYPE_CHECKING:
    from PIL import Image

    from ..codec.model import CodecModel
    from ..image.transparency import Pixels

STEPS = 20
"""Positions of the slider, unless asked for otherwise."""


@click.command(
    epilog=examples(
        "ctc preview photo.ctc                          # photo.html",
        "ctc preview photo.ctc --original photo.png     # with the PSNR of every step",
        "ctc preview small.ctc --frames 40 -o pages/    # pages/small.html",
        "ctc preview -r archive -o pages --jobs auto",
        "head -c 9k photo.ctc | ctc preview - > p.html",
        more="Exit codes: 0 done, 1 an input failed (the others are done), 2 wrong usage, 130 interrupted.",
    ),
)
@INPUTS
@OUTPUT
@click.option(
    "--original",
    type=click.Path(),
    metavar="IMAGE",
    help="What was encoded, of one input: tells the PSNR of every step.",
)
@click.option(
    "--frames",
    "steps",
    type=click.IntRange(min=1, max=200),
    default=STEPS,
    show_default=True,
    help="Positions of the slider.",
)
@JOBS
@COMPUTE
@WORDS
@collected(batch=BatchOptions, compute=ComputeOptions)
def preview(
    inputs: tuple[str, ...],
    *,
    original: str | None,
    steps: int,
    batch: BatchOptions,
    compute: ComputeOptions,
) -> None:
    """Make a web page with a slider over the bytes of each .ctc file.

    A page is one file that refers to nothing else; by default it is beside INPUT, with the suffix .html.
    """
    if original is not None and (len(inputs) > 1 or batch.recursive):
        raise click.UsageError("--original goes with one input, without -r")
    if batch.output is not None and os.path.splitext(batch.output)[1].lower() not in ("", ".html", ".htm"):
        raise click.UsageError(f"{printable(batch.output)}: a preview is a web page, of a name with .html")
    if batch.remove:
        raise click.UsageError("--rm: a page does not stand for its file")
    if original == STREAM and inputs == (STREAM,):
        raise click.UsageError("standard input can be read only once")
    bar = len(inputs) == 1 and not batch.quiet and on_terminal()
    run_batch(
        plan(inputs, batch, ".html", ctc_suffixes), PreviewWork(original, steps, bar, compute=compute), batch
    )


@dataclass(frozen=True)
class PreviewWork(Work):
    """Make a page.

    original: name of the image that was encoded, or None.
    steps: of the slider.
    bar: show how far it is.
    """

    original: str | None = None
    steps: int = STEPS
    bar: bool = False

    @property
    def bytes_per_pixel(self) -> int:
        return DECODE_BYTES

    def prepare(self) -> Run:
        model = self.compute.load()

        def run(data: bytes, task: Task, tell: Tell) -> Result:
            found = info_of(data)
            if found.damage is not None:
                raise DamageError(found.damage)
            size = found.header.width, found.header.height
            limit = self.compute.limit
            reference = None if self.original is None else _original(self.original, size, limit)
            first = FIRST_BYTES if len(data) > FIRST_BYTES > found.header_bytes else found.header_bytes
            counts = cuts(first, len(data), self.steps)
            images = self._shown(frames(data, counts, model, limit), len(counts))
            shown = [_step(count, image, reference) for count, image in zip(counts, images, strict=True)]
            page = render(task.source, found, shown)
            ends = {"steps": len(counts), "first_bytes": counts[0], "last_bytes": counts[-1]}
            line = f"{len(counts)} step{'s' * (len(counts) != 1)}, {counts[0]} to {counts[-1]} bytes"
            pixels = size[0] * size[1]
            return Result(line, ends, output=page.encode(), nbytes=len(data), pixels=pixels)

        return run

    def _shown(self, images: Iterator[Image.Image], count: int) -> Iterator[Image.Image]:
        """The same, with a bar if it is wanted."""
        if not self.bar:
            return images
        from tqdm import tqdm

        tqdm.monitor_interval = 0
        bar: Any = tqdm(images, total=count, unit=" steps", file=sys.stderr, leave=False, dynamic_ncols=True)
        return iter(bar)


# --- the page ---------------------------------------------------------------------------------------

FIRST_BYTES = 100
"""The slider begins here, or where the header is complete."""

SHOWN_SIDE = 1600
"""Pixels of the longer side of a picture in the page; larger images are shown smaller."""

QUALITY = 90
"""WebP quality of the pictures, which are for display only."""

_SMALL_SIDE = 320
"""Images with a longer side below this are enlarged to it (in CSS pixels), pixels staying squares."""


@dataclass(frozen=True)
class Step:
    """A position of the slider, as it is shown.

    bytes: of the file.
    rate: bits per pixel.
    psnr: dB, or None without the original.
    src: URI of the picture.
    """

    bytes: str
    rate: str
    psnr: str | None
    src: str


def cuts(first: int, last: int, steps: int) -> list[int]:
    """At most ``steps`` byte counts from ``first`` to ``last``, ascending, evenly spaced in logarithm."""
    if steps == 1 or first >= last:
        return [last]
    ratio = last / first
    return sorted({round(first * ratio ** (step / (steps - 1))) for step in range(steps)})


def frames(
    data: bytes, counts: Sequence[int], model: CodecModel, max_pixels: int | None
) -> Iterator[Image.Image]:
    """The image after each of the byte counts, which ascend and begin after the header. Raises CtcError."""
    from ..codec.decoder import Decoder

    decoder = Decoder(DecodeOptions(max_pixels=max_pixels), weights=model)
    for start, end in pairwise([0, *counts]):
        decoder.feed(data[start:end])
        yield decoder.image()


def _shown_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, SHOWN_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _picture(image: Image.Image) -> str:
    """URI of a picture for display, no larger than ``SHOWN_SIDE``."""
    from PIL.Image import Resampling

    if image.mode == "LA":  # which WebP does not have
        image = image.convert("RGBA")
    size = _shown_size(*image.size)
    if size != image.size:
        image = image.resize(size, Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


def _as_seen(image: Image.Image) -> Pixels:
    """uint8 [height, width, 3], upright, transparency on white: what PSNR is measured on."""
    from ..image.source import source_image

    return source_image(image, background="white").pixels


def _original(name: str, size: tuple[int, int], max_pixels: int | None) -> Pixels:
    """The image that was encoded, of that width and height. Raises InputError, LimitError."""
    from PIL import Image

    from ..image.open import open_image

    Image.MAX_IMAGE_PIXELS = None  # --max-pixels takes its place
    try:
        pixels = _as_seen(open_image(read_input(name), max_pixels))
        height, width = pixels.shape[:2]
        if (width, height) != size:
            raise InputError(f"is {width}x{height}, and the file {size[0]}x{size[1]}")
    except CtcError as error:
        raise type(error)(f"{printable(name)}: {error}") from None
    return pixels


def _step(count: int, image: Image.Image, original: Pixels | None) -> Step:
    from ..image.source import psnr

    quality = None
    if original is not None:
        value = psnr(original, _as_seen(image))
        quality = f"{value:.2f}" if math.isfinite(value) else "\N{INFINITY}"
    rate = 8 * count / (image.width * image.height)
    return Step(f"{count:,}", f"{rate:.4f}", quality, _picture(image))


def render(name: str, found: Info, steps: Sequence[Step]) -> str:
    """The page. It refers to nothing outside itself.

    name: of the file.
    found: its description.
    steps: ascending, at least one.
    """
    header, shown = found.header, steps[-1]
    full = f"{header.width}\N{MULTIPLICATION SIGN}{header.height}"
    width, height = _shown_size(header.width, header.height)
    remarks = [f"Pictures are shown as WebP of quality {QUALITY}."]
    if (width, height) != (header.width, header.height):
        remarks.append(f"They are scaled down, to {width}\N{MULTIPLICATION SIGN}{height} of {full} pixels.")
    if shown.psnr is not None:
        white = ", on white" if header.alpha else ""
        remarks.append(f"PSNR is over all pixels as decoded, in RGB{white}.")
    state, end = "complete", f"{shown.bytes} bytes"
    if not found.complete:
        state = f"cut (the whole file has {header.file_bytes:,} bytes)"
        end += f": cut here, {header.file_bytes - found.nbytes:,} are missing"
    classes = ["alpha"] * header.alpha + ["small"] * (max(width, height) < _SMALL_SIDE)
    values = {
        "name": printable(os.path.basename(name)),
        "facts": f"{full} {header.mode}, {shown.bytes} bytes, {shown.rate} bpp, {state}",
        "first": f"{steps[0].bytes} bytes",
        "end": end,
        "remarks": " ".join(remarks),
        "bytes": shown.bytes,
        "rate": shown.rate,
        "psnr": shown.psnr or "",
        "hidden": "hidden" if shown.psnr is None else "",
        "classes": " ".join(classes),
        "least": str(_SMALL_SIDE * width // max(width, height) or 1),
        "width": str(width),
        "height": str(height),
        "last": str(len(steps) - 1),
        "disabled": "disabled" if len(steps) == 1 else "",
        "picture": shown.src,
    }
    values = {key: html.escape(value) for key, value in values.items()}
    # The last picture is in the page itself, so that it is there without JavaScript too.
    listed = [asdict(step) for step in steps]
    listed[-1]["src"] = None
    # Nothing is unescaped inside of a script element, and "</script" would end it.
    values["steps"] = json.dumps(listed).replace("<", "\\u003c")
    template = importlib.resources.files(__package__).joinpath("preview.html").read_text("utf-8")
    return string.Template(template).substitute(values)
