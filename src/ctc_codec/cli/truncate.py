"""``ctc truncate``: the first bytes of .ctc files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import click

from ..container import file
from ..container.file import info
from ..errors import TargetError
from .batch import run_batch
from .files import STREAM, CtcInput, more_than_asked, note_no_picture, rate_bytes, read_ctc
from .inputs import Task, check_name, ctc_suffixes, plan
from .options import (
    BPP,
    INPUTS,
    JOBS,
    NBYTES,
    OUTPUT,
    PACK,
    POSITIVE,
    SCALE,
    WORDS,
    BatchOptions,
    collected,
    examples,
    exclusive,
)
from .work import Result, Run, Tell, Work


@click.command(
    epilog=examples(
        "ctc truncate photo.ctc --bpp 0.5 -o small.ctc",
        "ctc truncate photo.ctc --psnr 34 -o good.ctc # needs no weights",
        "ctc truncate -r archive --bytes 20k -o web",
        "curl -s https://example.org/a.ctc | ctc truncate - --bytes 9000 > a.ctc",
        more="Exit codes: 0 done, 1 an input failed (the others are done), 2 wrong usage, 130 interrupted.",
    ),
)
@INPUTS
@OUTPUT
@BPP
@NBYTES
@click.option(
    "--psnr", type=POSITIVE, metavar="DB", help="About as many as give DB dB, by the file's quality table."
)
@JOBS
@SCALE
@PACK
@WORDS
@collected(batch=BatchOptions)
def truncate(
    inputs: tuple[str, ...], *, bpp: float | None, nbytes: int | None, psnr: float | None, batch: BatchOptions
) -> None:
    """Keep the first bytes of .ctc files (the same as head -c)."""
    exclusive(bpp=bpp, bytes=nbytes, psnr=psnr)
    if bpp is None and nbytes is None and psnr is None:
        raise click.UsageError("give --bpp, --bytes or --psnr")
    if batch.output is None and inputs != (STREAM,):
        raise click.UsageError("the output goes after -o: it does not replace the input by default")
    check_name(batch.output)
    run_batch(plan(inputs, batch, ".ctc", ctc_suffixes), TruncateWork(bpp, nbytes, psnr), batch)


@dataclass(frozen=True)
class TruncateWork(Work):
    """One of the targets of :func:`ctc_codec.truncate`."""

    in_place: ClassVar[bool] = True
    bpp: float | None = None
    nbytes: int | None = None
    psnr: float | None = None

    def read(self, task: Task) -> bytes:
        return read_ctc(task.source, self._part)

    def _part(self, source: CtcInput) -> bytes:
        if self.psnr is None:
            return source.first(rate_bytes(source, self.bpp, self.nbytes))
        count = file.psnr_bytes(source.first(file.table_bytes(source.header)), self.psnr)
        data = source.first(count)
        if len(data) < count:
            raise TargetError(f"{self.psnr:g} dB would take {count} bytes, and {len(data)} are left")
        return data

    def prepare(self) -> Run:
        def run(data: bytes, task: Task, tell: Tell) -> Result:
            if self.bpp is not None and (note := more_than_asked(data, self.bpp)):
                tell(note)
            note_no_picture(data, tell)
            whole = info(data).header.file_bytes
            kept = "it holds more than its output" if len(data) < whole else None
            return Result.of_file(data, output=data, kept=kept, detail=f"of {whole} bytes")

        return run
