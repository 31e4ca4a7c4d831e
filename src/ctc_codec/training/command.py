"""``ctc train``: photographs to a weights file."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import CtcError

CPU_BATCH, CUDA_BATCH = 4, 24
WEIGHTS = "ctc.safetensors"

_COUNT = click.IntRange(min=1)


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.command()
@click.argument("sources", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="FOLDER|TAR...")
@click.option("--run", "folder", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--start",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="WEIGHTS.pt",
    help="Begin a new run with the weights of a checkpoint, or with those of CRR alone.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=9.0,
    show_default=True,
    help="Of the whole run; learning rates fall toward its end.",
)
@click.option("--steps", type=_COUNT, help="At most so many steps.")
@click.option("--batch", type=_COUNT, help=f"Crops a step.  [default: {CPU_BATCH}, on CUDA {CUDA_BATCH}]")
@click.option(
    "--crop", type=click.IntRange(min=64), default=256, show_default=True, help="Side of the crops."
)
@click.option("--exclude", multiple=True, metavar="PREFIX", help="Leave out photographs named PREFIX...")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--threads", type=_COUNT, help="CPU threads (default: all cores).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def train(
    sources: tuple[Path, ...],
    folder: Path,
    start: Path | None,
    minutes: float,
    steps: int | None,
    batch: int | None,
    crop: int,
    exclude: tuple[str, ...],
    seed: int,
    threads: int | None,
    device: str,
) -> None:
    """Train CRR and the synthesis network on photographs and freeze them to RUN/ctc.safetensors.

    A run that was ended goes on from its checkpoint with the minutes that it has left.
    """
    if not sources:
        raise click.UsageError("give at least one folder or tar shard of photographs")
    try:
        import torch

        from .data import Source
        from .loop import Settings
        from .loop import train as run

        if threads is not None:
            torch.set_num_threads(threads)
        found = torch.cuda.is_available()
        if device == "cuda" and not found:
            raise ValueError("there is no CUDA device here")
        where = torch.device("cuda" if found and device != "cpu" else "cpu")
        chosen = batch or (CUDA_BATCH if where.type == "cuda" else CPU_BATCH)
        source = Source.read(sources, exclude)
        settings = Settings(minutes=minutes, steps=steps, batch=chosen, crop=crop, seed=seed)
        checkpoint = run(source, folder, settings, where, start, _say)
        try:
            from .freeze import freeze, load_state

            freeze(load_state(checkpoint), source.photographs, source.held_out, folder / WEIGHTS, _say)
        except ImportError as error:  # training needs neither onnx nor the codec's libraries
            later = f"python -m ctc_codec.training.freeze {checkpoint} does it elsewhere"
            raise click.ClickException(f"not frozen ({error}): {later}") from None
    except (CtcError, ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from None
