"""The log of a run: a CSV with one row for every half a minute or so."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Append a row to a CSV file, header first in a new one."""
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})
