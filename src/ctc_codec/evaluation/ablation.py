"""The worth of each part of the codec, and of each effort: the same images, one part more at a time.

The rungs are those of the paper (Jeon et al., CVPR 2023, table 2) and below them its peer (Lu et al.,
"Progressive neural image compression with nested quantization and latent ordering", ICCV 2021): nested
quantisation without an order inside a plane; trits by priority, with context-free tables and interval
centres; with CRR; with CDR; with a synthesis network trained on whole files; with one trained on all states.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..codec.decoder import decode
from ..codec.encoder import encode
from ..codec.model import load_model
from ..codec.options import DEFAULT_EFFORT, EFFORTS
from ..container.atomic import write_whole
from ..errors import WeightsError
from ..image.source import SourceImage
from .bd_rate import bd_rate
from .codecs import Codec, Ctc
from .images import EvaluationImage, file_digest, read_image
from .measure import MeasurementError, Measuring, Point, codec_key, measure_all
from .results import METHOD, curve_of, cuts, machine, mean_points, whole
from .tables import markdown

FORMAT = "ctc-ablation-3"
RATES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.4, 2.0)
"""Bits per pixel at which files are cut."""
SHOWN = (0.1, 0.2, 0.4, 0.7, 1.4)
assert set(SHOWN) <= set(RATES)
_TIMED = 3
NESTED, FREE, CRR, CDR = "nested quantisation", "context-free", "+ CRR", "+ CDR"
WHOLE_FILES, ALL_STATES = "+ synthesis, whole files", "+ synthesis, all states"
LADDER = (NESTED, FREE, CRR, CDR, WHOLE_FILES, ALL_STATES)
"""Labels of the rungs. BD-rates are against FREE."""
_CLASSES = "exact.density.classes"
Ablation = dict[str, Any]


def without_order(weights: Path, folder: Path) -> Path:
    """A weights file in ``folder`` with one class for all trits: nothing but place orders those of a plane.

    Raises WeightsError, OSError.
    """
    # Lu et al. differ still: they cut between whole planes only, here a cut uses the beginning of a plane;
    # their intervals and densities are those of a hyperprior. A plane's raster goes from coarse to fine
    # levels, and quiet trits come last: they share symbols, and without that cost more bits, which has
    # nothing to do with order. The checkerboard of DEMOTION is gone, as no class is less than 1.
    from safetensors import safe_open
    from safetensors.numpy import save

    load_model(weights)  # raises WeightsError if it is damaged
    with safe_open(weights, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        metadata = file.metadata()
    arrays[_CLASSES] = np.ones_like(arrays[_CLASSES])
    path = folder / "unordered.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(arrays, metadata))
    return path


def check_control(weights: Path, control: Path) -> None:
    """Raise WeightsError unless the control has a synthesis network, and all else as the weights have it."""
    found = load_model(control)
    if found.fingerprint != load_model(weights).fingerprint:
        raise WeightsError(f"{control}: its entropy model is not that of {weights}")
    if found.synthesis is None:
        raise WeightsError(f"{control}: has no synthesis network")


def rungs(weights: Path, unordered: Path, control: Path | None = None) -> list[Ctc]:
    """The rungs of LADDER that can be measured, each on top of the one before; the codec is the last of them
    that has ``weights``.

    unordered: see :func:`without_order`.
    control: weights whose synthesis network was trained on whole files.

    Raises WeightsError.
    """

    def ctc(label: str, file: Path, context: bool, refine: bool, synthesis: bool) -> Ctc:
        name = label.removeprefix("+ ")
        return Ctc(file, RATES, name, label, context=context, refine=refine, synthesis=synthesis)

    found = [
        ctc(NESTED, unordered, False, False, False),
        ctc(FREE, weights, False, False, False),
        ctc(CRR, weights, True, False, False),
        ctc(CDR, weights, True, True, False),
    ]
    if control is not None:
        check_control(weights, control)
        found.append(ctc(WHOLE_FILES, control, True, True, True))
    if load_model(weights).synthesis is not None:
        found.append(ctc(ALL_STATES, weights, True, True, True))
    return found


def efforts(weights: Path) -> list[Ctc]:
    """The codec at every effort but the default one, which is among the rungs."""
    others = [effort for effort in EFFORTS if effort != DEFAULT_EFFORT]
    return [Ctc(weights, RATES, f"effort-{e}", f"effort {e}", effort=e) for e in others]


def _times(codecs: Sequence[Ctc], images: Sequence[EvaluationImage]) -> list[tuple[float, float]]:
    """Median milliseconds to encode and to decode whole default files; codecs take turns, networks have a
    thread per core."""
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
    steps: Sequence[Ctc], images: Sequence[EvaluationImage], how: Measuring, *, times: bool = True
) -> Ablation:
    """The document: "rungs" and "efforts", a row each.

    steps: of :func:`rungs`.
    how: its metrics are PSNR.

    Raises MeasurementError if one fails, BrokenProcessPool if a process is killed.
    """
    by_label = {codec.label: codec for codec in steps}
    anchor, default = by_label[FREE], by_label.get(ALL_STATES, by_label[CDR])
    chosen = [*steps, *efforts(default.weights)]
    codecs: list[Codec] = [*chosen]
    digests = {codec.weights: file_digest(codec.weights) for codec in steps}
    nested, control = by_label[NESTED].weights, by_label.get(WHOLE_FILES)
    # Not that of the file: safetensors writes the same content in more than one way.
    digests[nested] = f"{digests[default.weights]} {load_model(nested).fingerprint.hex()}"
    keys = {codec.name: codec_key(codec, digests[codec.weights]) for codec in chosen}
    measured = measure_all(images, codecs, keys, how)
    for name, reason in measured.failed.items():
        raise MeasurementError(f"{name}: {reason}")
    timed = images[:: -(-len(images) // _TIMED)] if times else []
    curves = {codec.name: mean_points(measured.points[codec.name], ["psnr"])[0] for codec in chosen}
    spent = dict(zip(curves, _times(chosen, timed), strict=True)) if timed else {}

    def row(codec: Ctc, anchor: Ctc, label: str) -> dict[str, Any]:
        return _row(label, curves[codec.name], curves[anchor.name], spent.get(codec.name))

    by_effort = {codec.effort: codec for codec in [*chosen[len(steps) :], default]}
    found = {label: row(codec, anchor, label) for label, codec in by_label.items()}
    against = found[default.label]["bd_rate"]
    return {
        "format": FORMAT,
        "method": METHOD,
        "weights": digests[default.weights],
        "control": control and digests[control.weights],
        "machine": machine(),
        "images": [image.name for image in images],
        "timed_images": [image.name for image in timed],
        "bd_rate_codec_vs_context_free": against and against["percent"],
        "rungs": [found.get(label, {"label": label, "missing": True}) for label in LADDER],
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
    header = ["", "BD-rate", *(f"{rate:g} bpp" for rate in SHOWN), *_FILE]
    out = []
    for row in document["rungs"]:
        if row.get("missing"):
            out.append([row["label"], "not measured", *[""] * (len(header) - 2)])
            continue
        at = {point["asked"]: point["psnr"] for point in row["curve"]}
        bd, file = _cells(row)
        out.append([row["label"], bd, *(f"{at[r]:.2f}" if r in at else "" for r in SHOWN), *file])
    return markdown(header, out)


def effort_table(document: Ablation) -> str:
    """Markdown: BD-rates, whole files and times of every effort."""
    out = []
    for row in document["efforts"]:
        default = " (default)" if row["label"] == str(document["default_effort"]) else ""
        bd, file = _cells(row)
        out.append([row["label"] + default, bd, *file])
    return markdown(["effort", "BD-rate", *_FILE], out)
