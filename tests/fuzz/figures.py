"""Records of runs of the fuzzers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reliability.record import record

from .rounds import Result

_OUTCOMES = 60
"""Words of a surface that a record names; others are counted together."""
_OTHERS = "others"

_ADDED = ("executions", "seconds", "findings")
_LARGEST = ("edges", "inputs", "peak_mb")


def _most(outcomes: Counter[str]) -> dict[str, int]:
    """The most frequent words; the rest is counted together."""
    rest = outcomes.pop(_OTHERS, 0)
    most = dict(outcomes.most_common(_OUTCOMES))
    rest += outcomes.total() - sum(most.values())
    return {**most, _OTHERS: rest} if rest else most


def row_of(name: str, result: Result) -> dict[str, Any]:
    """A surface's row of a record."""
    return {
        "surface": name,
        "executions": result.executions,
        "seconds": round(result.seconds),
        "edges": result.edges,
        "inputs": result.inputs,
        "peak_mb": result.peak_mb,
        "findings": int(result.finding is not None),
        "outcomes": _most(result.outcomes),
    }


def record_of(rows: list[dict[str, Any]], runs: int = 1) -> dict[str, Any]:
    """A record of today. runs: that its figures are of."""
    summary = {name: sum(row[name] for row in rows) for name in _ADDED}
    return record({**summary, "surfaces": len(rows), "runs": runs}, rows)


def added(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Two records as one, with the date and the machine of the later one.

    Raises SystemExit if they are of different weights.
    """
    if before["weights"] != now["weights"]:
        raise SystemExit(f"the record is of other weights ({before['weights']}, here {now['weights']})")
    old = {row["surface"]: row for row in before["rows"]}
    new = {row["surface"]: row for row in now["rows"]}
    rows = []
    for name in {**old, **new}:
        if name not in old or name not in new:
            rows.append(old.get(name) or new[name])
            continue
        a, b = old[name], new[name]
        row = {"surface": name, "outcomes": _most(Counter(a["outcomes"]) + Counter(b["outcomes"]))}
        row |= {key: a[key] + b[key] for key in _ADDED} | {key: max(a[key], b[key]) for key in _LARGEST}
        rows.append({key: row[key] for key in a})
    return record_of(rows, before["summary"]["runs"] + now["summary"]["runs"])
