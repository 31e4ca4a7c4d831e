"""Settings of a machine under which the golden files must decode to the same latents, one process for each.

``exactness.py`` runs all of them and prints a table; ``test_exact.py`` runs those that are quick.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src"

AGREED, REFUSED, NOT_HERE, DISAGREED, FAILED = "agreed", "refused", "not here", "DISAGREED", "FAILED"
DEFECTS = (DISAGREED, FAILED)

_LIMIT_SECONDS = 600


@dataclass(frozen=True)
class Cell:
    """One setting.

    group, name: for the table. arguments: of latent_hashes.py; variables: of its environment.
    needs: flags of /proc/cpuinfo without which the setting means nothing. Where ``harmless`` it is run all
    the same, as it must not break anything either.
    expected: values in what latent_hashes.py finds in force, without which the setting is not there.
    quick: the tests run it.
    """

    group: str
    name: str
    arguments: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    harmless: bool = True
    expected: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    quick: bool = False


@dataclass(frozen=True)
class Environment:
    """A Python with packages. path: folders before its own, for PYTHONPATH."""

    name: str = "current"
    python: str = sys.executable
    path: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Result:
    """verdict: one of those above; note: why; here: what was in force; differing: FILE at CUT."""

    environment: str
    cell: Cell
    verdict: str
    note: str = ""
    here: dict[str, Any] = field(default_factory=dict)
    differing: tuple[str, ...] = ()
    seconds: float = 0.0


_AVX512 = ("avx512f", "avx512bw", "avx512vl", "avx512dq")
_BF16 = ("avx512_bf16",)
_FP16 = "Intel AVX-512 with float16, Intel DL Boost and bfloat16 support"
_ONEDNN = {
    "SSE41": ("Intel SSE4.1",),
    "AVX": ("Intel AVX",),
    "AVX2": ("Intel AVX2",),
    "AVX2_VNNI": ("Intel AVX2 with Intel DL Boost",),
    "AVX2_VNNI_2": ("Intel AVX2 with Intel DL Boost, float16 and bfloat16 support",),
    "AVX512_CORE": ("Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ extensions",),
    "AVX512_CORE_VNNI": ("Intel AVX-512 with Intel DL Boost",),
    "AVX512_CORE_BF16": ("Intel AVX-512 with Intel DL Boost and bfloat16 support",),
    "AVX512_CORE_FP16": (_FP16, "Intel AVX 10.1"),
    "AVX512_CORE_AMX": (
        f"{_FP16} and Intel AMX with bfloat16 and 8-bit integer support",
        "Intel AVX10.1 and Intel AMX with bfloat16 and 8-bit integer support",
    ),
    "AVX512_CORE_AMX_FP16": (
        f"{_FP16} and Intel AMX with bfloat16, float16 and 8-bit integer support",
        "Intel AVX10.1 and Intel AMX with bfloat16, float16 and 8-bit integer support",
    ),
}
"""Values of ONEDNN_MAX_CPU_ISA and what oneDNN then calls the instructions that it uses."""

_ATEN = "ATEN_CPU_CAPABILITY"
_NO_AVX = ("DEFAULT", "NO AVX")
"""What releases of torch call it."""
_ISA = "ONEDNN_MAX_CPU_ISA"
_NO_AVX2_IN_NUMPY = {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 X86_V3"}
_TINY = ("only=format",)
_REDUCED = {"ONEDNN_DEFAULT_FPMATH_MODE": "ANY"}

CELLS = (
    Cell("threads", "1 thread", ("threads=1",), quick=True),
    Cell("threads", "2 threads", ("threads=2",), quick=True),
    Cell("threads", "4 threads", ("threads=4",)),
    Cell("libraries", "oneDNN off", ("threads=2", "onednn=off"), quick=True),
    Cell("libraries", "NNPACK off", ("threads=2", "nnpack=off")),
    Cell("libraries", "oneDNN and NNPACK off", ("threads=2", "onednn=off", "nnpack=off")),
    Cell("libraries", "MKL: compatible kernels", ("threads=1",), {"MKL_CBWR": "COMPATIBLE"},
         expected={"mkl_mode": ("COMPATIBLE",)}),
    Cell("libraries", "MKL: AVX2 kernels", ("threads=1",), {"MKL_CBWR": "AVX2"},
         expected={"mkl_mode": ("AVX2",)}),
    Cell("libraries", "numpy without AVX2", ("threads=1",), _NO_AVX2_IN_NUMPY),
    Cell(
        "ATen's instructions", "default, oneDNN and NNPACK off", ("threads=2", "onednn=off", "nnpack=off"),
        {_ATEN: "default"}, expected={"capability": _NO_AVX}, quick=True,
    ),
    *(
        Cell(
            "ATen's instructions", name, ("threads=1",), {_ATEN: name}, needs=flags, harmless=not flags,
            expected={"capability": called},
        )
        for name, flags, called in (
            ("default", (), _NO_AVX), ("avx2", ("avx2",), ("AVX2",)), ("avx512", _AVX512, ("AVX512",))
        )
    ),
    *(
        Cell(
            "oneDNN's instructions", f"up to {isa}", ("threads=2",), {_ISA: isa},
            expected={"onednn_isa": names}, quick=isa == "SSE41",
        )
        for isa, names in _ONEDNN.items()
    ),
    Cell("layout", "channels last", ("threads=2", "layout=channels_last"), quick=True),
    Cell("layout", "channels last, oneDNN off", ("threads=2", "layout=channels_last", "onednn=off")),
    Cell("batch", "16 images", ("threads=1", "batch=16", *_TINY)),
    Cell("batch", "16 images, channels last", ("threads=1", "batch=16", "layout=channels_last", *_TINY)),
    Cell("batch", "16 images, oneDNN off (NNPACK)", ("threads=1", "batch=16", "onednn=off", *_TINY)),
    Cell("precision", "autocast to bfloat16", ("threads=1", "autocast=bfloat16")),
    Cell("precision", "autocast to float16", ("threads=1", "autocast=float16")),
    Cell("precision", "autocast to bfloat16, oneDNN off", ("threads=2", "autocast=bfloat16", "onednn=off")),
    Cell("precision", "matmul precision medium", ("threads=2", "precision=medium"), needs=_BF16),
    Cell("precision", "oneDNN's mode ANY", ("threads=2",), _REDUCED, needs=_BF16),
    Cell("precision", "fp32_precision bf16", ("threads=2", "fp32=bf16"), needs=_BF16,
         expected={"fp32_switch": (True,)}),
    Cell("precision", "fp32_precision tf32", ("threads=2", "fp32=tf32"), needs=("amx_fp16",),
         expected={"fp32_switch": (True,)}),
    Cell("precision", "all of them at once",
         ("threads=2", "precision=medium", "fp32=bf16", "autocast=bfloat16"),
         _REDUCED, needs=_BF16, quick=True),
    Cell("process", "deterministic algorithms", ("threads=2", "deterministic=on")),
    Cell("process", "denormals flushed", ("threads=2", "denormals=flushed"),
         expected={"denormals_flushed": (True,)}),
    Cell("process", "default type bfloat16", ("threads=1", "dtype=bfloat16"), quick=True),
    Cell("process", "default type float16", ("threads=1", "dtype=float16")),
    Cell("process", "default type float64", ("threads=1", "dtype=float64")),
    Cell("process", "default device meta", ("threads=1", "default=meta")),
    Cell("CUDA", "pixels on the GPU, TF32 off", ("device=cuda", "tf32=off")),
    Cell("CUDA", "pixels on the GPU, TF32 allowed", ("device=cuda", "tf32=on")),
)  # fmt: skip

VERSION_CELLS = tuple(
    cell
    for cell in CELLS
    if cell.group == "CUDA"
    or cell.name
    in (
        "1 thread", "2 threads", "oneDNN off", "default, oneDNN and NNPACK off", "avx512", "up to SSE41",
        "up to AVX2", "up to AVX512_CORE_AMX", "channels last", "16 images, oneDNN off (NNPACK)",
        "all of them at once",
    )
)  # fmt: skip
"""What is run with other releases of torch and numpy."""


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets by their names in /proc/cpuinfo; none where there is no such file. (torch does not
    tell: with ATEN_CPU_CAPABILITY=avx512 it claims AVX512 anywhere.)"""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


