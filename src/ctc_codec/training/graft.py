"""Weights with networks of other runs.

    python -m ctc_codec.training.graft WEIGHTS -o OUT --crr RUN/checkpoint.pt --synthesis OTHER/checkpoint.pt

CRR, and CDR with the synthesis, can be trained at the same time on one base: this puts them together.
"""

from __future__ import annotations

from pathlib import Path

import click

from .._errors import CtcError


def graft(weights: Path, sources: dict[str, Path], output: Path) -> None:
    """Write ``weights`` with parts of checkpoints, by name: crr, cdr, synthesis.

    Raises ValueError, WeightsError, OSError.
    """
    from .._weights import read_weights
    from .checkpoint import load_checkpoint
    from .export import export, restore
    from .loop import averaged_model

    model = restore(weights)
    for part, path in sources.items():
        other = averaged_model(load_checkpoint(path))
        network = getattr(other, part)
        if network is None:
            raise ValueError(f"{path}: has no {part}")
        if part != "synthesis":
            model.add_context()
        getattr(model, part).load_state_dict(network.state_dict())
    export(model, output, read_weights(weights).arrays["exact.channel_priority"])


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--crr", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Checkpoint.")
@click.option("--cdr", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Checkpoint.")
@click.option("--synthesis", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Checkpoint.")
def main(weights: Path, output: Path, **sources: Path | None) -> None:
    """Write WEIGHTS with the networks of other checkpoints."""
    try:
        graft(weights, {part: path for part, path in sources.items() if path is not None}, output)
    except (CtcError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
