"""Decodes the golden files and prints their latents' hashes as JSON, under the settings of its process.

The last line of output has ``hashes``, in the form of the golden folder's hashes.json by the folder's name,
or ``refused``, why the package does not decode here; and ``here``: versions, and what of the settings is
really in force. Arguments:

    threads=N (of a look)  window=N (side of what a network sees at a time)  graph=plain (onnxruntime changes
    nothing in a network before it runs)  piece=N (bytes that a decoder gets at a time)

numpy's instruction sets are chosen by an environment variable (NPY_DISABLE_CPU_FEATURES) before the start.
"""

from __future__ import annotations

import functools
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import ctc_codec.decoder
from ctc_codec import CodecModel, DamageError, Decoder, WeightsError, load_model
from ctc_codec.crr.network import WINDOW
from ctc_codec.stream import Walk

FOLDER = Path(__file__).parent / "data" / "format"


def latent_sha256(data: bytes, model: CodecModel, piece: int) -> str:
    """Hash of the latent of a file, or a prefix of one, that comes in pieces of so many bytes."""
    decoder = Decoder(weights=model)
    try:
        for at in range(0, len(data), piece):
            decoder.feed(data[at : at + piece])
            if decoder.header is not None:
                decoder.latent()
        decoder.finish()
        return decoder.latent().sha256()
    except DamageError as error:
        return f"DamageError: {error}"  # wrong probabilities lead to no symbol: as bad as a wrong hash


def hashes(model: CodecModel, piece: int) -> dict[str, dict[str, str]]:
    """Hashes of the golden files, in the form of hashes.json."""
    found: dict[str, dict[str, str]] = {}
    for name, cuts in json.loads((FOLDER / "hashes.json").read_text()).items():
        data = (FOLDER / f"{name}.ctc").read_bytes()
        found[name] = {cut: latent_sha256(data[: int(cut)], model, piece) for cut in cuts}
    return found


def _plain_graphs() -> None:
    """Sessions from now on run their graphs as they are."""
    original = onnxruntime.SessionOptions

    def options() -> Any:
        made = original()
        made.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return made

    onnxruntime.SessionOptions = options


def _numpy_features() -> list[str]:
    """Instruction sets beyond its baseline that numpy chooses kernels from."""
    core = sys.modules.get("numpy._core._multiarray_umath") or sys.modules["numpy.core._multiarray_umath"]
    return [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]


def main(arguments: list[str]) -> None:
    settings = dict(argument.split("=") for argument in arguments)
    if settings.get("graph") == "plain":
        _plain_graphs()
    window = int(settings.get("window", WINDOW))
    ctc_codec.decoder.Walk = functools.partial(Walk, window=window)  # type: ignore[misc, assignment]
    report: dict[str, Any] = {
        "here": {
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
            "machine": platform.machine(),
            "threads": settings.get("threads", "all"),
            "window": window,
            "graph": settings.get("graph", "optimised"),
            "numpy_features": _numpy_features(),
        }
    }
    try:
        model = load_model(threads=int(settings.get("threads", 0)))
        report["hashes"] = {FOLDER.name: hashes(model, int(settings.get("piece", sys.maxsize)))}
    except WeightsError as error:
        report["refused"] = str(error)
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
