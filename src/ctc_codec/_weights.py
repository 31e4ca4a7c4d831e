"""The weights file: one safetensors file of float transforms and the integer entropy model.

Tensors ``analysis.*``, ``synthesis.*``, ``hyper_analysis.*`` and ``cdr.*`` are float16 and may be replaced
without making existing files unreadable. The context models, ``exact.crr.*`` and ``cdr.*``, may be missing.
Tensors ``exact.*`` are what a stream depends on; their SHA-256, shortened to 4 bytes, is the fingerprint in
every file's header. Nothing here needs the entropy coder: training reads and writes weights too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import safe_open

from ._config import ModelConfig
from ._errors import WeightsError
from ._exact import LAYERS, ExactConv, ExactHyperSynthesis
from ._exact_context import LAYERS as CONTEXT_LAYERS
from ._exact_context import ExactRateReduction
from ._header import FINGERPRINT_BYTES
from ._planes import TreeTables
from ._state import StateTables

WEIGHTS_FORMAT = "ctc-weights-3"
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


@contextlib.contextmanager
def as_weights_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever safetensors, numpy, torch and json say to an unusable file as one of our errors, with one
    line."""
    try:
        yield
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such weights file") from None
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path}: cannot be used as weights ({reason_of(error)})") from None


def read_weights(path: str | os.PathLike[str]) -> WeightsFile:
    """Read a weights file. Raises WeightsError if it is missing, damaged or of another kind."""
    with as_weights_errors(path):
        with safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != WEIGHTS_FORMAT:
                raise WeightsError(f"{path}: not a {WEIGHTS_FORMAT} file")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            for name, array in arrays.items():
                if array.dtype.kind not in "fiu":
                    raise ValueError(f"{name} is of type {array.dtype}")
        return WeightsFile(arrays, ModelConfig.from_json(metadata["config"]), metadata["known_answer"])


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


def _exact_conv(arrays: Arrays, name: str, dtype: torch.dtype, groups: int = 1) -> ExactConv:
    weight, bias, shift = (
        torch.from_numpy(arrays[f"{name}.{part}"].astype(np.float64)).to(dtype)
        for part in ("weight", "bias", "shift")
    )
    return ExactConv(weight, bias, shift, groups)


def state_tables(arrays: Arrays, tables: TreeTables) -> StateTables:
    """What the context model looks at. Raises KeyError or ValueError if it is not all there."""
    return StateTables.of(
        tables,
        arrays["exact.crr.inverse_sigma"],
        arrays["exact.crr.log_width"],
        arrays["exact.crr.slopes"],
    )


@dataclass(frozen=True)
class ExactParts:
    """The networks and trees that a stream depends on; crr: None without a context model."""

    tables: TreeTables
    hyper_synthesis: ExactHyperSynthesis
    crr: ExactRateReduction | None

    @classmethod
    def of(cls, arrays: Arrays) -> ExactParts:
        """From the arrays of a weights file. Raises KeyError, ValueError or WeightsError if they are not
        usable."""
        tables = TreeTables.from_inner(
            arrays["exact.trits"],
            arrays["exact.trit_frequencies"],
            arrays["exact.means"],
            arrays["exact.priorities"],
        )
        layers = {layer: _exact_conv(arrays, f"exact.{layer}", torch.float64) for layer in LAYERS}
        hyper_synthesis = ExactHyperSynthesis(layers, arrays["exact.band_level"])
        if "exact.crr.slopes" not in arrays:
            return cls(tables, hyper_synthesis, None)
        layers = {}
        for name in CONTEXT_LAYERS:
            outputs = len(arrays[f"exact.crr.{name}.weight"])
            groups = {"spread": outputs, "own": outputs // 2}.get(name, 1)
            layers[name] = _exact_conv(arrays, f"exact.crr.{name}", torch.float32, groups)
        return cls(tables, hyper_synthesis, ExactRateReduction(layers, state_tables(arrays, tables)))

    def known_answer(self) -> str:
        """What the networks compute for fixed inputs, as hashes; compared at load with the exporting
        machine's."""
        answer = self.hyper_synthesis.known_answer()
        return answer if self.crr is None else f"{answer} {self.crr.known_answer()}"
