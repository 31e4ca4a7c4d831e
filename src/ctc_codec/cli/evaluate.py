"""``ctc evaluate``: the codec beside its peers on folders of images, with a report."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..codec.cores import cores
from ..errors import CtcError

if TYPE_CHECKING:
    from ..evaluation.codecs import Codec
    from ..evaluation.images import EvaluationImage
    from ..evaluation.measure import Cache
    from ..evaluation.results import Results

_PATH = click.Path(path_type=Path)
_EXTRA = ("matplotlib", "scipy", "bjontegaard", "jinja2")
_TIMED_IMAGES = 3


class _List(click.ParamType[list[str]]):
    name = "A,B,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        return [word.strip() for word in value.split(",") if word.strip()]


class _Rates(click.ParamType[list[float]]):
    name = "BPP,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        try:
            rates = sorted({float(word) for word in value.split(",")})
        except ValueError:
            rates = []
        if not rates or not all(0 < rate < float("inf") for rate in rates):
            self.fail(f"{value!r} is not a list of positive bits per pixel (0.1,0.5,1)", param, ctx)
        return rates


def _chosen(kind: str, wanted: list[str] | None, known: Sequence[str]) -> list[str]:
    """The names asked for, in the known order. Raises UsageError."""
    unknown = [name for name in wanted or () if name not in known]
    if unknown:
        raise click.UsageError(f"no {kind} {unknown[0]!r}; there are {', '.join(known)}")
    return [name for name in known if wanted is None or name in wanted]


@click.command("evaluate")
@click.argument(
    "places", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="DIR..."
)
@click.option(
    "-o", "--output", type=_PATH, default=Path("report"), show_default=True, help="Folder of the report."
)
@click.option(
    "--points", type=_Rates(), help="Bits per pixel at which our files are cut, besides not at all."
)
@click.option("--codecs", "codec_names", type=_List(), help="Default: all; ctc, jpeg, webp, ...")
@click.option(
    "--metrics", "metric_names", type=_List(), help="Besides psnr: ms_ssim, ssimulacra2.  [default: all]"
)
@click.option(
    "--published", type=_PATH, help="JSON file of published Kodak curves: name: {bpp, psnr, source}."
)
@click.option(
    "--show", metavar="NAME", help="Image on the page's slider.  [default: one of middling BD-rate]"
)
@click.option("--times/--no-times", default=True, help="Measure time and memory of each codec, alone.")
@click.option(
    "--ablation", is_flag=True, help="Compare parts and efforts of our own codec, and nothing else."
)
@click.option(
    "--control", type=_PATH, help="For --ablation: weights with a synthesis network trained on whole files."
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes (default: all cores).")
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of tables.")
@click.option("--weights", type=_PATH, envvar="CTC_WEIGHTS", help="Weights file (default: built in).")
@click.option("--quiet", is_flag=True, help="No progress, only results.")
def evaluate(
    places: tuple[Path, ...],
    output: Path,
    points: list[float] | None,
    codec_names: list[str] | None,
    metric_names: list[str] | None,
    published: Path | None,
    show: str | None,
    times: bool,
    ablation: bool,
    control: Path | None,
    jobs: int | None,
    as_json: bool,
    weights: Path | None,
    quiet: bool,
) -> None:
    """Measure the codec and its peers on the images in DIR..., and write a report.

    Every image is encoded once and its one file cut at many rates. The report is a folder: index.html,
    results.json, curves.csv, tables.md and plots. What was measured is kept in its cache: an interrupted
    evaluation goes on where it was. Needs pip install 'ctc-codec[eval]'.
    """
    from ..codec.model import default_weights, load_model
    from ..evaluation.bd_rate import published_curves
    from ..evaluation.codecs import RATES, Ctc
    from ..evaluation.images import evaluation_images, file_digest
    from ..evaluation.measure import Cache, code_digest, codec_key, measure_all
    from ..evaluation.metrics import METRICS, packages
    from ..evaluation.peers import PEERS
    from ..evaluation.results import OURS, assemble
    from ..evaluation.tables import summary

    if control is not None and not ablation:
        raise click.UsageError("--control goes with --ablation")
    known = [m.name for m in METRICS]
    metrics = _chosen("metric", metric_names and ["psnr", *metric_names], known)  # tables are built on it
    needed = [*_EXTRA, *packages(metrics)]
    lacking = [package for package in needed if importlib.util.find_spec(package) is None]
    if lacking:
        raise click.ClickException(f"{lacking[0]} is not installed: pip install 'ctc-codec[eval]'")
    with _in_a_line(output):
        path = weights or default_weights()
        digest = {"fingerprint": load_model(path).fingerprint.hex(), "sha256": file_digest(path)}
        candidates: list[Codec] = [Ctc(path, points or RATES), *PEERS]
        wanted = _chosen("codec", codec_names, [codec.name for codec in candidates])
        codecs, versions, missing = _installed([codec for codec in candidates if codec.name in wanted])
        images = evaluation_images(places)
        if show is not None and show not in [image.name for image in images]:
            raise click.UsageError(f"no image {show!r}; the first is {images[0].name!r}")
        curves = published_curves(published) if published else []

        cache, code = Cache(output / "cache"), code_digest()
        output.mkdir(parents=True, exist_ok=True)
        if ablation:
            click.echo(_ablation(images, path, control, output, cache, code, jobs or cores(), times, quiet))
            return
        keys = {c.name: codec_key(c, versions[c.name], digest["sha256"], code) for c in codecs}
        with _bar(len(images), len(codecs), "codecs", quiet) as bar:
            measured = measure_all(
                images, codecs, keys, metrics, cache, jobs or cores(), lambda done: bar.update(1, done)
            )
        if OURS in measured.failed:
            raise click.ClickException(measured.failed[OURS])
        resources = _resources(codecs, images, keys, cache) if times else {}
        results = assemble(images, codecs, versions, measured, missing, resources, curves, metrics, digest)
        tables = summary(results)
        _write_report(results, tables, output, images, show, path, cache, [code, digest])
    click.echo(json.dumps(results) if as_json else tables)
    if not quiet:
        click.echo(f"{output / 'index.html'}: the report", err=True)


def _bar(images: int, count: int, what: str, quiet: bool) -> Any:
    """click's progress bar over what is done with every image."""
    return click.progressbar(
        length=images * count,
        label=f"{images} images, {count} {what}",
        file=io.StringIO() if quiet else sys.stderr,
        item_show_func=lambda item: item,
    )


