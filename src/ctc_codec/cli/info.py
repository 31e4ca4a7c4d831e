"""``ctc info``: what there is to tell about files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import click

from ..container.file import info as container_info
from ..errors import CtcError, LimitError, WeightsError
from . import signals as _signals
from .batch import Reporter, no_stdout
from .files import StdoutGone, printable, read_input, write_stdout
from .options import BatchOptions, ComputeOptions
from .work import explain


def _describe(name: str, data: bytes, compute: ComputeOptions, planes: bool) -> dict[str, Any]:
    """The facts, for JSON; with ``planes`` those that need the weights too. Raises CtcError."""
    found = container_info(data)
    header = found.header
    facts: dict[str, Any] = {
        "file": printable(name),
        "bytes": found.nbytes,
        "complete_bytes": header.file_bytes,
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "bpp": round(found.bpp, 5),
        "state": "damaged" if found.damage else "complete" if found.complete else "cut",
        "damage": found.damage,
        "fingerprint": header.fingerprint.hex(),
        "planes": header.planes,
        "slices": header.slices,
        "quality": [list(point) for point in found.quality],
    }
    if planes:
        from ..codec.decoder import Decoder

        try:
            decoder = Decoder(
                weights=compute.load(),
                accept_damage=True,
                max_pixels=compute.limit,
                warn=lambda damage: facts.update(state="damaged", damage=damage),
            )
            decoder.feed(data)
            decoder.finish()
            latent = decoder.latent()
            facts |= {
                "planes_held": round(latent.planes_held, 3),
                "slices_held": latent.slices,
                "low_band": latent.low_held,
            }
        except (WeightsError, LimitError) as error:
            _signals.check()  # libraries make other exceptions of an interrupt
            facts["planes_unknown"] = str(error)
    return facts


def _lines(facts: dict[str, Any]) -> Iterable[str]:
    """The same for people."""
    state = facts["damage"] or facts["state"]
    yield f"{facts['file']}: {facts['width']}x{facts['height']} {facts['mode']}, {state}"
    yield f"  {facts['bytes']} of {facts['complete_bytes']} bytes, {facts['bpp']} bpp"
    planes, slices = f"{facts['planes']} trit planes", f"{facts['slices']} slices"
    if "planes_held" in facts:
        low = "low band" if facts["low_band"] else "no low band"
        yield f"  {facts['planes_held']:g} of {planes}, {facts['slices_held']} of {slices}, {low}"
    else:
        why = f", not read: {facts['planes_unknown']}" if "planes_unknown" in facts else ""
        yield f"  {planes}, {slices}{why}"
    yield f"  weights {facts['fingerprint']}"
    if facts["quality"]:
        yield "  quality, by the table in the file:"
        yield f"  {'bytes':>12} {'bpp':>8} {'dB':>6}"
        for nbytes, psnr in facts["quality"]:
            bpp = 8 * nbytes / (facts["width"] * facts["height"])
            yield f"  {nbytes:12d} {bpp:8.4f} {psnr:6.2f}"


def tell_facts(inputs: Sequence[str], compute: ComputeOptions, *, planes: bool, as_json: bool) -> NoReturn:
    """Write what is known of the inputs to stdout and exit: with 1 if one is damaged or no .ctc file."""
    report = Reporter(len(inputs), BatchOptions(quiet=True))
    try:
        if planes and compute.weights is not None:
            compute.load()  # wrong ones fail once and at once
    except CtcError as error:
        raise click.ClickException(str(error)) from None
    for name in inputs:
        try:
            facts = _describe(name, read_input(name), compute, planes)
            text = json.dumps(facts) if as_json else "\n".join(_lines(facts))
            write_stdout(f"{text}\n".encode())
            if facts["damage"]:
                raise CtcError(facts["damage"])
        except StdoutGone as error:
            no_stdout(error)
        except Exception as error:
            report.failed(name, explain(error)[0])
    report.finish(inputs)
