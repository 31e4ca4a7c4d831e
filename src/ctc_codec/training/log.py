"""The log of a run: a CSV with a row for every 28th of it, and a picture of its curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from ..container.atomic import write_whole

COLUMNS = (
    *("step", "minutes", "bpp", "synthesis_db"),
    *("val_bpp", "val_psnr", "val_db", "mpixel_per_s", "lr_factor"),
)
"""bpp: of a plane from its beginning; synthesis_db: gain of the synthesis network; val_: of the averaged
weights on photographs that are held out, see :func:`ctc_codec.training.validation.validate`."""


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a log; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def keep_rows(path: Path, step: int) -> None:
    """Drop the rows after a step, which a run that goes on from there will write again."""
    rows = read_rows(path)
    kept = [row for row in rows if int(row["step"]) <= step]
    if len(kept) < len(rows):
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(kept)
        write_whole(path, out.getvalue().encode())


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Append a row, header first in a new file; figures that it lacks stay empty."""
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})


def draw_curves(log: Path, picture: Path) -> None:
    """Draw a log as a PNG file, if there are rows and matplotlib is installed."""
    rows = read_rows(log)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    if not rows:
        return
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, names, title in zip(
        figure.subplots(1, 2),
        (("bpp", "val_bpp"), ("synthesis_db", "val_db")),
        ("bits per pixel of a plane", "gain of the synthesis network, dB"),
        strict=True,
    ):
        for name in names:
            points = [(float(row["minutes"]), float(row[name])) for row in rows if row[name]]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=name)
                axes.legend()
        axes.set(title=title, xlabel="minutes")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    write_whole(picture, out.getvalue())
