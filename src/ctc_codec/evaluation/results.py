"""The document ``results.json``: means over images of points, and Bjontegaard rates.

Everything that tables, plots, the page and the README show comes from that one document.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import product
from statistics import fmean
from typing import Any

from ..codec.options import DEFAULT_QUALITY
from .bd_rate import Curve, bd_rate, rate_difference
from .codecs import ALL_PLANES, TABLE_RATES, Codec
from .images import EvaluationImage
from .measure import Measured, Point
from .metrics import METRICS, ms_ssim_db

FORMAT = "ctc-eval-2"
OURS = "ctc"
ANCHORS = ("jpeg2000", "jpeg2000-layered")
"""Codecs that others are compared with; the first one that is there, image by image too."""
PUBLISHED_ANCHORS = ("DPICT", "CTC", "VTM")
PER_IMAGE_RATES = (0.2, 0.5, 1.0)
MEAN_RATES = tuple(rate for rate in TABLE_RATES if 0.1 <= rate <= 1.4)
"""The mean of differences in bits is over these, and a BD-rate over their range."""
METHOD = (
    f"ctc: of every image one file of all planes (quality {ALL_PLANES}) is cut at each rate and the prefixes "
    "are decoded, so that every image has every rate of the curve. What a user gets without options is the "
    f"default file (quality {DEFAULT_QUALITY}): its bpp and quality are noted beside the curve (whole), not "
    "on it. Curves: means over images of bits per pixel of file bytes and of quality, at each rate or "
    "setting. bd_rate: Bjontegaard, PCHIP over log-rate, over the quality that both mean curves reach. "
    "rate_difference: percent of bits that ctc takes more at its rate than the anchor's mean curve at the "
    "PSNR that ctc has there, their mean, and the BD-rate between the parts of the curves from "
    f"{MEAN_RATES[0]:g} to {MEAN_RATES[-1]:g} bpp."
)
Results = dict[str, Any]


def machine() -> dict[str, Any]:
    """The machine that times are measured on, with the packages that matter for them."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    packages = {name: version(name) for name in ("onnxruntime", "numpy", "pillow")}
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), **packages}


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


def cuts(points: Sequence[Point]) -> list[Point]:
    """The points that make a curve: all but the whole default file's."""
    return [p for p in points if p["asked"] is not None]


def whole(points: Sequence[Point]) -> Point | None:
    """The point of the whole default file."""
    return next((p for p in points if p["asked"] is None), None)


def curve_of(points: Sequence[Point], metric: str) -> Curve:
    """Curve of a metric through cuts; MS-SSIM in dB, so that interpolation has something to hold on to."""
    known = [(p["bpp"], p[metric]) for p in cuts(points) if p.get(metric) is not None]
    return Curve.of([(b, ms_ssim_db(v)) for b, v in known] if metric == "ms_ssim" else known)


def _bd_rates(codecs: dict[str, Any], published: dict[str, Curve]) -> list[dict[str, Any]]:
    rows = []
    for metric in METRICS:
        curves = {c["label"]: curve_of(c["curve"], metric.name) for c in codecs.values()}
        anchors = [codecs[name]["label"] for name in ANCHORS if name in codecs]
        if metric.name == "psnr":
            curves |= published
            anchors += [name for name in PUBLISHED_ANCHORS if name in curves]
        for anchor, (label, tested) in product(anchors, curves.items()):
            found = bd_rate(curves[anchor], tested) if label != anchor else None
            if found is not None:
                rows.append({"codec": label, "anchor": anchor, "metric": metric.name, **asdict(found)})
    return rows


