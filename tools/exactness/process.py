"""Decodes the golden files and prints their latents' hashes as JSON, under the settings of its process.

The last line of output has ``hashes``, in the form of data/format/hashes.json, or ``refused``, why the
package does not decode here; and ``here``: versions, and what of the settings is really in force. Arguments:

    threads=N  optimisation=disabled|basic|extended|all  execution=parallel  intra=N  inter=N (of a network)
    arena=off  pattern=on  config=KEY:VALUE (of onnxruntime's sessions)  denormals=flushed
    window=N (positions that a network sees at a time)  piece=N (bytes that a decoder gets at a time)
    where=pool|fork (in many threads at once; in the child of a process that has decoded)
"""

from __future__ import annotations

import ctypes
import functools
import json
import mmap
import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ctc_codec import CodecModel, DamageError, Decoder, WeightsError, load_model
from ctc_codec.crr.inputs import INPUTS
from ctc_codec.crr.runtime import Session

DATA = Path(__file__).parents[2] / "tests" / "data" / "format"
_LEVELS = {
    "disabled": "DISABLE_ALL",
    **{name: f"ENABLE_{name.upper()}" for name in ("basic", "extended", "all")},
}
Hashes = dict[str, dict[str, str]]


_settings: dict[str, str] = {}


def _hash(data: bytes, model: CodecModel) -> str:
    decoder, piece = Decoder(weights=model), int(_settings.get("piece", len(data)))
    try:
        for at in range(0, len(data), piece):
            decoder.feed(data[at : at + piece])
            if decoder.header is not None:
                decoder.latent()
        decoder.finish()
        return decoder.latent().sha256()
    except DamageError as error:
        return f"DamageError: {error}"  # wrong probabilities lead to no symbol: as bad as a wrong hash


def hashes(model: CodecModel) -> Hashes:
    """Hashes of every golden file at every cut."""
    expected: Hashes = json.loads((DATA / "hashes.json").read_text())
    found: Hashes = {}
    for name, cuts in expected.items():
        data = (DATA / f"{name}.ctc").read_bytes()
        found[name] = {cut: _hash(data[: int(cut)], model) for cut in cuts}
    return found


def _in_pool(model: CodecModel) -> Hashes:
    """The hashes of four threads at once; differences from the first are told as such."""
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(lambda _: hashes(model), range(4))
    for other in others:
        for name, cuts in other.items():
            for cut, value in cuts.items():
                if value != first[name][cut]:
                    first[name][cut] = "not the same in every thread"
    return first


def _in_child(model: CodecModel) -> Hashes:
    _hash((DATA / "odd.ctc").read_bytes(), model)
    reader, writer = os.pipe()
    if os.fork() == 0:
        with os.fdopen(writer, "w") as out:
            json.dump(hashes(model), out)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        found: Hashes = json.load(told)
    os.wait()
    return found


_WAYS: dict[str, Callable[[CodecModel], Hashes]] = {"pool": _in_pool, "fork": _in_child}


def _session_options() -> None:
    """Let every session of onnxruntime have other options than the package asks for."""
    make, settings = onnxruntime.InferenceSession, _settings

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
        return make(graph, options, **kwargs)

    onnxruntime.InferenceSession = made


def _flush_denormals() -> None:
    """As code that was compiled with -ffast-math does to the whole process: x86 alone."""
    # stmxcsr [rsp-4]; or dword [rsp-4], 0x8040; ldmxcsr [rsp-4]; ret
    code = bytes.fromhex("0fae5c24fc 814c24fc40800000 0fae5424fc c3")
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    _flush_denormals.page = page  # type: ignore[attr-defined]


def _saturates() -> bool | None:
    """Whether a network with weights of 8 bits would be wrong here: on some kernels sums of products saturate
    in 16 bits. None if this onnxruntime does not take the graph."""
    model = load_model(threads=1)
    tensors = dict(model.context.networks[0].session.tensors)
    seen = np.full((1, INPUTS, 4, 4), 255, np.uint8)

    def result(weight: int, shift: int) -> Any:
        changed = dict(tensors)
        for name, tensor in tensors.items():
            if name.endswith("enter.weight"):
                changed[name] = np.full_like(tensor, weight)
            elif name.endswith("enter.scale"):
                changed[name] = np.full_like(tensor, 2.0**-shift)
            elif name.endswith("enter.bias"):
                changed[name] = np.zeros_like(tensor)
        return Session(model.context.networks[0].session.graph, changed, 1).run(seen)

    # 126 / 2^19 and 63 / 2^18 are the same weights.
    return bool((result(126, 15) != result(63, 14)).any())


@functools.cache
def _numpy_features() -> list[str]:
    """Instruction sets beyond its baseline that numpy chooses kernels from."""
    core = sys.modules.get("numpy._core._multiarray_umath") or sys.modules["numpy.core._multiarray_umath"]
    return [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]


def main(arguments: list[str]) -> None:
    """Apply the settings, decode, and print the report."""
    for argument in arguments:
        name, _, value = argument.partition("=")
        _settings[name] = value
    if _settings.get("denormals") == "flushed" and platform.machine() in ("x86_64", "AMD64"):
        _flush_denormals()
    _session_options()
    report: dict[str, Any] = {
        "here": {
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
            "machine": platform.machine(),
            "numpy_features": _numpy_features(),
            "denormals_flushed": float(np.float32(1e-40) * np.float32(1)) == 0,
        }
    }
    try:
        model = load_model(threads=int(_settings.get("threads", 1)))
        model.context.most = int(_settings.get("window", model.context.most))
        report["here"]["saturates"] = _saturates()
        report["hashes"] = _WAYS.get(_settings.get("where", ""), hashes)(model)
    except WeightsError as error:
        report["refused"] = str(error)
    print("\n" + json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
