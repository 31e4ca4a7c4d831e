"""The log of a run: a CSV with one row per some steps, and its learning curves as a picture."""

from __future__ import annotations

import contextlib
import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from .distributed import total, world_size

Row = dict[str, float]


class Meter:
    """Sums what the steps report; reads it (and so waits for the device) once per row of the log."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self.steps = 0
        self._since = time.monotonic()

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Scalars of one step: a mean each, but for ``full_mse`` and ``full_count``, which are sums."""
        self._sums = {k: self._sums[k] + v if k in self._sums else v for k, v in metrics.items()}
        self.steps += 1

    def row(self, pixels_per_step: int) -> Row:
        """Means since the last call, over all processes."""
        names = sorted(self._sums)
        sums = total(torch.stack([self._sums[name].double() for name in names]))
        values = dict(zip(names, sums.tolist(), strict=True))
        count = self.steps * world_size()
        now = time.monotonic()
        row = {name: value / count for name, value in values.items() if not name.startswith("full_")}
        if "full_mse" in values:
            mse = values["full_mse"] / max(values["full_count"], 1)
            row["psnr"] = -10 * math.log10(mse) if mse > 0 else math.nan
        row["mpixel_per_s"] = self.steps * pixels_per_step / (now - self._since) / 1e6
        self._sums, self.steps, self._since = {}, 0, now
        return row


@contextlib.contextmanager
def csv_log(path: Path | None) -> Iterator[Callable[[Mapping[str, float | str]], None]]:
    """A function that appends one row to a CSV file, header first in a new one; None writes nothing."""
    if path is None:
        yield lambda row: None
        return
    with path.open("a", newline="") as file:

        def write(row: Mapping[str, float | str]) -> None:
            writer = csv.DictWriter(file, list(row))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow({k: v if isinstance(v, str) else f"{v:.6g}" for k, v in row.items()})
            file.flush()

        yield write


def read_log(path: Path) -> list[Row]:
    """The rows of a log. A last row that a kill cut short is left out."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {k: float(v) for k, v in row.items()}
        for row in rows
        if None not in row and all(isinstance(v, str) and v for v in row.values())
    ]
