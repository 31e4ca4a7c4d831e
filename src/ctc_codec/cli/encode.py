"""``ctc encode``: images to .ctc files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import click

from ..codec.options import DEFAULT_EFFORT, DEFAULT_QUALITY, EFFORTS, EncodeOptions
from ..codec.processes import ENCODE_BYTES
from ..image.formats import check_start
from .batch import run_batch
from .files import read_input, silent_libraries
from .inputs import Task, check_name, image_suffixes, plan
from .options import (
    BPP,
    COMPUTE,
    INPUTS,
    JOBS,
    NBYTES,
    OUTPUT,
    PACK,
    POSITIVE,
    QUALITY,
    SCALE,
    WORDS_BESIDE_QUALITY,
    BatchOptions,
    ColourType,
    ComputeOptions,
    Whole,
    collected,
    examples,
    exclusive,
)
from .work import Result, Run, Tell, Work, rounded

_HEAD = 1 << 12
"""Bytes that tell the size of a still picture."""
_BYTES_PER_PIXEL = 8
_MORE_BYTES = 1 << 26
"""No image file is longer that holds at most so many pixels, of 16 bits and with transparency, and so much
else: what comes out of a pipe may have no end."""


@click.command(
    epilog=examples(
        "ctc encode photo.png                         # photo.ctc",
        "ctc encode photo.png -q 90 -e 8 -o good.ctc",
        "ctc encode *.jpg -o archive/ --jobs auto     # one process per core",
        "ctc encode -r photos -o archive --skip-existing   # photos/a/b.png: archive/a/b.ctc",
        "ctc encode -r photos --json > results.jsonl  # bytes, bpp, PSNR of every file",
        "curl -s https://example.org/a.png | ctc encode - > a.ctc",
        more="Quality is a target of squared error, whatever the content: 85 is 40 dB, 90 is 42 dB, 100 all "
        "trit planes: 50 to 55 dB and, for photographs, 1 to 9 bpp, where files end at the latest. It only "
        "says where the file ends, which can be cut anywhere later. "
        "From folders, files with a suffix of an image format are taken, hidden ones and links to folders "
        "are not. Exit codes: 0 done, 1 an input failed (the others are done), 2 wrong usage, "
        "130 interrupted: what is done is whole, and --skip-existing goes on.",
    ),
)
@INPUTS
@OUTPUT
@click.option(
    "-q",
    "--quality",
    type=QUALITY,
    metavar="N",
    help=f"Where the file ends, from 1 to 100.  [default: {DEFAULT_QUALITY}]",
)
@BPP
@NBYTES
@click.option("--psnr", type=POSITIVE, metavar="DB", help="End the file where it reaches DB dB, measured.")
@click.option(
    "-e",
    "--effort",
    type=Whole(f"a whole number from {EFFORTS[0]} to {EFFORTS[-1]}", min=EFFORTS[0], max=EFFORTS[-1]),
    default=DEFAULT_EFFORT,
    show_default=True,
    metavar="1..9",
    help="More: slower to encode and to decode, smaller files.",
)
@click.option(
    "--context/--no-context", default=True, help="Without: larger files, faster to code, whatever the effort."
)
@click.option("--background", type=ColourType(), metavar="COLOR", help="Flatten transparency onto it.")
@click.option("--keep-metadata", "metadata", is_flag=True, help="Keep EXIF, XMP and resolution.")
@click.option("--keep-suffix", is_flag=True, help="photo.png.ctc in place of photo.ctc.")
@click.option(
    "--quality-table/--no-quality-table",
    default=True,
    help="Without: a few bytes less, and truncate --psnr will not work.",
)
@JOBS
@SCALE
@PACK
@COMPUTE
@WORDS_BESIDE_QUALITY
@collected(batch=BatchOptions, compute=ComputeOptions)
def encode(inputs: tuple[str, ...], *, batch: BatchOptions, compute: ComputeOptions, **wanted: Any) -> None:
    """Encode images to .ctc (by default beside each input, with the suffix .ctc)."""
    exclusive(quality=wanted["quality"], bpp=wanted["bpp"], bytes=wanted["nbytes"], psnr=wanted["psnr"])
    check_name(batch.output)
    options = EncodeOptions(**wanted, max_pixels=compute.limit)
    work = EncodeWork(options, batch, compute=compute)
    run_batch(plan(inputs, batch, ".ctc", image_suffixes), work, batch)


@dataclass(frozen=True)
class EncodeWork(Work):
    """Encode an image.

    batch: JSON has the PSNR as measured; where inputs are removed, what is not kept of them is told.
    """

    options: EncodeOptions
    batch: BatchOptions

    @property
    def bytes_per_pixel(self) -> int:
        return ENCODE_BYTES

    def read(self, task: Task) -> bytes:
        def longest(pixels: int | None) -> int | None:
            return None if pixels is None else _BYTES_PER_PIXEL * pixels + _MORE_BYTES

        data = read_input(
            task.source, longest(self.options.max_pixels), lambda head: longest(self._pixels(head))
        )
        check_start(data)
        return data

    def look(self, data: bytes) -> None:
        self._pixels(data[:_HEAD])
        from ..image.open import identify

        with silent_libraries():
            identify(data, self.options.max_pixels)

    def _pixels(self, head: bytes) -> int | None:
        """Pixels of a still picture, as the first bytes of its file tell, or None. Raises CtcError."""
        check_start(head)
        import logging

        from PIL import Image

        from ..image.open import refuse_early

        Image.MAX_IMAGE_PIXELS = None  # --max-pixels takes its place
        logging.getLogger("PIL").setLevel(logging.CRITICAL)  # of damaged TIFFs it speaks to programmers
        return refuse_early(head, self.options.max_pixels)

    def prepare(self) -> Run:
        model = self.compute.load()
        from ..codec.decoder import decode
        from ..codec.encoder import encode
        from ..image.open import open_image
        from ..image.source import psnr_against, source_image

        def run(data: bytes, task: Task, tell: Tell) -> Result:
            def warn(message: str) -> None:
                tell(message if message.startswith("warning: ") else f"note: {message}")

            options = replace(self.options, warn=warn)
            with silent_libraries():
                image = open_image(data, options.max_pixels)
                lost = [name.upper() for name in ("exif", "xmp") if image.info.get(name)]
                source = source_image(image, background=options.background, metadata=options.metadata)
            del image  # not held while its pixels are coded
            for note in source.notes:
                warn(note)
            if self.batch.remove and lost and not options.metadata:
                warn(f"warning: {' and '.join(lost)} are not kept (--keep-metadata)")
            coded = encode(source, options, weights=model)
            kept = source.more
            if len(coded) > len(data):
                warn(f"the output is larger than the input, {len(coded)} bytes of {len(data)}")
                kept = kept or "it is smaller than its output"

            def measured() -> dict[str, Any]:
                psnr = psnr_against(source, decode(coded, weights=model, max_pixels=None))
                return {"psnr": rounded(psnr)}

            return Result.of_file(
                coded,
                output=coded,
                kept=kept,
                detail=f"weights {model.fingerprint.hex()}",
                later=measured if self.batch.as_json else None,
            )

        return run
