"""Curves and the Bjontegaard rate difference between them; published curves to compare with."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

PUBLISHED = {
    "DPICT": "DPICT",
    "CTC (spliced anchor)": "CTC",
    "VTM (CompressAI)": "VTM",
    "mbt2018-mean": "mbt2018-mean",
    "BPG444": "BPG 4:4:4",
}
"""Curves that are drawn, of those in a file of published ones, and their labels."""


@dataclass(frozen=True)
class Curve:
    """A rate-distortion curve.

    bpp: bits per pixel, rising.
    quality: at these, rising; in dB, for example.
    """

    bpp: tuple[float, ...]
    quality: tuple[float, ...]

    @classmethod
    def of(cls, points: Sequence[tuple[float, float]]) -> Curve:
        """A curve through (bpp, quality) in any order, without points that cost more and are no better."""
        kept: list[tuple[float, float]] = []
        for bpp, quality in sorted(points):
            if not kept or (quality > kept[-1][1] and bpp > kept[-1][0]):
                kept.append((bpp, quality))
        return cls(tuple(b for b, _ in kept), tuple(q for _, q in kept))

    def at(self, bpp: float) -> float | None:
        """Quality at a rate, PCHIP over log-rate between the points; None outside of them."""
        from scipy.interpolate import PchipInterpolator

        if len(self.bpp) < 2 or not self.bpp[0] <= bpp <= self.bpp[-1]:
            return None
        return float(PchipInterpolator(np.log(self.bpp), self.quality)(math.log(bpp)))

    def rate_at(self, quality: float) -> float | None:
        """Bits per pixel for a quality, by PCHIP likewise; None outside of the points."""
        from scipy.interpolate import PchipInterpolator

        if len(self.bpp) < 2 or not self.quality[0] <= quality <= self.quality[-1]:
            return None
        return float(np.exp(PchipInterpolator(self.quality, np.log(self.bpp))(quality)))

    def between(self, low: float, high: float) -> Curve:
        """The part from one rate to another, no point if the curve does not have both."""
        first, last = self.at(low), self.at(high)
        if first is None or last is None:
            return Curve((), ())
        inside = [(b, q) for b, q in zip(self.bpp, self.quality, strict=True) if low < b < high]
        return Curve.of([(low, first), *inside, (high, last)])


@dataclass(frozen=True)
class BdRate:
    """A Bjontegaard delta rate.

    percent: bits that the codec needs more (positive) than the anchor for equal quality, on average.
    low: least quality of the range that it is over, which both reach.
    high: largest quality of that range.
    """

    percent: float
    low: float
    high: float


def bd_rate(anchor: Curve, tested: Curve) -> BdRate | None:
    """Bjontegaard delta rate (VCEG-M33), PCHIP over log-rate. None if the curves share no quality."""
    import bjontegaard

    if min(len(anchor.bpp), len(tested.bpp)) < 2:
        return None
    low = max(anchor.quality[0], tested.quality[0])
    high = min(anchor.quality[-1], tested.quality[-1])
    if low >= high:
        return None
    curves = anchor.bpp, anchor.quality, tested.bpp, tested.quality
    how = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
    return BdRate(float(bjontegaard.bd_rate(*curves, **how)), low, high)


def rate_difference(anchor: Curve, tested: Curve, bpp: float) -> float | None:
    """Percent of bits that a codec needs more (positive) at a rate than the anchor for the same quality. None
    outside of either curve."""
    quality = tested.at(bpp)
    rate = None if quality is None else anchor.rate_at(quality)
    return None if rate is None else 100 * (bpp / rate - 1)


def published_curves(path: Path) -> list[dict[str, Any]]:
    """The curves of PUBLISHED in a JSON file {name: {bpp, psnr, source}}, as {label, source, bpp, psnr},
    rising. Raises InputError."""
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("no object")
        rows = []
        for name in (name for name in PUBLISHED if name in content):
            source, points = str(content[name]["source"]), (content[name][key] for key in ("bpp", "psnr"))
            curve = Curve.of(list(zip(*points, strict=True)))
            rows.append({"label": PUBLISHED[name], "source": source, "bpp": curve.bpp, "psnr": curve.quality})
        return rows
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a file of published curves ({error})") from None
