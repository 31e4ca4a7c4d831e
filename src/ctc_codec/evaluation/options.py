"""Options of an evaluation. Standard library only: the command reads them before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of :func:`ctc_codec.evaluation.report.evaluate` and of the ablation.

    places: folders of images, and images by themselves.
    output: folder of the report, and of the cache of measurements.
    weights: file; None for the packaged one.
    points: bits per pixel at which our files are cut; None for RATES of codecs.py.
    codecs: names of those to measure; None for all.
    metrics: names of those beside PSNR; None for all.
    published: JSON file of published curves, see :func:`ctc_codec.evaluation.bd_rate.published_curves`.
    show: name of the image on the page's slider; None for one of middling BD-rate.
    times: measure time and memory too.
    jobs: processes; None for one per core.
    quiet: without progress bars.
    """

    places: tuple[Path, ...]
    output: Path
    weights: Path | None = None
    points: tuple[float, ...] | None = None
    codecs: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    published: Path | None = None
    show: str | None = None
    times: bool = True
    jobs: int | None = None
    quiet: bool = True


class UnknownName(ValueError):
    """There is no codec, metric or image of a name that was asked for."""
