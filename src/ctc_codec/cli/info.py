"""``ctc info``: descriptions of .ctc files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import click

from ..codec.processes import DECODE_BYTES
from ..container import file
from ..container.storage import is_url
from ..errors import LimitError, WeightsError
from . import signals
from .batch import run_batch
from .files import CtcInput, holds_picture, printable, read_ctc
from .inputs import Task, ctc_suffixes, plan
from .options import COMPUTE, INPUTS, JOBS, RECURSIVE, BatchOptions, ComputeOptions, collected, examples
from .work import Result, Run, Tell, Work


@click.command(
    epilog=examples(
        "ctc info photo.ctc",
        "ctc info --planes small.ctc                  # how far it goes",
        "ctc info --json photo.ctc | jq .quality      # bytes and dB",
        "ctc info https://example.org/photo.ctc       # by its first bytes; ctc check reads all",
        more="Exit codes: 0 all files are sound, whole or cut; 1 one is not, or is damaged; 2 wrong usage.",
    ),
)
@INPUTS
@RECURSIVE
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line and file.")
@click.option("--planes", is_flag=True, help="Count the trit planes held, too. Needs the weights.")
@JOBS
@COMPUTE
@collected(batch=BatchOptions, compute=ComputeOptions)
def info(inputs: tuple[str, ...], *, planes: bool, batch: BatchOptions, compute: ComputeOptions) -> None:
    """Describe .ctc files: size, dimensions, weights, complete or cut, what PSNR their bytes have."""
    chosen = plan(inputs, batch, None, ctc_suffixes)
    run_batch(chosen, InfoWork(planes=planes, compute=compute), replace(batch, quiet=True))


@dataclass(frozen=True)
class InfoWork(Work):
    """Describe a file.

    planes: read them, which needs the weights.
    """

    planes: bool = False

    @property
    def bytes_per_pixel(self) -> int:
        return DECODE_BYTES if self.planes else 0

    def prepare(self) -> Run:
        if self.planes and self.compute.weights is not None:
            self.compute.load()  # wrong ones fail once and at once

        def run(data: bytes, task: Task, tell: Tell) -> Result:
            facts = self._facts(data, task)
            text = "\n".join(_lines(printable(task.source), facts))
            return Result(text, facts, text=text, nbytes=len(data), error=facts["damage"])

        return run

    def read(self, task: Task) -> bytes:
        return b"" if self._from_afar(task) else read_ctc(task.source)

    def _from_afar(self, task: Task) -> bool:
        """Whether what is told of a file is told from its first bytes, because all others would have to be
        fetched."""
        return is_url(task.source) and not self.planes

    def _facts(self, data: bytes, task: Task) -> dict[str, Any]:
        size = None
        if self._from_afar(task):

            def part(source: CtcInput) -> bytes:
                nonlocal size
                size = source.size or None
                return source.first(file.table_bytes(source.header)) if size else source.whole()

            data = read_ctc(task.source, part)
        found = file.info(data, nbytes=size)
        header = found.header
        facts: dict[str, Any] = {
            "bytes": found.nbytes,
            "complete_bytes": header.file_bytes,
            "width": header.width,
            "height": header.height,
            "mode": header.mode,
            "bpp": round(found.bpp, 5),
            "state": found.state,
            "damage": found.damage,
            "fingerprint": header.fingerprint.hex(),
            "planes": header.planes,
            "slices": header.slices,
            "sections": list(found.sections),
            "quality": [list(point) for point in found.quality],
        }
        if size is not None:
            facts["read_bytes"] = len(data)
        elif found.damage is None and found.nbytes < header.first_bytes:
            facts["holds_picture"] = holds_picture(data)
        if self.planes:
            try:
                facts |= self._planes(data, facts)
            except (WeightsError, LimitError) as error:
                signals.check()  # libraries make other exceptions of an interrupt
                facts["planes_unknown"] = str(error)
        return facts

    def _planes(self, data: bytes, facts: dict[str, Any]) -> dict[str, Any]:
        """Facts about the trit planes. Raises CtcError."""
        model = self.compute.load()
        from ..codec.decoder import Decoder
        from ..codec.options import DecodeOptions

        options = DecodeOptions(
            accept_damage=True,
            max_pixels=self.compute.limit,
            warn=lambda damage: facts.update(state=file.DAMAGED, damage=damage),
        )
        decoder = Decoder(options, weights=model)
        decoder.feed(data)
        decoder.finish()
        latent = decoder.latent()
        return {
            "planes_held": round(latent.planes_held, 3),
            "slices_held": latent.slices,
            "low_band": latent.low_held,
        }


def _lines(name: str, facts: dict[str, Any]) -> Iterator[str]:
    """The facts for people."""
    yield f"{name}: {facts['width']}x{facts['height']} {facts['mode']}, {facts['damage'] or facts['state']}"
    read = f", of which {facts['read_bytes']} were read" if "read_bytes" in facts else ""
    yield f"  {facts['bytes']} of {facts['complete_bytes']} bytes, {facts['bpp']} bpp{read}"
    planes, slices = f"{facts['planes']} trit planes", f"{facts['slices']} slices"
    if "planes_held" in facts:
        low = "low band" if facts["low_band"] else "no low band"
        yield f"  {facts['planes_held']:g} of {planes}, {facts['slices_held']} of {slices}, {low}"
    else:
        why = f", not read: {facts['planes_unknown']}" if "planes_unknown" in facts else ""
        yield f"  {planes}, {slices}{why}"
    if not facts.get("holds_picture", True):
        yield "  no picture yet: it begins some bytes later"
    if facts["sections"]:
        yield f"  with {', '.join(facts['sections'])}"
    yield f"  weights {facts['fingerprint']}"
    if facts["quality"]:
        yield "  quality, by the table in the file:"
        yield f"  {'bytes':>12} {'bpp':>8} {'dB':>6}"
        for nbytes, psnr in facts["quality"]:
            bpp = 8 * nbytes / (facts["width"] * facts["height"])
            yield f"  {nbytes:12d} {bpp:8.4f} {psnr:6.2f}"
