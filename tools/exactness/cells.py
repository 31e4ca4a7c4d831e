"""Settings under which the golden files must decode to the same latents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

EQUAL, REFUSED, NOT_HERE, DIFFERENT, FAILED = "equal", "refused", "not here", "different", "failed"
VERDICTS = (EQUAL, REFUSED, NOT_HERE, DIFFERENT, FAILED)


@dataclass(frozen=True)
class Cell:
    """One setting.

    group, name: for the table.
    arguments: of process.py.
    variables: of its environment.
    cpu: processor that qemu emulates.
    facts: what process.py must find in force, or the setting is not there.
    allowed: verdicts that are no defect.
    quick: the tests run it.
    """

    group: str
    name: str
    arguments: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    cpu: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    allowed: tuple[str, ...] = (EQUAL, REFUSED, NOT_HERE)
    quick: bool = False


def _blas(name: str) -> Cell:
    variables = {"OPENBLAS_CORETYPE": name, "OPENBLAS_NUM_THREADS": "1"}
    return Cell("BLAS", name, variables=variables, facts={"blas": f"{name} 1"})


def _numpy(without: str, features: str) -> Cell:
    return Cell("numpy", f"without {without}", variables={"NPY_DISABLE_CPU_FEATURES": features})


def _rounded(how: str, arguments: tuple[str, ...], fact: str) -> Cell:
    """Where floats are rounded otherwise, the networks must be refused."""
    allowed = (REFUSED, NOT_HERE)
    return Cell("floats", f"rounded {how}", arguments, facts={fact: True}, allowed=allowed)


_THREADS = (
    Cell("threads", "1", ("threads=1",)),
    Cell("threads", "2", ("threads=2",), quick=True),
    Cell("threads", "5", ("threads=5",)),
    Cell("threads", "4 in each network", ("intra=4",)),
)
_OPTIMISATION = tuple(
    Cell("optimisation", level, (f"optimisation={level}",), quick=level == "disabled")
    for level in ("disabled", "basic", "extended", "all")
)
_EXECUTION = (
    Cell("execution", "parallel", ("execution=parallel", "inter=2"), quick=True),
    Cell(
        "execution",
        "parallel, not optimised",
        ("execution=parallel", "inter=3", "intra=2", "optimisation=disabled"),
    ),
    Cell("execution", "64 positions at a time", ("window=64", "threads=2")),
    Cell("execution", "7 bytes at a time", ("piece=7",)),
    Cell("execution", "without asserts", variables={"PYTHONOPTIMIZE": "2"}),
)
_MEMORY = (
    Cell("memory", "no arena", ("arena=off",)),
    Cell("memory", "patterns", ("pattern=on",)),
    Cell("memory", "weights not packed", ("config=session.disable_prepacking:1",)),
)
_KERNELS = (
    Cell("kernels", "those for precision", ("config=session.x64quantprecision:1",)),
    Cell("kernels", "glibc without AVX", variables={
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-ERMS,-AVX512F,-AVX512VL,-AVX512BW"
    }),
)  # fmt: skip
_PROCESS = (
    Cell("process", "many threads at once", ("where=pool", "threads=2"), quick=True),
    Cell("process", "after a fork", ("where=fork", "threads=2"), quick=True),
    Cell("process", "spawned", ("where=spawn",)),
)
_FLOATS = (
    Cell("floats", "denormals flushed", ("denormals=flushed",), facts={"denormals_flushed": True}),
    Cell("floats", "denormals flushed in networks", ("config=session.set_denormal_as_zero:1",)),
    _rounded("to zero", ("rounding=zero",), "rounded_down"),
    _rounded("down", ("rounding=down",), "rounded_down"),
    _rounded("up", ("rounding=up",), "rounded_up"),
    _rounded("up once the weights are loaded", ("rounding=up", "when=later"), "rounded_up"),
)
_NUMPY = (
    _numpy("AVX-512", "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"),
    _numpy("AVX2", "AVX2 FMA3 X86_V3"),
)
_BLAS = (
    *map(_blas, ("Prescott", "Nehalem", "Sandybridge", "Haswell", "SkylakeX")),
    Cell("BLAS", "2 threads", variables={"OPENBLAS_NUM_THREADS": "2"}),
)
# Emulated ones decode two prefixes of each file: a second there is a tenth of one here.
_PROCESSORS = (
    Cell("processor", "SSE4.2", ("cuts=brief",), cpu="Nehalem", facts={"saturates": False}),
    Cell("processor", "AVX2", ("cuts=brief",), cpu="Haswell", facts={"saturates": True}),
)
_MORE_PROCESSORS = (
    # Of kernels for AVX-512 and for AVX2, only those with VNNI do not saturate.
    Cell("processor", "AVX-512 with VNNI, not emulated", facts={"vnni": True, "saturates": False}),
    Cell("processor", "AVX", ("cuts=brief",), cpu="SandyBridge"),
    Cell("processor", "SSE4.2, all cuts", cpu="Nehalem", facts={"saturates": False}),
    Cell("processor", "AVX2, all cuts", cpu="Haswell", facts={"saturates": True}),
    Cell("processor", "AVX2, not optimised", ("optimisation=disabled", "cuts=brief"), cpu="Haswell"),
    Cell("processor", "AVX2, 2 threads", ("threads=2", "intra=2", "cuts=brief"), cpu="Haswell"),
)
_CONTROLS = (
    Cell("control", "a result off by one", ("wrong=yes", "encode=no"), allowed=(REFUSED,)),
    Cell("control", "the same after loading", ("wrong=yes", "when=later", "encode=no"), allowed=(DIFFERENT,)),
)

CELLS = (
    *_THREADS, *_OPTIMISATION, *_EXECUTION, *_MEMORY, *_KERNELS, *_PROCESS, *_FLOATS, *_NUMPY, *_BLAS,
    *_MORE_PROCESSORS, *_CONTROLS,
)  # fmt: skip
"""Cells for what is installed."""

RUNTIME_CELLS = (_THREADS[0], _THREADS[3], _OPTIMISATION[0], *_PROCESSORS)
"""Cells for other releases of onnxruntime."""

NUMPY_CELLS = (_THREADS[0], *_NUMPY, _BLAS[0], _BLAS[3])
"""Cells for other releases of numpy, which bring an OpenBLAS each."""

PYTHON_CELLS = (_THREADS[1], _OPTIMISATION[0], *_PROCESS)
"""Cells for other releases of Python."""

ARM_CELLS = (
    Cell("processor", "ARMv8.0", ("cuts=brief",), cpu="cortex-a57"),
    Cell("processor", "ARMv8.2 with dot products", ("cuts=brief",), cpu="neoverse-n1"),
    Cell("processor", "ARMv8.6 with SVE", ("cuts=brief",), cpu="max"),
    Cell("processor", "not optimised", ("cuts=brief", "optimisation=disabled"), cpu="neoverse-n1"),
)
"""Cells for 64-bit ARM."""
