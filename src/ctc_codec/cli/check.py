"""``ctc check``: which of many files are as they were written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from ..codec.processes import DECODE_BYTES
from ..container.file import COMPLETE, CUT, DAMAGED, File, parse
from ..container.verify import verify
from ..errors import DamageError
from .batch import run_batch
from .inputs import Task, ctc_suffixes, plan
from .options import (
    COMPUTE,
    INPUTS,
    JOBS,
    RECURSIVE,
    WORDS,
    BatchOptions,
    ComputeOptions,
    collected,
    examples,
)
from .work import Result, Run, Tell, Work


@click.command(
    epilog=examples(
        "ctc check photo.ctc",
        "ctc check -r archive --quiet                 # says which are not",
        "ctc check --complete upload.ctc              # a cut file is not accepted",
        "ctc check -r archive --json | jq -r 'select(.error).file'",
        "curl -s https://example.org/a.ctc | ctc check -",
        more="Verifies the header, every check sum, and what a file holds besides colours; decodes no pixels "
        "and needs no weights. Exit codes: 0 all files are sound, whole or cut; 1 one is not; 2 wrong usage.",
    ),
)
@INPUTS
@RECURSIVE
@click.option("--complete", is_flag=True, help="Files that are cut are not accepted.")
@click.option(
    "--decode",
    is_flag=True,
    help="Read the code word too: finds one that no encoder writes. Needs the weights, and some time.",
)
@JOBS
@COMPUTE
@WORDS
@collected(batch=BatchOptions, compute=ComputeOptions)
def check(
    inputs: tuple[str, ...], *, complete: bool, decode: bool, batch: BatchOptions, compute: ComputeOptions
) -> None:
    """Check .ctc files: whole, cut (a valid beginning), or damaged, and where."""
    run_batch(plan(inputs, batch, None, ctc_suffixes), CheckWork(complete, decode, compute=compute), batch)


@dataclass(frozen=True)
class CheckWork(Work):
    """Check a file.

    complete: a file that is cut is not accepted.
    decode: read the trits too, which needs the weights.
    """

    complete: bool = False
    decode: bool = False

    @property
    def bytes_per_pixel(self) -> int:
        return DECODE_BYTES if self.decode else 0

    def prepare(self) -> Run:
        model = self.compute.load() if self.decode else None

        def run(data: bytes, task: Task, tell: Tell) -> Result:
            file = parse(data)
            sections: tuple[str, ...] = ()
            try:
                sections = verify(file, self.compute.limit)
                if self.complete and file.state == CUT:
                    missing = f"cut: {file.nbytes} of {file.header.file_bytes} bytes"
                    return _result(file, CUT, sections, missing)
                if model is not None:
                    from ..codec.verify import verify_code

                    verify_code(data, model, self.compute.limit)
            except DamageError as error:
                return _result(file, DAMAGED, sections, str(error))
            return _result(file, file.state, sections)

        return run


def _result(file: File, state: str, sections: tuple[str, ...] = (), error: str | None = None) -> Result:
    header = file.header
    facts: dict[str, Any] = {
        "state": state,
        "bytes": file.nbytes,
        "complete_bytes": header.file_bytes,
        "checked_bytes": file.checked_bytes,
        "width": header.width,
        "height": header.height,
        "sections": list(sections),
    }
    picture = f"{header.width}x{header.height} {header.mode}"
    return Result(
        _words(file),
        facts,
        nbytes=file.nbytes,
        pixels=header.width * header.height,
        detail=", ".join([picture, f"weights {header.fingerprint.hex()}", *sections]),
        error=error,
    )


def _words(file: File) -> str:
    if file.state == COMPLETE:
        return f"{COMPLETE}, {file.nbytes} bytes"
    unchecked = file.nbytes - file.checked_bytes
    rest = f", the last {unchecked} without a check sum" if unchecked else ""
    return f"cut, {file.nbytes} of {file.header.file_bytes} bytes{rest}"
