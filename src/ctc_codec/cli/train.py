"""``ctc train``: photographs to a weights file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import CtcError

if TYPE_CHECKING:
    from ..training.data import Source

CPU_BATCH, CUDA_BATCH = 4, 24
CRR_RATE, START_CRR_RATE = 1e-3, 2e-4
DECAY = 0.45
CPU_USES = 6
"""Of the states that the synthesis network learns on alone: on a CPU they take longer than a step."""
WEIGHTS = "ctc.safetensors"

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


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.command()
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
def train(
    sources: tuple[Path, ...],
    folder: Path,
    start: Path | None,
    networks: str,
    minutes: float,
    steps: int | None,
    batch: int | None,
    crop: int,
    widths: tuple[int, ...] | None,
    crr_rate: float | None,
    synthesis_rate: float,
    synthesis_width: int | None,
    synthesis_blocks: int | None,
    whole: bool,
    exclude: tuple[str, ...],
    seed: int,
    threads: int | None,
    device: str,
) -> None:
    """Train CRR and the synthesis network on photographs and freeze them to RUN/ctc.safetensors.

    A run that was interrupted goes on from its checkpoint with what it has left. RUN/log.csv and
    RUN/curves.png tell how it went. With several GPUs:
    torchrun --nproc-per-node N -m -- ctc_codec.cli train ...
    """
    if not sources:
        raise click.UsageError("give at least one folder or tar shard of photographs")
    try:
        import torch

        from ..training.checkpoint import load_layers
        from ..training.data import Source
        from ..training.loop import train as run
        from ..training.networks import synthesis_shape_of, widths_of
        from ..training.trainer import Settings, begin_processes

        if threads is not None:
            torch.set_num_threads(threads)
        found = torch.cuda.is_available()
        if device == "cuda" and not found:
            raise ValueError("there is no CUDA device here")
        where = begin_processes(torch.device("cuda" if found and device != "cpu" else "cpu"))
        cuda = where.type == "cuda"
        layers = load_layers(start) if start else {}
        width, blocks = synthesis_shape_of(layers)
        settings = Settings(
            minutes=minutes,
            steps=steps,
            batch=batch or (CUDA_BATCH if cuda else CPU_BATCH),
            crop=crop,
            seed=seed,
            networks=networks,
            crr_rate=crr_rate or (START_CRR_RATE if start else CRR_RATE),
            decay=1.0 if start else DECAY,
            synthesis_rate=synthesis_rate,
            uses=1 if cuda else CPU_USES,
            whole=whole,
            widths=widths or widths_of(layers),
            width=synthesis_width or width,
            blocks=synthesis_blocks or blocks,
        )
        source = Source.read(sources, exclude)
        checkpoint = run(source, folder, settings, where, start, _say)
        if torch.distributed.is_initialized():
            first = torch.distributed.get_rank() == 0
            torch.distributed.destroy_process_group()
            if not first:
                return
        _finish(checkpoint, source, folder / WEIGHTS, start)
    except (CtcError, ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from None


def _finish(checkpoint: Path, source: Source, weights: Path, start: Path | None) -> None:
    """Freeze a checkpoint, and tell what the codec does with it on held-out photographs."""
    from ..training.checkpoint import load_layers

    try:
        from ..codec.model import default_weights
        from ..training.freeze import freeze
        from ..training.validation import comparison

        freeze(load_layers(checkpoint), source.photographs, source.held_out, weights, _say)
    except ImportError as error:  # training needs neither onnx nor the codec's libraries
        later = f"python -m ctc_codec.training.freeze {checkpoint} does it elsewhere"
        raise click.ClickException(f"not frozen ({error}): {later}") from None
    known = start if start is not None and start.suffix == ".safetensors" else default_weights()
    if source.held_out:
        for line in comparison(weights, known, source.held_out):
            _say(line)
