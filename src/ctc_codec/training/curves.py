"""Learning curves: loss, bits per pixel and PSNR of a run's log over patches seen and device time.

python -m ctc_codec.training.curves RUN/log.csv... -o curves.png      (needs the extra ``plot``)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from .log import Row, read_log

_PANELS = (("loss", "loss"), ("bpp", "bits per pixel"), ("psnr", "PSNR at full rate, dB"))
_AXES = (("patches", "patches of 256x256 seen"), ("seconds", "device time, minutes"))


def _smooth(values: np.ndarray, rows: int) -> np.ndarray:
    """Running mean over about a fortieth of the rows: crops differ a lot from step to step."""
    width = max(1, rows // 40)
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


def draw(logs: Sequence[tuple[str, list[Row]]], output: Path) -> None:
    """Draw named logs into one PNG. Raises ImportError without matplotlib, ValueError if all are empty."""
    from matplotlib.figure import Figure

    logs = [(name, rows) for name, rows in logs if rows]
    if not logs:
        raise ValueError("no rows to draw")
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    axes = figure.subplots(len(_AXES), len(_PANELS), squeeze=False)
    for (row, (x_key, x_label)), (column, (y_key, y_label)) in itertools.product(
        enumerate(_AXES), enumerate(_PANELS)
    ):
        panel = axes[row, column]
        for name, rows in logs:
            points = [(r[x_key], r[y_key]) for r in rows if y_key in r]
            if points:
                x, y = np.array(points).T
                panel.plot(x / (60 if x_key == "seconds" else 1), _smooth(y, len(y)), label=name, lw=1.2)
        panel.set_xlabel(x_label)
        panel.set_title(y_label)
        panel.grid(alpha=0.3)
    axes[0, 0].legend()
    figure.savefig(output, dpi=100)


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
def main(logs: tuple[Path, ...], output: Path) -> None:
    """Draw the learning curves of runs' LOGS (log.csv) into one PNG."""
    try:
        draw([(path.resolve().parent.name, read_log(path)) for path in logs], output)
    except (ImportError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
