"""What each part of the codec is worth, and each effort: the same images, one part more at a time.

The rungs are those of the paper (Jeon et al., CVPR 2023, table 2): context-free tables and interval centres,
with CRR, with CDR, and with a synthesis network trained for partial latents.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .._image import SourceImage
from ..model import load_model
from ..quality import DEFAULT_EFFORT, EFFORTS
from .bd_rate import bd_rate
from .codecs import Codec, Ctc
from .images import EvaluationImage, file_digest, read_image
from .measure import Cache, Point, codec_key, measure_all
from .results import METHOD, curve_of, cuts, machine, mean_points, whole

FORMAT = "ctc-ablation-2"
RATES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.4, 2.0)
"""Bits per pixel at which files are cut."""
SHOWN = (0.1, 0.2, 0.4, 0.7, 1.4)
assert set(SHOWN) <= set(RATES)
_TIMED = 3
_SYNTHESIS = "+ synthesis"
Ablation = dict[str, Any]


def rungs(weights: Path) -> list[Ctc]:
    """Each on top of the one before; the last is the codec. Raises WeightsError."""

    def ctc(label: str, context: bool, refine: bool, synthesis: bool) -> Ctc:
        name = label.removeprefix("+ ")
        return Ctc(weights, RATES, name, label, context=context, refine=refine, synthesis=synthesis)

    found = [
        ctc("context-free", False, False, False),
        ctc("+ CRR", True, False, False),
        ctc("+ CDR", True, True, False),
    ]
    return [*found, ctc(_SYNTHESIS, True, True, True)] if load_model(weights).synthesis is not None else found


def efforts(weights: Path) -> list[Ctc]:
    """The codec at every effort but the default one, which is the last of the rungs."""
    others = [effort for effort in EFFORTS if effort != DEFAULT_EFFORT]
    return [Ctc(weights, RATES, f"effort-{e}", f"effort {e}", effort=e) for e in others]


def _times(codecs: Sequence[Ctc], images: Sequence[EvaluationImage]) -> list[tuple[float, float]]:
    """Median milliseconds to encode and to decode whole default files; codecs take turns, networks have a
    thread per core."""
    from ..codec import decode, encode

    found: list[list[tuple[float, float]]] = [[] for _ in codecs]
    for image in [images[0], *images]:  # the first one warms up
        source = SourceImage(read_image(image.path).pixels, False)
        for codec, times in zip(codecs, found, strict=True):
            model = load_model(codec.weights)
            started = time.perf_counter()
            data = encode(source, effort=codec.effort, context=codec.context, weights=model)
            middle = time.perf_counter()
            decode(data, weights=model, refine=codec.refine, synthesis=codec.synthesis)
            times.append((1e3 * (middle - started), 1e3 * (time.perf_counter() - middle)))
    medians = [[statistics.median(column) for column in zip(*t[1:], strict=True)] for t in found]
    return [(m[0], m[1]) for m in medians]


def _row(
    label: str, points: list[Point], anchor: list[Point], took: tuple[float, float] | None
) -> dict[str, Any]:
    found = bd_rate(curve_of(anchor, "psnr"), curve_of(points, "psnr"))
    default = whole(points)
    assert default is not None
    return {
        "label": label,
        "bd_rate": asdict(found) if found else None,
        "whole_bpp": default["bpp"],
        "whole_psnr": default["psnr"],
        "encode_ms": took and round(took[0], 1),
        "decode_ms": took and round(took[1], 1),
        "curve": [{k: p[k] for k in ("asked", "bpp", "psnr")} for p in cuts(points)],
    }


def measure_ablation(
    weights: Path,
    images: Sequence[EvaluationImage],
    cache: Cache,
    code: str,
    jobs: int,
    *,
    times: bool = True,
    progress: Callable[[str], Any] = lambda done: None,
) -> Ablation:
    """The document: "rungs" and "efforts", a row each. Raises ClickException if one fails."""
    steps = rungs(weights)
    chosen = [*steps, *efforts(weights)]
    codecs: list[Codec] = [*chosen]
    digest = file_digest(weights)
    keys = {codec.name: codec_key(codec, codec.version(), digest, code) for codec in chosen}
    measured = measure_all(images, codecs, keys, ["psnr"], cache, jobs, progress)
    for name, reason in measured.failed.items():
        raise click.ClickException(f"{name}: {reason}")
    timed = images[:: -(-len(images) // _TIMED)] if times else []
    curves = {codec.name: mean_points(measured.points[codec.name], ["psnr"])[0] for codec in chosen}
    spent = dict(zip(curves, _times(chosen, timed), strict=True)) if timed else {}

    def row(codec: Ctc, anchor: Ctc, label: str) -> dict[str, Any]:
        return _row(label, curves[codec.name], curves[anchor.name], spent.get(codec.name))

    default = steps[-1]
    by_effort = {codec.effort: codec for codec in [*chosen[len(steps) :], default]}
    found = [row(codec, steps[0], codec.label) for codec in steps]
    return {
        "format": FORMAT,
        "method": METHOD,
        "weights": digest,
        "machine": machine(),
        "images": [image.name for image in images],
        "timed_images": [image.name for image in timed],
        "bd_rate_codec_vs_context_free": found[-1]["bd_rate"] and found[-1]["bd_rate"]["percent"],
        "rungs": found if default.label == _SYNTHESIS else [*found, {"label": _SYNTHESIS, "missing": True}],
        "default_effort": DEFAULT_EFFORT,
        "efforts": [row(by_effort[e], default, str(e)) for e in sorted(by_effort)],
    }


def _cells(row: dict[str, Any]) -> tuple[str, list[str]]:
    """BD-rate; whole file and times."""
    found = row["bd_rate"]
    file = f"{row['whole_psnr']:.2f} at {row['whole_bpp']:.3f}"
    took = [f"{row[key]:.0f}" if row[key] else "" for key in ("encode_ms", "decode_ms")]
    return "" if found is None else f"{found['percent']:+.2f} %", [file, *took]


_FILE = ["whole default file", "encode ms", "decode ms"]


def ablation_table(document: Ablation) -> str:
    """Markdown: BD-rates, PSNR at SHOWN and times of every rung."""
    from .tables import markdown

    header = ["", "BD-rate", *(f"{rate:g} bpp" for rate in SHOWN), *_FILE]
    out = []
    for row in document["rungs"]:
        if row.get("missing"):
            out.append([row["label"], "not in these weights", *[""] * (len(header) - 2)])
            continue
        at = {point["asked"]: point["psnr"] for point in row["curve"]}
        bd, file = _cells(row)
        out.append([row["label"], bd, *(f"{at[r]:.2f}" if r in at else "" for r in SHOWN), *file])
    return markdown(header, out)


def effort_table(document: Ablation) -> str:
    """Markdown: BD-rates, whole files and times of every effort."""
    from .tables import markdown

    out = []
    for row in document["efforts"]:
        default = " (default)" if row["label"] == str(document["default_effort"]) else ""
        bd, file = _cells(row)
        out.append([row["label"] + default, bd, *file])
    return markdown(["effort", "BD-rate", *_FILE], out)
