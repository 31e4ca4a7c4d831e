"""What the record of a run of the fuzzers (``make fuzz``) says."""

from __future__ import annotations

from typing import Any


def _share(outcomes: dict[str, int], *words: str) -> float:
    """Per cent of the outcomes that hold one of the words."""
    held = sum(count for outcome, count in outcomes.items() if any(word in outcome for word in words))
    return 100 * held / max(sum(outcomes.values()), 1)


def _depths(outcomes: dict[str, int]) -> str:
    """How far decodings came."""
    slices = _share(outcomes, "into a plane", "last plane", "all planes")
    end = _share(outcomes, "last plane", "all planes")
    unfit = _share(outcomes, "by no encoder", "DamageError: damaged: ")
    return (
        f"Of the decoder's inputs {slices:.0f} % came to trits and {end:.0f} % to the last plane; "
        f"{unfit:.0f} % had check sums that fit and contents that no encoder writes."
    )


def lines(content: dict[str, Any]) -> list[str]:
    """Markdown of a record: a table and some sentences."""
    summary = content["summary"]
    names = ("surface", "executions", "a second", "edges", "corpus", "peak MB", "findings")
    out = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in content["rows"]:
        speed = row["executions"] / max(row["seconds"], 1)
        out.append(
            f"| {row['surface'].replace('_', ' ')} | {row['executions']:,} | {speed:,.0f} | {row['edges']:,} "
            f"| {row['inputs']:,} | {row['peak_mb']:,} | {row['findings']} |"
        )
    minutes = summary["seconds"] / 60
    out += [
        "",
        f"In all {summary['executions']:,} executions in {minutes:,.0f} minutes, one process at a time.",
    ]
    deep = next((row["outcomes"] for row in content["rows"] if row["surface"] == "decoder"), None)
    if deep:
        out[-1] += f" {_depths(deep)}"
    return out
