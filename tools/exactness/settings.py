"""Settings of a process: what onnxruntime and the processor are told, and what is in force."""

from __future__ import annotations

import ctypes
import functools
import importlib
import mmap
import platform
import sys
from typing import Any

import numpy as np
import onnxruntime

from ctc_codec import load_model
from ctc_codec.crr.inputs import INPUTS
from ctc_codec.crr.runtime import Session
from reliability.record import machine

Settings = dict[str, str]

_LEVELS = {
    "disabled": "DISABLE_ALL",
    **{name: f"ENABLE_{name.upper()}" for name in ("basic", "extended", "all")},
}
_FLUSH, _ROUNDING = 0x8040, {"down": 0x2000, "up": 0x4000, "zero": 0x6000}
"""Bits of MXCSR: denormal results and operands are zero; where float32 is rounded to."""


class Wrong:
    """A session of onnxruntime whose results are off by one in one place, like those of a wrong kernel."""

    active = False

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, *arguments: Any) -> Any:
        """The session's outputs, the first of them changed."""
        first, *others = self._session.run(*arguments)
        if Wrong.active:
            first = first.copy()
            first[..., first.shape[-2] // 2, first.shape[-1] // 2].flat[0] += 1
        return [first, *others]


def apply(settings: Settings) -> None:
    """Let this process and every later session of onnxruntime be as told, see process.py."""
    if settings.get("when") != "later":
        disturb(settings)
    make = onnxruntime.InferenceSession

    def made(graph: bytes, options: Any, **kwargs: Any) -> Any:
        if "optimisation" in settings:
            name = f"ORT_{_LEVELS[settings['optimisation']]}"
            options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, name)
        if settings.get("execution") == "parallel":
            options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
            options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.intra_op_num_threads = int(settings.get("intra", options.intra_op_num_threads))
        options.inter_op_num_threads = int(settings.get("inter", options.inter_op_num_threads))
        options.enable_cpu_mem_arena = settings.get("arena") != "off"
        options.enable_mem_pattern = settings.get("pattern") == "on"
        if "config" in settings:
            options.add_session_config_entry(*settings["config"].split(":"))
        session = make(graph, options, **kwargs)
        return Wrong(session) if "wrong" in settings else session

    onnxruntime.InferenceSession = made


def disturb(settings: Settings) -> None:
    """Let this thread round and flush denormals, and networks be wrong, as told.

    Again when weights are loaded: onnxruntime sets a thread's denormals with every session that it makes.
    """
    if platform.machine() in ("x86_64", "AMD64"):
        flush = _FLUSH * (settings.get("denormals") == "flushed")
        _set_mxcsr(flush | _ROUNDING.get(settings.get("rounding", ""), 0))
    Wrong.active = "wrong" in settings


def _set_mxcsr(bits: int) -> None:
    """Set bits of the register that tells SSE and AVX how to round, for this thread and those it starts."""
    # stmxcsr [rsp-4]; or dword [rsp-4], bits; ldmxcsr [rsp-4]; ret
    code = bytes.fromhex("0fae5c24fc 814c24fc") + bits.to_bytes(4, "little") + bytes.fromhex("0fae5424fc c3")
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def facts() -> dict[str, Any]:
    """Versions, and what of the settings is really in force."""
    features = _numpy_core()
    return {
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "numpy_features": [name for name in features.__cpu_dispatch__ if features.__cpu_features__.get(name)],
        "denormals_flushed": float(np.float32(1e-40) * np.float32(1)) == 0,
        "rounded_up": float(np.float32(1) + np.float32(0.25 * 2**-23)) > 1,
        "rounded_down": float(np.float32(1) + np.float32(0.75 * 2**-23)) == 1,
        "blas": blas(),
        "vnni": "avx512_vnni" in machine(),  # of the real processor, also where another is emulated
    }


def blas() -> str:
    """The kernels and threads of numpy's OpenBLAS, as KERNELS THREADS; empty if nothing tells."""
    try:
        told = importlib.import_module("threadpoolctl").threadpool_info()
    except ImportError:
        return ""
    found = [each for each in told if each.get("internal_api") == "openblas"]
    if not found:
        return ""
    kernels = found[0]["architecture"].replace("Katmai", "Prescott")  # one set under two names
    return f"{kernels} {found[0]['num_threads']}"


def saturates() -> bool:
    """Whether a network with weights of 8 bits would be wrong here: on some kernels sums of products saturate
    in 16 bits."""
    network = load_model(threads=1).context.networks[0].session
    seen = np.full((1, INPUTS, 4, 4), 255, np.uint8)

    def result(weight: int, shift: int) -> Any:
        changed = dict(network.tensors)
        for name, tensor in network.tensors.items():
            if name.endswith("enter.weight"):
                changed[name] = np.full_like(tensor, weight)
            elif name.endswith("enter.scale"):
                changed[name] = np.full_like(tensor, 2.0**-shift)
            elif name.endswith("enter.bias"):
                changed[name] = np.zeros_like(tensor)
        return Session(network.graph, changed, 1).run(seen)

    # 126 / 2^19 and 63 / 2^18 are the same weights.
    return bool((result(126, 15) != result(63, 14)).any())


@functools.cache
def _numpy_core() -> Any:
    return sys.modules.get("numpy._core._multiarray_umath") or sys.modules["numpy.core._multiarray_umath"]
