"""``ctc train``: photographs to a weights file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import CtcError
from ..training.options import CPU_BATCH, CUDA_BATCH, TrainingOptions
from .options import collected, examples

_COUNT = click.IntRange(min=1)
_RATE = click.FloatRange(min=0, min_open=True)


class _Widths(click.ParamType[tuple[int, ...]]):
    name = "A,B,C"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        words = value.split(",")
        if len(words) != 3 or not all(word.strip().isdecimal() and int(word) for word in words):
            self.fail(f"{value!r} is not three numbers of channels (32,48,64)", param, ctx)
        return tuple(int(word) for word in words)


@click.command(
    "train",
    epilog=examples(
        "ctc train photos/ --run runs/base --minutes 60",
        "ctc train photos/ shard.tar --run runs/next --start ctc.safetensors --device cuda",
        "ctc train photos/ --run runs/rehearsal --steps 10 --batch 1",
    ),
)
@click.argument("sources", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="FOLDER|TAR...")
@click.option("--run", "folder", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--start",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="WEIGHTS",
    help="Begin a new run with a weights file, or with a checkpoint of another run.",
)
@click.option(
    "--networks",
    type=click.Choice(["both", "crr", "synthesis"]),
    default="both",
    show_default=True,
    help="synthesis leaves CRR as it is: the new weights read and write the files of the old ones.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=9.0,
    show_default=True,
    help="Of the whole run; learning rates fall toward its end.",
)
@click.option("--steps", type=_COUNT, help="A run of so many steps instead.")
@click.option("--batch", type=_COUNT, help=f"Crops a step.  [default: {CPU_BATCH}, on CUDA {CUDA_BATCH}]")
@click.option(
    "--crop", type=click.IntRange(min=64), default=256, show_default=True, help="Side of the crops."
)
@click.option(
    "--widths", type=_Widths(), help="Channels of CRR's networks.  [default: those of --start, or 32,48,64]"
)
@click.option("--crr-rate", type=_RATE, help="Learning rate of CRR.  [default: 0.001, with --start 0.0002]")
@click.option(
    "--synthesis-rate", type=_RATE, default=5e-4, show_default=True, help="Of the synthesis network."
)
@click.option("--synthesis-width", type=_COUNT, help="Channels.  [default: those of --start, or 96]")
@click.option("--synthesis-blocks", type=_COUNT, help="[default: those of --start, or 6]")
@click.option(
    "--whole", is_flag=True, help="Train the synthesis network for whole files only, to compare with."
)
@click.option("--exclude", multiple=True, metavar="PREFIX", help="Leave out photographs named PREFIX...")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--threads", type=_COUNT, help="CPU threads (default: all cores).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@collected(options=TrainingOptions)
def train(sources: tuple[Path, ...], *, options: TrainingOptions) -> None:
    """Train CRR and the synthesis network on photographs and freeze them to RUN/ctc.safetensors.

    A run that was interrupted goes on from its checkpoint. RUN/log.csv has its figures and RUN/curves.png
    their curves. With several GPUs:
    torchrun --nproc-per-node N -m -- ctc_codec.cli train ...
    """
    if not sources:
        raise click.UsageError("give at least one folder or tar shard of photographs")
    try:
        from ..training.run import run

        run(sources, options, lambda line: click.echo(line, err=True))
    except (CtcError, ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from None