@functools.cache
def expected_hashes() -> dict[str, dict[str, dict[str, str]]]:
    return {
        folder.name: json.loads((folder / "hashes.json").read_text())
        for folder in sorted((HERE / "data").iterdir())
        if (folder / "hashes.json").exists()
    }


def run(cell: Cell, environment: Environment | None = None) -> Result:
    """Decode the golden files under a setting, in a new process."""
    environment = environment or Environment()
    missing = [flag for flag in cell.needs if flag not in cpu_flags()]
    lacking = f"the CPU lacks {', '.join(missing)}" if missing else ""
    if lacking and not cell.harmless:
        return Result(environment.name, cell, NOT_HERE, lacking)
    begun = time.monotonic()
    path = os.pathsep.join(map(str, (*environment.path, SOURCE)))
    told = {
        "PYTHONPATH": path,
        "PYTHONWARNINGS": "ignore",
        # Both libraries print what they do, which is how the table knows.
        "ONEDNN_VERBOSE": "1",
        "MKL_VERBOSE": "1",
        # Threads that spin while they wait take 40 times as long on a machine with other work.
        "OMP_WAIT_POLICY": "passive",
    }
    command = [environment.python, str(HERE / "latent_hashes.py"), *cell.arguments]
    try:
        done = subprocess.run(
            command, env=os.environ | told | cell.variables, capture_output=True, text=True, errors="replace",
            timeout=_LIMIT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Result(environment.name, cell, FAILED, f"no end after {_LIMIT_SECONDS} s")
    seconds = time.monotonic() - begun
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Result(environment.name, cell, FAILED, f"exit {done.returncode}: {last}", seconds=seconds)
    *log, last = done.stdout.strip().splitlines()
    report = json.loads(last)
    here = report["here"] | _libraries(log)
    verdict, note, differing = _verdict(cell, here, report, lacking)
    return Result(environment.name, cell, verdict, note, here, differing, seconds)


def _libraries(log: Iterable[str]) -> dict[str, Any]:
    """What oneDNN and MKL printed of themselves: instructions, and the convolutions that oneDNN ran."""
    text = "\n".join(log)
    isa = re.search(r"onednn_verbose,.*info,cpu,isa:(.*)", text)
    mkl = re.search(r"MKL_VERBOSE .* CNR:(\w+)", text)
    return {
        "onednn_isa": isa[1].strip() if isa else None,
        "onednn_kernels": sorted(set(re.findall(r"exec,cpu,convolution,([^,]+)", text))),
        "mkl_mode": mkl[1] if mkl else None,
    }


def _verdict(
    cell: Cell, here: dict[str, Any], report: dict[str, Any], lacking: str
) -> tuple[str, str, tuple[str, ...]]:
    if "refused" in report:
        return REFUSED, report["refused"], ()
    if "hashes" not in report:
        return NOT_HERE, "no GPU that this torch can use", ()
    expected = {folder: expected_hashes()[folder] for folder in report["hashes"]}
    compared = [
        (f"{folder}/{name} at {cut}", report["hashes"][folder][name][cut] == value)
        for folder, files in expected.items()
        for name, cuts in files.items()
        for cut, value in cuts.items()
    ]
    differing = tuple(what for what, same in compared if not same)
    if differing:
        return DISAGREED, f"{len(differing)} of {len(compared)} latents differ", differing
    for what, values in cell.expected.items():
        if here.get(what) not in values:
            lacking = f"in force: {here.get(what)}"
    return (NOT_HERE, f"{lacking}; the latents are the same", ()) if lacking else (AGREED, "", ())
