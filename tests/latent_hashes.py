"""Decodes the golden files and prints their latents' hashes as JSON, under the settings of its process.

The last line of output has ``hashes``, in the form of the golden folders' hashes.json, or ``refused``, why
the package does not decode here; and ``here``: versions, and what of the settings is really in force.
Arguments:

    threads=N  onednn=off  nnpack=off  autocast=bfloat16|float16  precision=medium  deterministic=on
    denormals=flushed  dtype=float64|float16|bfloat16 (the default type)  fp32=bf16|tf32 (newer switches)
    layout=channels_last  batch=16 (of the exact networks' convolutions)  device=cuda  tf32=on|off
    default=meta|cuda (the default device)  only=format (the golden files with tiny weights)

Instruction sets are chosen by environment variables (ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA,
NPY_DISABLE_CPU_FEATURES, ...) before the start.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctc_codec import CodecModel, DamageError, Decoder, WeightsError, decode_latent, load_model
from ctc_codec._exact import ExactConv

DATA = Path(__file__).parent / "data"
FOLDERS = ("format", "release")


def hashes(folder: Path, digest: Callable[[bytes, CodecModel], str]) -> dict[str, dict[str, str]]:
    """Hashes of the golden files of a folder, in the form of its hashes.json."""
    tiny = folder / "tiny.safetensors"
    model = load_model(tiny if tiny.exists() else None)
    found: dict[str, dict[str, str]] = {}
    for name, cuts in json.loads((folder / "hashes.json").read_text()).items():
        data = (folder / f"{name}.ctc").read_bytes()
        found[name] = {cut: digest(data[: int(cut)], model) for cut in cuts}
    return found


def _of_latent(data: bytes, model: CodecModel) -> str:
    try:
        return decode_latent(data, weights=model)[1].sha256()
    except DamageError as error:
        return f"DamageError: {error}"  # wrong probabilities lead to no symbol: as bad as a wrong hash


def _beside_cuda(data: bytes, model: CodecModel) -> str:
    """The latent of a decoder that also makes pixels, on the GPU."""
    decoder = Decoder(weights=model, device="cuda")
    decoder.feed(data)
    decoder.image()
    return decoder.latent().sha256()


class _Convolutions:
    """Takes the place of the exact networks' convolution: another memory layout, or a batch of equal images,
    whose results must all be the same. calls: how often it was used."""

    def __init__(self, batch: int, channels_last: bool) -> None:
        self._batch = batch
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._original = ExactConv.accumulate
        self.calls = 0

    def accumulate(self, conv: ExactConv, a: torch.Tensor, inputs: slice = slice(None)) -> torch.Tensor:
        self.calls += 1
        conv = dataclasses.replace(conv, weight=conv.weight.contiguous(memory_format=self._layout))
        many = a.repeat(self._batch, 1, 1, 1).contiguous(memory_format=self._layout)
        out = self._original(conv, many, inputs)
        if not torch.equal(out, out[:1].expand_as(out)):
            # Not an exception, which the package might take for another: the hash will tell.
            return out.mean(0, keepdim=True)
        return out[:1].contiguous()


def _replaced_convolutions(batch: int, channels_last: bool) -> _Convolutions:
    convolutions = _Convolutions(batch, channels_last)

    def accumulate(self: ExactConv, a: torch.Tensor, inputs: slice = slice(None)) -> torch.Tensor:
        return convolutions.accumulate(self, a, inputs)

    ExactConv.accumulate = accumulate  # type: ignore[method-assign]
    return convolutions


def _denormals_are_flushed() -> bool:
    return float(torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1) == 0


def _apply(settings: dict[str, str]) -> contextlib.AbstractContextManager[Any]:
    """Change the process as told. What is returned is a context for the decoding itself."""
    if "threads" in settings:
        torch.set_num_threads(int(settings["threads"]))
    torch.backends.mkldnn.enabled = settings.get("onednn") != "off"
    torch.backends.nnpack.set_flags(settings.get("nnpack") != "off")
    torch.set_float32_matmul_precision(settings.get("precision", "highest"))
    torch.use_deterministic_algorithms(settings.get("deterministic") == "on")
    torch.set_flush_denormal(settings.get("denormals") == "flushed")
    if "default" in settings:
        torch.set_default_device(settings["default"])
    if "dtype" in settings:
        torch.set_default_dtype(getattr(torch, settings["dtype"]))
    if "fp32" in settings and hasattr(torch.backends, "fp32_precision"):
        torch.backends.fp32_precision = settings["fp32"]
        torch.backends.mkldnn.conv.fp32_precision = settings["fp32"]
        torch.backends.mkldnn.matmul.fp32_precision = settings["fp32"]
    if "tf32" in settings:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = settings["tf32"] == "on"
    if "autocast" in settings:
        return torch.autocast("cpu", dtype=getattr(torch, settings["autocast"]))
    return contextlib.nullcontext()


def _in_force(settings: dict[str, str]) -> dict[str, Any]:
    """Versions, and what this machine and this torch really do."""
    out: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "onednn": torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled),
        "mkl": torch.backends.mkl.is_available(),
        "nnpack": torch.backends.nnpack.is_available(),
        "denormals_flushed": _denormals_are_flushed(),
        "fp32_switch": hasattr(torch.backends, "fp32_precision"),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "numpy_features": _numpy_features(),
        "replaced_convolutions": 0,
    }
    return out


def _numpy_features() -> list[str]:
    """Instruction sets beyond its baseline that numpy chooses kernels from."""
    core = sys.modules.get("numpy._core._multiarray_umath") or sys.modules["numpy.core._multiarray_umath"]
    return [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]


def main(arguments: list[str]) -> None:
    settings = dict(argument.split("=") for argument in arguments)
    context = _apply(settings)
    report: dict[str, Any] = {"here": _in_force(settings)}
    digest = _of_latent
    if settings.get("device") == "cuda":
        if not torch.cuda.is_available():
            print(json.dumps(report))
            return
        digest = _beside_cuda
    folders = (settings["only"],) if "only" in settings else FOLDERS
    replaced = None
    if "batch" in settings or "layout" in settings:
        replaced = _replaced_convolutions(int(settings.get("batch", 1)), "layout" in settings)
    try:
        with context:
            report["hashes"] = {folder: hashes(DATA / folder, digest) for folder in folders}
    except WeightsError as error:
        report["refused"] = str(error)
    if replaced is not None:
        report["here"]["replaced_convolutions"] = replaced.calls
    print("\n" + json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
