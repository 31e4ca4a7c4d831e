"""From points to ``results.json``: means over images, and Bjontegaard rates.

Everything that tables, plots, the page and the README show comes from that one document.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product
from statistics import fmean
from typing import Any

from .bd_rate import Curve, PublishedCurve, bd_rate
from .codecs import Codec
from .images import EvaluationImage
from .measure import Measured, Point
from .metrics import METRICS, ms_ssim_db

FORMAT = "ctc-eval-1"
OURS, ANCHOR = "ctc", "jpeg2000-layered"
PUBLISHED_ANCHORS = ("DPICT", "CTC", "VTM")
PER_IMAGE_RATES = (0.2, 0.5, 1.0)
Results = dict[str, Any]


def machine() -> dict[str, Any]:
    """What times were measured on."""
    import numpy
    import PIL
    import torch

    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        **versions,
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
    }


def is_kodak(images: Sequence[EvaluationImage]) -> bool:
    """Whether these are the 24 images that published curves are over."""
    sizes = {(768, 512), (512, 768)}
    names = {i.name for i in images if (i.width, i.height) in sizes}
    return len(images) == 24 and names == {f"kodim{n:02d}" for n in range(1, 25)}


def mean_points(rows: dict[str, list[Point]], metrics: Sequence[str]) -> tuple[list[Point], list[Point]]:
    """Means over images at every rate or quality asked for: of all images; and where some have no point."""
    by_asked: dict[float | None, list[Point]] = {}
    for points in rows.values():
        for point in points:
            by_asked.setdefault(point["asked"], []).append(point)
    complete: list[Point] = []
    partial: list[Point] = []
    for asked, points in sorted(by_asked.items(), key=lambda item: fmean(p["bpp"] for p in item[1])):
        mean: Point = {"asked": asked, "images": len(points), "bpp": fmean(p["bpp"] for p in points)}
        for metric in metrics:
            values = [p[metric] for p in points]
            mean[metric] = None if None in values else fmean(values)
        (complete if len(points) == len(rows) else partial).append(mean)
    return complete, partial


def curve_of(points: Sequence[Point], metric: str) -> Curve:
    """Curve of a metric; MS-SSIM in dB, so that interpolation has something to hold on to."""
    known = [(p["bpp"], p[metric]) for p in points if p.get(metric) is not None]
    return Curve.of([(b, ms_ssim_db(v)) for b, v in known] if metric == "ms_ssim" else known)


def _bd_rates(codecs: dict[str, Any], published: Sequence[PublishedCurve]) -> list[dict[str, Any]]:
    rows = []
    for metric in METRICS:
        curves = {c["label"]: curve_of(c["curve"], metric.name) for c in codecs.values()}
        anchors = [codecs[ANCHOR]["label"]] if ANCHOR in codecs else []
        if metric.name == "psnr":
            curves |= {p.label: p.curve for p in published}
            anchors += [name for name in PUBLISHED_ANCHORS if name in curves]
        for anchor, (label, tested) in product(anchors, curves.items()):
            found = bd_rate(curves[anchor], tested) if label != anchor else None
            if found is not None:
                rows.append({"codec": label, "anchor": anchor, "metric": metric.name, **asdict(found)})
    return rows


def assemble(
    images: Sequence[EvaluationImage],
    codecs: Sequence[Codec],
    versions: dict[str, str],
    measured: Measured,
    missing: dict[str, str],
    resources: dict[str, Any],
    published: Sequence[PublishedCurve],
    metrics: Sequence[str],
    weights: dict[str, str],
) -> Results:
    """The document. missing: reason by name of a codec that could not be run at all."""
    entries: dict[str, Any] = {}
    notes = [f"{name} is missing: {reason}" for name, reason in (missing | measured.failed).items()]
    for codec in codecs:
        rows = measured.points.get(codec.name)
        if rows is None:
            continue
        curve, partial = mean_points(rows, metrics)
        for point in partial:
            notes.append(
                f"{codec.label}: at {point['asked']:g} {codec.unit} there is a picture for "
                f"{point['images']} of {len(images)} images only: no mean"
            )
        if resources and resources[codec.name] is None:
            notes.append(f"{codec.label}: times and memory could not be measured")
        entries[codec.name] = {
            "label": codec.label,
            "setting": codec.setting,
            "version": versions[codec.name],
            "embedded": codec.embedded,
            "unit": codec.unit,
            "resources": resources.get(codec.name),
            "curve": curve,
            "images": rows,
        }
    for metric in metrics:
        if any(p[metric] is None for entry in entries.values() for p in entry["curve"]):
            notes.append(f"{metric}: some image is too small for it: no mean")
    if published and not is_kodak(images):
        notes.append("published curves are over the 24 Kodak images, which these are not: left out")
        published = []
    return {
        "format": FORMAT,
        "weights": weights,
        "machine": machine(),
        "images": [{"name": i.name, "width": i.width, "height": i.height} for i in images],
        "metrics": list(metrics),
        "codecs": entries,
        "published": [
            {"label": p.label, "source": p.source, "bpp": p.curve.bpp, "psnr": p.curve.quality}
            for p in published
        ],
        "bd_rate": _bd_rates(entries, published),
        "notes": notes,
    }


def published_of(results: Results) -> dict[str, Curve]:
    """The published curves in a document."""
    return {p["label"]: Curve(tuple(p["bpp"]), tuple(p["psnr"])) for p in results["published"]}


def per_image(results: Results) -> Iterator[dict[str, Any]]:
    """For every image: our PSNR and the anchor's at PER_IMAGE_RATES, and the BD-rate between the two."""
    ours, anchor = results["codecs"].get(OURS), results["codecs"].get(ANCHOR)
    if ours is None:
        return
    for name, points in ours["images"].items():
        mine = curve_of(points, "psnr")
        theirs = curve_of(anchor["images"][name], "psnr") if anchor else None
        found = bd_rate(theirs, mine) if theirs else None
        yield {
            "name": name,
            "whole_bpp": points[-1]["bpp"],
            "whole_psnr": points[-1]["psnr"],
            "at": [(mine.at(r), theirs.at(r) if theirs else None) for r in PER_IMAGE_RATES],
            "bd_rate": None if found is None else found.percent,
        }