def _ablation(
    images: Sequence[EvaluationImage],
    weights: Path,
    control: Path | None,
    output: Path,
    cache: Cache,
    code: str,
    jobs: int,
    times: bool,
    quiet: bool,
) -> str:
    """Measure rungs and efforts, write OUTPUT/ablation.json, and return the tables."""
    from ..evaluation.ablation import (
        ablation_table,
        effort_table,
        efforts,
        measure_ablation,
        rungs,
        without_order,
    )

    steps = rungs(weights, without_order(weights, cache.folder), control)
    count = len(steps) + len(efforts(weights))
    with _bar(len(images), count, "modes", quiet) as bar:
        document = measure_ablation(
            steps, images, cache, code, jobs, times=times, progress=lambda done: bar.update(1, done)
        )
    (output / "ablation.json").write_text(json.dumps(document, indent=1) + "\n")
    return f"{ablation_table(document)}\n\n{effort_table(document)}"


@contextlib.contextmanager
def _in_a_line(output: Path) -> Iterator[None]:
    """What can go wrong, as click's errors."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        yield
    except BrokenProcessPool:
        raise click.ClickException(
            "a process was killed (no memory?); run again to go on, perhaps with --jobs 1"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror}") from None
    except CtcError as error:
        raise click.ClickException(str(error)) from None


def _installed(wanted: Sequence[Codec]) -> tuple[list[Codec], dict[str, str], dict[str, str]]:
    """Those that can be run here; their versions, and why others are missing, by name."""
    from ..evaluation.codecs import PeerError

    codecs, versions, missing = [], {}, {}
    for codec in wanted:
        try:
            versions[codec.name] = codec.version()
            codecs.append(codec)
        except PeerError as error:
            missing[codec.name] = str(error)
    return codecs, versions, missing


def _resources(
    codecs: Sequence[Codec], images: Sequence[EvaluationImage], keys: dict[str, Any], cache: Cache
) -> dict[str, Any]:
    """Times and memory of every codec, one after the other, on a few of the images."""
    from ..evaluation.resources import resources_of

    chosen = images[:: -(-len(images) // _TIMED_IMAGES)]
    found = {}
    for codec in codecs:
        key = ["resources", keys[codec.name], [image.sha256 for image in chosen]]
        known = cache.get(key)
        if known is None:
            known = resources_of(codec, [image.path for image in chosen])
            if known is not None:
                cache.put(key, known)
        found[codec.name] = known
    return found


def _write_report(
    results: Results,
    tables: str,
    output: Path,
    images: Sequence[EvaluationImage],
    show: str | None,
    weights: Path,
    cache: Cache,
    key: list[object],
) -> None:
    from ..evaluation import page
    from ..evaluation.images import file_digest
    from ..evaluation.page import RATES, frames, render, shown_image
    from ..evaluation.plots import draw_all
    from ..evaluation.results import OURS
    from ..evaluation.tables import curves_csv
    from .files import write_output

    def write(name: str, data: bytes) -> None:
        write_output(str(output / name), data, force=True)

    write("results.json", (json.dumps(results, separators=(",", ":")) + "\n").encode())
    write("curves.csv", curves_csv(results).encode())
    write("tables.md", (tables + "\n").encode())
    plots = draw_all(results)
    for name, data in plots.items():
        write(name, data)
    shown = next((i for i in images if i.name == show), None) or shown_image(images, results)
    frames_key = ["frames", shown.sha256, RATES, key, file_digest(Path(page.__file__))]
    steps = cache.get(frames_key) if OURS in results["codecs"] else []
    if steps is None:
        steps = frames(shown.path, weights)
        cache.put(frames_key, steps)
    write("index.html", render(results, plots, shown, steps).encode())