def _rate_differences(codecs: dict[str, Any], published: dict[str, Curve]) -> list[dict[str, Any]]:
    if OURS not in codecs:
        return []
    ours = curve_of(codecs[OURS]["curve"], "psnr")
    span = MEAN_RATES[0], MEAN_RATES[-1]
    anchors = {codecs[n]["label"]: curve_of(codecs[n]["curve"], "psnr") for n in ANCHORS if n in codecs}
    anchors |= {label: curve for label, curve in published.items() if label in PUBLISHED_ANCHORS}
    rows = []
    for label, anchor in anchors.items():
        at = {rate: rate_difference(anchor, ours, rate) for rate in TABLE_RATES}
        known = [value for rate in MEAN_RATES if (value := at[rate]) is not None]
        mean = fmean(known) if len(known) == len(MEAN_RATES) else None
        found = bd_rate(anchor.between(*span), ours.between(*span))
        percent = {f"{rate:g}": value for rate, value in at.items()}
        row = {"anchor": label, "percent": percent, "mean": mean}
        rows.append(row | {"bd_rate": asdict(found) if found else None})
    return rows


def assemble(
    images: Sequence[EvaluationImage],
    codecs: Sequence[Codec],
    measured: Measured,
    metrics: Sequence[str],
    weights: dict[str, str],
    published: Sequence[dict[str, Any]] = (),
) -> Results:
    """The document of an evaluation.

    codecs: those that can be run here.
    metrics: names.
    weights: "fingerprint" and "sha256" of the weights file, in hex.
    published: rows of :func:`published_curves` to compare with, if the images are those of Kodak.
    """
    entries: dict[str, Any] = {}
    notes = [f"{name} is missing: {reason}" for name, reason in measured.failed.items()]
    for codec in codecs:
        rows = measured.points.get(codec.name)
        if rows is None:
            continue
        means, partial = mean_points(rows, metrics)
        for point in partial:
            notes.append(
                f"{codec.label}: at {point['asked']:g} {codec.unit} there is a picture for "
                f"{point['images']} of {len(images)} images only: no mean"
            )
        if measured.resources and measured.resources[codec.name] is None:
            notes.append(f"{codec.label}: times and memory could not be measured")
        entries[codec.name] = {
            "label": codec.label,
            "setting": codec.setting,
            "version": codec.version(),
            "embedded": codec.embedded,
            "unit": codec.unit,
            "resources": measured.resources.get(codec.name),
            "curve": cuts(means),
            "whole": whole(means),
            "images": rows,
        }
    for metric in metrics:
        if any(p[metric] is None for entry in entries.values() for p in entry["curve"]):
            notes.append(f"{metric}: some image is too small for it: no mean")
    if published and not is_kodak(images):
        notes.append("published curves are over the 24 Kodak images, which these are not: left out")
        published = ()
    others = _published(published)
    return {
        "format": FORMAT,
        "method": METHOD,
        "weights": weights,
        "machine": machine(),
        "images": [{"name": i.name, "width": i.width, "height": i.height} for i in images],
        "metrics": list(metrics),
        "codecs": entries,
        "published": list(published),
        "bd_rate": _bd_rates(entries, others),
        "rate_difference": _rate_differences(entries, others),
        "notes": notes,
    }


def _published(rows: Sequence[dict[str, Any]]) -> dict[str, Curve]:
    return {p["label"]: Curve(tuple(p["bpp"]), tuple(p["psnr"])) for p in rows}


def published_of(results: Results) -> dict[str, Curve]:
    """The published curves in a document, by label."""
    return _published(results["published"])


def anchor_of(results: Results) -> str | None:
    """Name of the codec that ours is compared with image by image."""
    return next((name for name in ANCHORS if name in results["codecs"]), None)


def per_image(results: Results) -> Iterator[dict[str, Any]]:
    """A row per image: our PSNR and the anchor's at PER_IMAGE_RATES, and the BD-rate between the two."""
    ours, anchor = results["codecs"].get(OURS), results["codecs"].get(anchor_of(results))
    if ours is None:
        return
    for name, points in ours["images"].items():
        mine = curve_of(points, "psnr")
        theirs = curve_of(anchor["images"][name], "psnr") if anchor else None
        found = bd_rate(theirs, mine) if theirs else None
        yield {
            "name": name,
            "whole": whole(points),
            "at": [(mine.at(r), theirs.at(r) if theirs else None) for r in PER_IMAGE_RATES],
            "bd_rate": None if found is None else found.percent,
        }
