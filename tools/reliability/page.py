"""Figures of docs/RELIABILITY.md, made from the records in docs/reliability.

cd tools && python -m reliability.page
"""

from __future__ import annotations

import json
from pathlib import Path

from exactness import report as exactness
from readme_figures import with_section
from reliability import damage, faults, fuzzing, hostile_tables, large, prefixes, sizes, soak

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/RELIABILITY.md"
RECORDS = ROOT / "docs/reliability"

_LINES = {
    "exactness": exactness.lines,
    "prefixes": prefixes.lines,
    "sizes": sizes.lines,
    "fuzz": fuzzing.lines,
    "hostile": hostile_tables.lines,
    "damage": damage.lines,
    "faults": faults.lines,
    "large": large.lines,
    "soak": soak.lines,
}


def renewed() -> str:
    """The page as the committed records make it."""
    text = PAGE.read_text("utf-8")
    for name, lines in _LINES.items():
        record = json.loads((RECORDS / f"{name}.json").read_text("utf-8"))
        text = with_section(text, "\n".join(lines(record)), f"<!-- {name} -->")
    return text


if __name__ == "__main__":
    PAGE.write_text(renewed(), "utf-8")
