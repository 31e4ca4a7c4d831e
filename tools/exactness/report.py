"""The record of a run, and what docs/RELIABILITY.md says of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from exactness.cells import VERDICTS
from exactness.runs import Result
from reliability.record import record

HEAD = "| environment | onnxruntime, numpy | group | setting | files | result |\n|---|---|---|---|---|---|"
CONTROL = "control"


def row(result: Result) -> str:
    """One line of the table while it is made."""
    versions = f"{result.here['onnxruntime']}, {result.here['numpy']}" if result.here else ""
    verdict = f"**{result.verdict}**" if result.defect else result.verdict
    files = ", ".join(result.others) or "same"
    told = [result.environment, versions, result.cell.group, result.cell.name, files]
    return f"| {' | '.join(told)} | {verdict}{': ' * bool(result.note)}{result.note} |"


def _row(result: Result) -> dict[str, Any]:
    return {
        "environment": result.environment,
        "group": result.cell.group,
        "setting": result.cell.name,
        "verdict": result.verdict,
        "defect": result.defect,
        "note": result.note,
        "latents": result.latents,
        "differing": list(result.differing),
        "other_files": list(result.others),
        "pixels": result.pixels[:16],
        "here": result.here,
    }


def record_of(found: list[Result], second: list[Result], files: int, seconds: float) -> dict[str, Any]:
    """The record of a run.

    second: of the cells that decoded the files of others.
    files: how many these were.
    """
    real = [result for result in found if result.cell.group != CONTROL]
    counts = Counter(result.verdict for result in real)
    summary = {
        "cells": len(real),
        **{verdict.replace(" ", "_"): counts[verdict] for verdict in VERDICTS},
        "latents": sum(result.latents for result in real),
        "controls": len(found) - len(real),
        "cells_with_other_files": sum(bool(result.others) for result in real),
        "other_files": files,
        "other_files_decoded": sum(result.latents for result in second),
        "other_files_different": sum(len(result.differing) for result in second),
        "kinds_of_pixels": len({result.pixels for result in real if result.pixels}),
        "defects": sum(result.defect for result in found + second),
        "seconds": round(seconds),
    }
    return record(summary, [_row(result) for result in found])


def _counts(rows: list[dict[str, Any]]) -> str:
    counts = Counter(each["verdict"] for each in rows)
    return " | ".join(str(counts[verdict]) if counts[verdict] else "" for verdict in VERDICTS[:4])


def lines(content: dict[str, Any]) -> list[str]:
    """Tables of a record, and what they say, in Markdown."""
    rows = [each for each in content["rows"] if each["group"] != CONTROL]
    told = content["summary"]
    groups = dict.fromkeys(each["group"] for each in rows if each["environment"] == "current")
    names = [name for name in dict.fromkeys(each["environment"] for each in rows) if name != "current"]
    table = [f"| what is installed | settings | {' | '.join(VERDICTS[:4])} |", f"|---|---|{'---|' * 4}"]
    for group in groups:
        chosen = [each for each in rows if (each["environment"], each["group"]) == ("current", group)]
        table.append(f"| {group} | {'; '.join(each['setting'] for each in chosen)} | {_counts(chosen)} |")
    table += ["", f"| other environment | onnxruntime, numpy, Python | {' | '.join(VERDICTS[:4])} |"]
    table.append(f"|---|---|{'---|' * 4}")
    for name in names:
        chosen = [each for each in rows if each["environment"] == name]
        here = next((each["here"] for each in chosen if each["here"]), None)
        versions = f"{here['onnxruntime']}, {here['numpy']}, {here['python']}" if here else ""
        table.append(f"| {name} | {versions} | {_counts(chosen)} |")
    if told["defects"]:
        return [f"{told['defects']} defects."]
    return [
        f"{told['cells']} cells, {told['latents']} latents compared: {told['equal']} equal, "
        f"{told['refused']} refused, {told['different']} different, {told['failed']} failed, "
        f"{told['not_here']} not to be had there. {_encoders(told)} {_pixels(told)} {told['controls']} more "
        "cells are wrong on purpose; all of these were found.",
        "",
        *table,
        "",
        f"Measured {content['date']} on {content['machine']}; {told['seconds'] // 60} minutes.",
    ]


def _encoders(told: dict[str, Any]) -> str:
    if not told["other_files"]:
        return "Those that were equal encoded the golden pictures to the golden files, byte for byte."
    return (
        f"{told['cells_with_other_files']} encoded a golden picture to other bytes, {told['other_files']} "
        f"files in all; of {told['other_files_decoded']} decodings of these in all cells "
        f"{told['other_files_different']} gave another latent."
    )


def _pixels(told: dict[str, Any]) -> str:
    kinds = told["kinds_of_pixels"]
    return "Pixels were the same in all." if kinds == 1 else f"Pixels came out in {kinds} ways."
