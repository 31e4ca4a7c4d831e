"""Plots of a results document, as PNG and SVG."""

from __future__ import annotations

import io
from typing import Any

from .bd_rate import Curve
from .metrics import METRICS, Metric
from .results import OURS, Results, curve_of, published_of

_MOST_BPP = 2.0
_COLOURS = {
    "ctc": "#c0182b",
    "jpeg2000-layered": "#1f5fa8",
    "jpeg2000": "#7fb0e0",
    "jpeg": "#6b6b6b",
    "jpeg-progressive": "#a8a8a8",
    "webp": "#2a8c4a",
    "avif": "#b07a00",
    "jpegxl": "#7a3fa0",
    "jpegxl-progressive": "#c79be0",
}
_SHADES = ("#222222", "#e07b00", "#009e9e", "#8a8a00", "#d16ba5")
"""Colours of published curves."""


def draw(results: Results, metric: Metric, log_rate: bool = False) -> dict[str, bytes]:
    """Plots of quality over bits per pixel, by suffix: our codec thick, embedded codecs solid, one file per
    rate dotted, published curves dashed."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.6), layout="constrained")
    axes = figure.subplots()
    for name, entry in results["codecs"].items():
        curve = curve_of(entry["curve"], metric.name)
        if curve.bpp:
            style: dict[str, Any] = (
                {"lw": 2.6, "ms": 4, "zorder": 3} if name == OURS else {"lw": 1.3, "ms": 2.5, "zorder": 2}
            )
            style |= {"color": _COLOURS.get(name), "ls": "-" if entry["embedded"] else ":", "marker": "o"}
            axes.plot(*_shown(curve, log_rate), label=entry["label"], **style)
    if metric.name == "psnr":
        for (label, curve), shade in zip(published_of(results).items(), _SHADES * 9, strict=False):
            axes.plot(*_shown(curve, log_rate), label=f"{label}, published", color=shade, lw=1.2, ls="--")
    if log_rate:
        axes.set_xscale("log")
    axes.set_xlabel("bits per pixel (file bytes)" + (", log scale" if log_rate else ""))
    axes.set_ylabel(metric.axis)
    axes.set_title(f"{len(results['images'])} images, means; weights {results['weights']['fingerprint']}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    files = {}
    with matplotlib.rc_context({"svg.hashsalt": "ctc"}):
        for suffix in ("png", "svg"):
            out = io.BytesIO()
            figure.savefig(out, format=suffix, dpi=110, metadata=_metadata(suffix, results))
            files[suffix] = out.getvalue()
    return files


def _metadata(suffix: str, results: Results) -> dict[str, str | None]:
    """The weights a picture is of, so that a stale one can be told; no date, so that it does not change."""
    return {"Description": results["weights"]["sha256"], "Date" if suffix == "svg" else "Software": None}


def _shown(curve: Curve, log_rate: bool) -> tuple[list[float], list[float]]:
    kept = [(b, q) for b, q in zip(curve.bpp, curve.quality, strict=True) if b <= _MOST_BPP or log_rate]
    return [b for b, _ in kept], [q for _, q in kept]


def draw_all(results: Results) -> dict[str, bytes]:
    """All plots of a document, by file name; rd_psnr_log is the one over log-rate."""
    entries = results["codecs"].values()
    drawn = [m for m in METRICS if any(curve_of(entry["curve"], m.name).bpp for entry in entries)]
    wanted = [(f"rd_{m.name}", m, False) for m in drawn]
    wanted += [("rd_psnr_log", m, True) for m in drawn if m.name == "psnr"]
    return {
        f"{stem}.{suffix}": data
        for stem, metric, log_rate in wanted
        for suffix, data in draw(results, metric, log_rate).items()
    }
