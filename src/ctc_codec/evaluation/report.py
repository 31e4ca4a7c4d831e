"""An evaluation, from images to a folder: results.json, curves.csv, tables.md, plots and a page."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..codec.model import default_weights, load_model
from ..codec.processes import cores
from ..container.atomic import write_whole
from . import page
from .ablation import Ablation, measure_ablation, rungs, without_order
from .bd_rate import published_curves
from .codecs import RATES, TABLE_RATES, Codec, Ctc, CtcFiles, PeerError
from .images import EvaluationImage, evaluation_images, file_digest
from .measure import Cache, Measured, MeasurementError, Measuring, code_digest, codec_key, measure_all
from .metrics import METRICS, packages
from .options import EvaluationOptions, UnknownName
from .peers import PEERS
from .plots import draw_all
from .resources import resources_of
from .results import OURS, Results, assemble
from .tables import curves_csv, summary

_EXTRA = ("matplotlib", "scipy", "bjontegaard", "jinja2")
_TIMED_IMAGES = 3


def evaluate(options: EvaluationOptions) -> Results:
    """Measure codecs on images and write the report. Measurements are kept in OUTPUT/cache.

    Raises UnknownName; MeasurementError if a package is not installed or our own codec fails; InputError,
    WeightsError, OSError; BrokenProcessPool if a process is killed.
    """
    # Tables are built on PSNR.
    metrics = _chosen("metric", options.metrics and ("psnr", *options.metrics), [m.name for m in METRICS])
    _check_installed([*_EXTRA, *packages(metrics)])
    weights = options.weights or default_weights()
    digest = {"fingerprint": load_model(weights).fingerprint.hex(), "sha256": file_digest(weights)}
    candidates: list[Codec] = [
        Ctc(weights, options.points or RATES),
        CtcFiles(weights, options.points or TABLE_RATES),
        *PEERS,
    ]
    wanted = _chosen("codec", options.codecs, [codec.name for codec in candidates])
    codecs, missing = _installed([codec for codec in candidates if codec.name in wanted])
    images = evaluation_images(options.places)
    if options.show is not None and options.show not in [image.name for image in images]:
        raise UnknownName(f"no image {options.show!r}; the first is {images[0].name!r}")
    published = published_curves(options.published) if options.published else []

    options.output.mkdir(parents=True, exist_ok=True)
    keys = {codec.name: codec_key(codec, digest["sha256"]) for codec in codecs}
    how = _measuring(options, metrics)
    measured = measure_all(images, codecs, keys, how)
    if OURS in measured.failed:
        raise MeasurementError(measured.failed[OURS])
    resources = _resources(codecs, images, keys, how.cache) if options.times else {}
    measured = Measured(measured.points, missing | measured.failed, resources)
    results = assemble(images, codecs, measured, metrics, digest, published)

    plots = draw_all(results)
    shown = next((i for i in images if i.name == options.show), None) or page.shown_image(images, results)
    steps = _frames(shown, weights, digest, how.cache) if OURS in results["codecs"] else []
    files = {
        "results.json": (json.dumps(results, separators=(",", ":")) + "\n").encode(),
        "curves.csv": curves_csv(results).encode(),
        "tables.md": (summary(results) + "\n").encode(),
        **plots,
        "index.html": page.render(results, plots, shown, steps).encode(),
    }
    for name, data in files.items():
        write_whole(options.output / name, data)
    return results


def evaluate_ablation(options: EvaluationOptions, control: Path | None = None) -> Ablation:
    """Measure parts and efforts of our codec and write OUTPUT/ablation.json.

    options: of which places, output, weights, times, jobs and quiet are read.
    control: weights whose synthesis network was trained on whole files.

    Raises as :func:`evaluate`.
    """
    _check_installed(_EXTRA)
    weights = options.weights or default_weights()
    load_model(weights)
    images = evaluation_images(options.places)
    how = _measuring(options, ["psnr"])
    steps = rungs(weights, without_order(weights, how.cache.folder), control)
    document = measure_ablation(steps, images, how, times=options.times)
    write_whole(options.output / "ablation.json", (json.dumps(document, indent=1) + "\n").encode())
    return document


def _measuring(options: EvaluationOptions, metrics: Sequence[str]) -> Measuring:
    return Measuring(Cache(options.output / "cache"), metrics, options.jobs or cores(), options.quiet)


def _chosen(kind: str, wanted: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """The names asked for, in the known order. Raises UnknownName."""
    unknown = [name for name in wanted or () if name not in known]
    if unknown:
        raise UnknownName(f"no {kind} {unknown[0]!r}; there are {', '.join(known)}")
    return [name for name in known if wanted is None or name in wanted]


def _check_installed(needed: Sequence[str]) -> None:
    lacking = [package for package in needed if importlib.util.find_spec(package) is None]
    if lacking:
        raise MeasurementError(f"{lacking[0]} is not installed: see README, Install")


def _installed(wanted: Sequence[Codec]) -> tuple[list[Codec], dict[str, str]]:
    """Codecs that can be run here, and reasons by name of the others."""
    codecs, missing = [], {}
    for codec in wanted:
        try:
            codec.version()
            codecs.append(codec)
        except PeerError as error:
            missing[codec.name] = str(error)
    return codecs, missing


def _resources(
    codecs: Sequence[Codec], images: Sequence[EvaluationImage], keys: dict[str, Any], cache: Cache
) -> dict[str, Any]:
    """Times and memory of every codec, one after the other, on a few of the images."""
    chosen = images[:: -(-len(images) // _TIMED_IMAGES)]
    paths, digests = [image.path for image in chosen], [image.sha256 for image in chosen]
    return {
        codec.name: cache.kept(["resources", keys[codec.name], digests], partial(resources_of, codec, paths))
        for codec in codecs
    }


def _frames(
    shown: EvaluationImage, weights: Path, digest: dict[str, str], cache: Cache
) -> list[dict[str, Any]]:
    key = ["frames", shown.sha256, page.RATES, code_digest(), digest, file_digest(Path(page.__file__))]
    return list(cache.kept(key, lambda: page.frames(shown.path, weights)))
