"""Tables of a results document: Markdown for people, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from .codecs import TABLE_RATES
from .metrics import METRICS
from .results import MEAN_RATES, OURS, Results, curve_of, published_of

_SHORT = 0.98
"""A cut of less than this share of the rate asked for is marked with its true rate."""


def curves_csv(results: Results) -> str:
    """The mean curves, a row per point; and our whole default files."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["codec", "asked", "images", "bpp", *results["metrics"]])
    for name, entry in results["codecs"].items():
        for p in entry["curve"] + ([entry["whole"]] if entry["whole"] else []):
            asked = "whole" if p["asked"] is None else p["asked"]
            writer.writerow([name, asked, p["images"], p["bpp"], *(p[m] for m in results["metrics"])])
    for p in results["published"]:
        for bpp, psnr in zip(p["bpp"], p["psnr"], strict=True):
            others = [psnr if m == "psnr" else "" for m in results["metrics"]]
            writer.writerow([f"published: {p['label']}", "", "", bpp, *others])
    return out.getvalue()


def _at(entry: dict[str, Any], metric: str, rate: float) -> str:
    """A codec's value at a rate: measured if it was cut there, interpolated between its points otherwise."""
    digits = 4 if metric == "ms_ssim" else 2
    if entry["unit"] == "bpp":
        for p in entry["curve"]:
            if p["asked"] == rate and p[metric] is not None:
                text = f"{p[metric]:.{digits}f}"
                return text if p["bpp"] > _SHORT * rate else f"{text} at {p['bpp']:.2f}"
    value = curve_of(entry["curve"], metric).at(rate)
    if value is None:
        return ""
    return f"{1 - 10 ** (-value / 10) if metric == 'ms_ssim' else value:.{digits}f}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rate_table_rows(results: Results, metric: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a metric of every codec at TABLE_RATES."""
    rows = [
        [entry["label"], *(_at(entry, metric, rate) for rate in TABLE_RATES)]
        for entry in results["codecs"].values()
    ]
    if metric == "psnr":
        for label, curve in published_of(results).items():
            values = (curve.at(rate) for rate in TABLE_RATES)
            rows.append([f"{label}, published", *("" if v is None else f"{v:.2f}" for v in values)])
    return ["bpp", *(f"{rate:g}" for rate in TABLE_RATES)], rows


def rate_table(results: Results, metric: str = "psnr") -> str:
    """Markdown: a metric of every codec at TABLE_RATES."""
    return markdown(*rate_table_rows(results, metric))


def bd_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """Header and rows: codecs down; anchors across, by PSNR first."""
    cells = {
        ((e["anchor"], e["metric"]), e["codec"]): f"{e['percent']:+.1f} % ({e['low']:.1f} to {e['high']:.1f})"
        for e in results["bd_rate"]
    }
    columns = list(dict.fromkeys(column for column, _ in cells))
    rows = [
        [codec, *(cells.get((column, codec), "") for column in columns)]
        for codec in dict.fromkeys(codec for _, codec in cells)
    ]
    labels = {m.name: m.label for m in METRICS}
    header = [anchor if m == "psnr" else f"{anchor}, by {labels[m]}" for anchor, m in columns]
    return ["BD-rate (range) against", *header], rows


def bd_table(results: Results) -> str:
    """Markdown: BD-rates of all codecs against the anchors, each with the range of quality it is over."""
    return markdown(*bd_rows(results))


def difference_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """Header and rows: bits of our codec beside an anchor's at equal PSNR, by the rate of ours."""
    rows = []
    for row in results["rate_difference"]:
        found = row.get("bd_rate")
        cells = [*row["percent"].values(), row["mean"], found and found["percent"]]
        rows.append([row["anchor"], *("" if cell is None else f"{cell:+.1f} %" for cell in cells)])
    span = f"{MEAN_RATES[0]:g} to {MEAN_RATES[-1]:g}"
    over = [f"mean {span}", f"BD-rate {span}"]
    return ["ctc's bits against, at bpp", *(f"{rate:g}" for rate in TABLE_RATES), *over], rows


def difference_table(results: Results) -> str:
    """Markdown: bits of our codec beside an anchor's at equal PSNR."""
    return markdown(*difference_rows(results))


def whole_line(results: Results) -> str:
    """A sentence about the default file; empty without our codec."""
    entry = results["codecs"].get(OURS)
    if entry is None:
        return ""
    found = entry["whole"]
    return f"A whole file of default quality: {found['psnr']:.2f} dB at {found['bpp']:.3f} bpp."


def resource_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """Header and rows of times and memory."""
    rows = []
    for entry in results["codecs"].values():
        found = entry["resources"]
        if found:
            memory = f"{found['peak_memory'] / 1e6:.0f}" if found["peak_memory"] else ""
            rows.append(
                [entry["label"], f"{1000 * found['encode_s']:.0f}", f"{1000 * found['decode_s']:.0f}", memory]
            )
    return ["", "encode ms", "decode ms", "peak memory, MB"], rows


def resource_table(results: Results) -> str:
    """Markdown: times and memory of every codec."""
    return markdown(*resource_rows(results))


def summary(results: Results) -> str:
    """All tables and notes as text."""
    weights, count = results["weights"]["fingerprint"], len(results["images"])
    parts = [f"{count} image{'s' if count > 1 else ''}, weights {weights}"]
    for metric in METRICS:
        if metric.name in results["metrics"]:
            parts.append(f"{metric.label}, mean over images, at bits per pixel of file bytes:\n\n"
                         + rate_table(results, metric.name))  # fmt: skip
    parts.append(whole_line(results))
    if results["rate_difference"]:
        parts.append(difference_table(results))
    if results["bd_rate"]:
        parts.append(bd_table(results))
    if resource_rows(results)[1]:
        parts.append(resource_table(results))
    parts += ["\n".join(f"- {note}" for note in results["notes"])]
    return "\n\n".join(part for part in parts if part)
