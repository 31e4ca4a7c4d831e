"""``ctc evaluate``: the codec beside its peers on folders of images, with a report."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..errors import CtcError
from ..evaluation.options import EvaluationOptions, UnknownName
from .options import Jobs, collected, examples

_PATH = click.Path(path_type=Path)


class _Names(click.ParamType[tuple[str, ...]]):
    name = "A,B,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        return tuple(word.strip() for word in value.split(",") if word.strip())


class _Rates(click.ParamType[tuple[float, ...]]):
    name = "BPP,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        try:
            rates = sorted({float(word) for word in value.split(",")})
        except ValueError:
            rates = []
        if not rates or not all(0 < rate < float("inf") for rate in rates):
            self.fail(f"{value!r} is not a list of positive bits per pixel (0.1,0.5,1)", param, ctx)
        return tuple(rates)


@click.command(
    "evaluate",
    epilog=examples(
        "ctc evaluate photos/ -o report/",
        "ctc evaluate photos/ --codecs ctc,jpeg --metrics psnr --points 0.1,0.5,1",
        "ctc evaluate photos/ --ablation",
        "ctc evaluate photos/ --json > results.json",
    ),
)
@click.argument(
    "places", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="DIR..."
)
@click.option(
    "-o", "--output", type=_PATH, default=Path("report"), show_default=True, help="Folder of the report."
)
@click.option(
    "--points", type=_Rates(), help="Bits per pixel at which our files are cut, besides not at all."
)
@click.option("--codecs", type=_Names(), help="Default: all; ctc, jpeg, webp, ...")
@click.option("--metrics", type=_Names(), help="Besides psnr: ms_ssim, ssimulacra2.  [default: all]")
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
@click.option("--jobs", type=Jobs(), metavar="N", help="Processes; auto or 0: one per core.  [default: auto]")
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of tables.")
@click.option("--weights", type=_PATH, envvar="CTC_WEIGHTS", help="Weights file (default: built in).")
@click.option("--quiet", is_flag=True, help="No progress, only results.")
@collected(options=EvaluationOptions)
def evaluate(options: EvaluationOptions, *, ablation: bool, control: Path | None, as_json: bool) -> None:
    """Measure the codec and its peers on the images in DIR..., and write a report.

    Every image is encoded once and its one file cut at many rates. The report is a folder: index.html,
    results.json, curves.csv, tables.md and plots. Its cache keeps all measurements: an interrupted evaluation
    goes on where it was. Needs the extra eval: pip install '.[eval]'.
    """
    if control is not None and not ablation:
        raise click.UsageError("--control goes with --ablation")
    with _in_a_line(options.output):
        from ..evaluation import report
        from ..evaluation.ablation import ablation_table, effort_table
        from ..evaluation.tables import summary

        if ablation:
            document = report.evaluate_ablation(options, control)
            click.echo(f"{ablation_table(document)}\n\n{effort_table(document)}")
            return
        results = report.evaluate(options)
    click.echo(json.dumps(results) if as_json else summary(results))
    if not options.quiet:
        click.echo(f"{options.output / 'index.html'}: the report", err=True)


@contextlib.contextmanager
def _in_a_line(output: Path) -> Iterator[None]:
    """Turn errors of an evaluation into click's."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        yield
    except UnknownName as error:
        raise click.UsageError(str(error)) from None
    except BrokenProcessPool:
        raise click.ClickException(
            "a process was killed (no memory?); run again to go on, perhaps with --jobs 1"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror}") from None
    except CtcError as error:
        raise click.ClickException(str(error)) from None
