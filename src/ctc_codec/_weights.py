"""The weights file: one safetensors file of float transforms and the integer entropy model.

Tensors ``analysis.*``, ``synthesis.*`` and ``hyper_analysis.*`` are float16 and may be replaced without
making existing files unreadable. Tensors ``exact.*`` are what a stream depends on; their SHA-256,
shortened to 4 bytes, is the fingerprint in every file's header. Nothing here needs the entropy coder:
training reads and writes weights too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from ._config import ModelConfig
from ._container import FINGERPRINT_BYTES
from ._errors import WeightsError
from ._exact import LAYERS, ExactConv, ExactHyperSynthesis

WEIGHTS_FORMAT = "ctc-weights-2"
_EXACT = "exact."
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class WeightsFile:
    """What a weights file holds: arrays by name, the sizes, and what the entropy model must compute."""

    arrays: Arrays
    config: ModelConfig
    known_answer: str


def reason_of(error: Exception) -> str:
    """An error in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def read_weights(path: str | os.PathLike[str]) -> WeightsFile:
    """Read a weights file. Raises WeightsError if it is missing, damaged or of another kind."""
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != WEIGHTS_FORMAT:
                raise WeightsError(f"{path}: not a {WEIGHTS_FORMAT} file")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return WeightsFile(arrays, ModelConfig.from_json(metadata["config"]), metadata["known_answer"])
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such weights file") from None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: cannot be used as weights ({reason_of(error)})") from None


def exact_fingerprint(arrays: Arrays) -> bytes:
    """First 4 bytes of the SHA-256 over all ``exact.*`` arrays (name, type, shape, little-endian data)."""
    digest = hashlib.sha256()
    for name in sorted(n for n in arrays if n.startswith(_EXACT)):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.digest()[:FINGERPRINT_BYTES]


def float_state(arrays: Arrays, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with ``prefix``, without it, as float32."""
    return {
        name.removeprefix(prefix): torch.from_numpy(array.astype(np.float32))
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def exact_hyper_synthesis(arrays: Arrays) -> ExactHyperSynthesis:
    """The integer hyper-synthesis. Raises KeyError or ValueError if it is not all there."""
    return ExactHyperSynthesis(
        {
            layer: ExactConv(
                *(
                    torch.from_numpy(arrays[f"exact.{layer}.{part}"].astype(np.float64))
                    for part in ("weight", "bias", "shift")
                )
            )
            for layer in LAYERS
        },
        arrays["exact.band_level"],
    )
