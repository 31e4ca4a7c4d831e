"""What each context model is worth: our codec's modes on the same images, one by one.

The baseline is the paper's (Jeon et al., CVPR 2023, table 2): the tables' probabilities, no CDR, and a
synthesis that was trained for whole latents alone (``ctc train --stage full-rate``). The orders of other
progressive codecs are modes of the same weights.

    python -m ctc_codec.evaluation.ablation KODAK/ablation.json HELDOUT/ablation.json -o docs/ablation.json
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from .._header import Coding
from .bd_rate import bd_rate
from .codecs import Codec, Ctc
from .images import EvaluationImage, file_digest, read_image
from .measure import Cache, codec_key, measure_all
from .results import curve_of, mean_points

FORMAT = "ctc-ablation-1"
RATES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Bits per pixel at which files are cut."""
SHOWN = (0.1, 0.2, 0.4, 0.7)
assert set(SHOWN) <= set(RATES)
REFRESHES = (2, 4)
_TIMED = 3
Ablation = dict[str, Any]


@dataclass(frozen=True)
class Mode:
    """label: for people; codec: how it is run; against: name of the mode that its BD-rate is against."""

    label: str
    codec: Ctc
    against: str = "baseline"


def modes(weights: Path, control: Path | None, slices: int, orders: bool) -> list[Mode]:
    """The modes of weights with context models, each of the first ones on top of the one before.

    control: weights of the same entropy model with the baseline's synthesis; None: the same synthesis, and
    then the last step is none. slices: parts of a plane that files of these weights have. orders: also
    refreshes inside planes, and other orders.
    """

    def ctc(name: str, coding: Coding, decoder: Path | None, refine: bool) -> Ctc:
        return Ctc(weights, RATES, name, name, coding=coding, decoder=decoder, refine=refine)

    found = [
        Mode("baseline", ctc("baseline", Coding(0), control, False)),
        Mode("+ CRR", ctc("crr", Coding(slices), control, False)),
        Mode("+ CDR", ctc("cdr", Coding(slices), control, True)),
    ]
    if control is not None:
        found.append(Mode("+ synthesis for all rates (the codec)", ctc("full", Coding(slices), None, True)))
    for count in REFRESHES if orders else ():
        if count != slices:
            mode = ctc(f"refresh-{count}", Coding(count), control, False)
            found.append(Mode(f"CRR refreshed, {count} slices a plane", mode))
    if orders:
        for order, label in (
            ("priority", "rate-distortion priority (DPICT)"),
            ("sigma", "sigma (PLONQ)"),
            ("raster", "raster"),
        ):
            mode = ctc(f"order-{order}", Coding(0, order), None, False)
            found.append(Mode(f"order inside planes: {label}", mode, "order-priority"))
    return found


def _times(chosen: Sequence[Mode], images: Sequence[EvaluationImage]) -> list[tuple[float, float]]:
    """Median milliseconds to encode and to decode (whole files) of every mode; modes take turns."""
    from .._codec import decode, encode
    from .._image import SourceImage
    from .._model import load_model

    found: list[list[tuple[float, float]]] = [[] for _ in chosen]
    for image in [images[0], *images[:_TIMED]]:  # the first one warms up
        source = SourceImage(read_image(image.path).pixels, False)
        for mode, times in zip(chosen, found, strict=True):
            c = mode.codec
            model, decoder = load_model(c.weights), load_model(c.decoder or c.weights)
            started = time.perf_counter()
            data = encode(source, weights=model, coding=c.coding)
            middle = time.perf_counter()
            decode(data, weights=decoder, refine=c.refine)
            times.append((1e3 * (middle - started), 1e3 * (time.perf_counter() - middle)))
    medians = [[statistics.median(column) for column in zip(*t[1:], strict=True)] for t in found]
    return [(m[0], m[1]) for m in medians]


def measure_ablation(
    images: Sequence[EvaluationImage],
    chosen: Sequence[Mode],
    cache: Cache,
    code: str,
    jobs: int,
    *,
    times: bool = True,
    progress: Callable[[str], Any] = lambda done: None,
) -> Ablation:
    """The document: a row for every one of :func:`modes`. Raises ClickException if one fails."""
    codecs: list[Codec] = [mode.codec for mode in chosen]
    weights, control = chosen[0].codec.weights, chosen[0].codec.decoder
    digest = file_digest(weights)
    keys = {mode.codec.name: codec_key(mode.codec, mode.codec.version(), digest, code) for mode in chosen}
    measured = measure_all(images, codecs, keys, ["psnr"], cache, jobs, progress)
    for name, reason in measured.failed.items():
        raise click.ClickException(f"{name}: {reason}")
    curves = {mode.codec.name: mean_points(measured.points[mode.codec.name], ["psnr"])[0] for mode in chosen}
    spent = _times(chosen, images) if times else [None] * len(chosen)
    rows = []
    for mode, took in zip(chosen, spent, strict=True):
        points = curves[mode.codec.name]
        curve = curve_of(points, "psnr")
        found = bd_rate(curve_of(curves[mode.against], "psnr"), curve)
        rows.append(
            {
                "mode": mode.codec.name,
                "label": mode.label,
                "against": mode.against,
                "bd_rate": asdict(found) if found else None,
                "whole_bpp": points[-1]["bpp"],
                "whole_psnr": points[-1]["psnr"],
                "encode_ms": took and round(took[0], 1),
                "decode_ms": took and round(took[1], 1),
                "curve": [{k: p[k] for k in ("asked", "bpp", "psnr")} for p in points],
            }
        )
    last = {row["mode"]: row for row in rows}["full" if control is not None else "cdr"]
    return {
        "format": FORMAT,
        "bd_rate_full_vs_baseline": last["bd_rate"] and last["bd_rate"]["percent"],
        "control": None if control is None else file_digest(control),
        "weights": digest,
        "images": [image.name for image in images],
        "rows": rows,
    }


def ablation_table(document: Ablation) -> str:
    """Markdown: BD-rates, PSNR at SHOWN and times of every mode."""
    from .tables import markdown

    out = []
    for row in document["rows"]:
        at = {point["asked"]: point["psnr"] for point in row["curve"]}
        found = row["bd_rate"]
        bd = "" if found is None else f"{found['percent']:+.2f} %"
        whole = f"{row['whole_psnr']:.2f} at {row['whole_bpp']:.3f}"
        took = [f"{row[key]:.0f}" if row[key] else "" for key in ("encode_ms", "decode_ms")]
        out.append([row["label"], bd, *(f"{at[r]:.2f}" if r in at else "" for r in SHOWN), whole, *took])
    rates = [f"{rate:g} bpp" for rate in SHOWN]
    return markdown(["mode", "BD-rate", *rates, "whole file", "encode ms", "decode ms"], out)


@click.command()
@click.argument("kodak", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("others", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(kodak: Path, others: tuple[Path, ...], output: Path) -> None:
    """Join ablation.json files of several sets; the first one's key figure is that of the whole."""
    documents = [json.loads(path.read_text()) for path in (kodak, *others)]
    joined = documents[0] | {"other_sets": documents[1:]}
    output.write_text(json.dumps(joined, indent=1) + "\n")


if __name__ == "__main__":
    main()
