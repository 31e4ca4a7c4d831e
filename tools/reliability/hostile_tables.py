"""Figures and tables of the record of hostile files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from reliability.watched import BASE_MB, CRASHED, DEFECTS, DONE, REFUSED, TIMED_OUT

Row = dict[str, Any]

_LARGE = 1 << 20
"""Pixels from which time and memory are mostly those of the picture."""
_GROUPS = {"ctc": ".ctc files", "image": "image files", "weights": "weights files"}


def summary(rows: list[Row]) -> dict[str, Any]:
    """Counts of outcomes by group, what asked for most, and where memory ends."""
    found: dict[str, Any] = {}
    for group in _GROUPS:
        own = [row for row in rows if row["group"] == group]
        if not own:
            continue
        found[group] = {
            "cases": len({row["case"] for row in own}),
            "outcomes": dict(Counter(row["outcome"] for row in own)),
            "slowest": _most(own, lambda row: row["seconds"]),
            "largest": _most(own, lambda row: row["peak_mb"]),
        }
    large = [row for row in rows if row.get("pixels", 0) >= _LARGE and row["outcome"] == DONE]
    looks = [row for row in large if "looks" in row["case"]]
    others = [row for row in large if "looks" not in row["case"]]
    if others:
        found["per_pixel"] = {
            "bytes": _most(large, lambda row: (row["peak_mb"] - BASE_MB) * 1e6 / row["pixels"]),
            "microseconds": _most(others, lambda row: row["seconds"] * 1e6 / row["pixels"]),
        }
    if looks:
        found["per_byte"] = {"seconds": _most(looks, lambda row: row["seconds"] / row["bytes"])}
    memory = [row for row in rows if row["group"] == "memory"]
    if memory:
        found["memory"] = list(_ends(memory))
    return found


def _most(rows: list[Row], key: Callable[[Row], float]) -> dict[str, Any]:
    row = max(rows, key=key)
    told = {name: row[name] for name in ("case", "way", "bytes", "seconds", "peak_mb")}
    return {"value": round(key(row), 3), **told}


def _ends(rows: list[Row]) -> Iterator[dict[str, Any]]:
    """For each command and number of threads: megabytes of address space that are enough, those at which it
    was refused, and those at which a library ended the process."""
    for way, threads in dict.fromkeys((row["way"], row["threads"]) for row in rows):
        own = [row for row in rows if (row["way"], row["threads"]) == (way, threads)]
        limits = {
            outcome: sorted({row["limit_mb"] for row in own if row["outcome"] == outcome})
            for outcome in dict.fromkeys(row["outcome"] for row in own)
        }
        short = [row["limit_mb"] for row in own if row["outcome"] != DONE]
        yield {
            "way": way,
            "threads": threads,
            "enough_mb": min((mb for mb in limits.get(DONE, []) if mb > max(short, default=0)), default=None),
            "refused_mb": limits.get(REFUSED, []),
            "crashed_mb": limits.get(CRASHED, []),
            "other_mb": {name: mb for name, mb in limits.items() if name not in (DONE, REFUSED, CRASHED)},
            "words": sorted({_words(row) for row in own if row["outcome"] == CRASHED}),
        }


def _words(row: Row) -> str:
    said = row["said"]
    return "OpenBLAS's own line" if "OpenBLAS" in said else said or "none"


def lines(content: dict[str, Any]) -> list[str]:
    """The record as Markdown: tables and what they say."""
    total, out = content["summary"], []
    groups = {group: total[group] for group in _GROUPS if group in total}
    if groups:
        out += [
            "| | files | tried | done | refused with one line | defects | of these timed out | slowest "
            "| most memory |"
        ]
        out += ["|---" * 9 + "|"]
        out += [_group_line(_GROUPS[group], found) for group, found in groups.items()]
    if "per_pixel" in total:
        space, time = total["per_pixel"]["bytes"], total["per_pixel"]["microseconds"]
        out += [
            "",
            f"Sizes are checked before memory is taken. A declared pixel took {space['value']:.0f} bytes at "
            f"most, beside the {BASE_MB} MB of a process ({space['case']}, {space['way']}), and "
            f"{time['value']:.2f} microseconds without looks ({time['case']}, {time['way']}).",
        ]
    if "per_byte" in total:
        most = total["per_byte"]["seconds"]
        out += [
            f"Looks of the networks are what bytes buy dearest: {most['bytes']} bytes ({most['case']}) kept "
            f"{most['way']} busy for {most['seconds']:.1f} s, {1000 * most['value']:.0f} ms a byte."
        ]
    if "memory" in total:
        out += ["", *_memory_lines(total["memory"])]
    return out


def _group_line(name: str, found: dict[str, Any]) -> str:
    outcomes, slow, large = Counter(found["outcomes"]), found["slowest"], found["largest"]
    counts = [outcomes[DONE], outcomes[REFUSED], sum(outcomes[o] for o in DEFECTS), outcomes[TIMED_OUT]]
    cells = [name, found["cases"], sum(outcomes.values()), *counts]
    cells += [f"{slow['seconds']:.0f} s ({slow['case']}, {slow['way']})"]
    cells += [f"{large['peak_mb']} MB ({large['case']}, {large['way']})"]
    return f"| {' | '.join(map(str, cells))} |"


def _memory_lines(ends: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        "| 1000x800 under `RLIMIT_AS` | enough from | refused with one line | ended by a library | other |"
    )
    yield "|---" * 5 + "|"
    for end in ends:
        threads = f"{end['threads']} thread{'s' * (end['threads'] > 1)}"
        crashed = _ranges(end["crashed_mb"]) + f" ({', '.join(end['words'])})" * bool(end["words"])
        other = "; ".join(f"{name} at {_ranges(mb)}" for name, mb in end["other_mb"].items())
        enough = f"{end['enough_mb']} MB" if end["enough_mb"] else "more"
        cells = [f"{end['way']}, {threads}", enough, _ranges(end["refused_mb"]), crashed, other]
        yield f"| {' | '.join(cells)} |"


def _ranges(megabytes: list[int]) -> str:
    return f"{megabytes[0]} to {megabytes[-1]} MB" if megabytes else "never"
