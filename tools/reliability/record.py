"""Records of trials: one JSON file each, with the machine, the versions and the weights that they are of."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ctc_codec import load_model

_FLAGS = (
    *("sse4_2", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "sve"),
)
_PACKAGES = ("onnxruntime", "numpy", "pillow", "constriction")


def _cpuinfo(pattern: str) -> str:
    try:
        found = re.search(pattern, Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def machine() -> str:
    """The processor and what it offers, by the names in /proc/cpuinfo, where there is such a file."""
    has = set(_cpuinfo(r"^(?:flags|Features)\s*: (.*)$").split())
    flags = ", ".join(flag for flag in _FLAGS if flag in has) or "flags unknown"
    name = _cpuinfo(r"^model name\s*: (.*)$") or platform.machine()
    return f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}; {flags}"


def record(summary: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A record of today, of this machine and of the released weights.

    summary: figures of the whole trial.
    rows: one for each part of it.
    """
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": {name: version(name) for name in _PACKAGES},
        "weights": load_model().fingerprint.hex(),
        "summary": summary,
        "rows": rows,
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
