"""The frozen model: one safetensors file with float transforms and the integer entropy model.

Tensors ``analysis.*``, ``synthesis.*`` and ``hyper_analysis.*`` are float16 and may be replaced without
making existing files unreadable. Tensors ``exact.*`` are what a stream depends on; their SHA-256,
shortened to 4 bytes, is the fingerprint in every file's header.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import importlib.resources
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from . import _entropy
from ._config import ModelConfig
from ._container import FINGERPRINT_BYTES
from ._errors import WeightsError
from ._exact import LAYERS, ExactConv, ExactHyperSynthesis
from ._hyperprior import Z_LIMIT, HyperAnalysis
from ._planes import PRIORITY_LIMIT, TreeTables
from ._transforms import Analysis, Synthesis

WEIGHTS_NAME = "ctc.safetensors"
WEIGHTS_FORMAT = "ctc-weights-1"
_EXACT = "exact."
Arrays = Mapping[str, np.ndarray]


def exact_fingerprint(arrays: Arrays) -> bytes:
    """First 4 bytes of the SHA-256 over all ``exact.*`` arrays (name, type, shape, little-endian data)."""
    digest = hashlib.sha256()
    for name in sorted(n for n in arrays if n.startswith(_EXACT)):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.digest()[:FINGERPRINT_BYTES]


def _network(network: nn.Module, prefix: str, arrays: Arrays) -> nn.Module:
    state = {
        name.removeprefix(prefix): torch.from_numpy(array.astype(np.float32))
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    network.load_state_dict(state)
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@dataclasses.dataclass(frozen=True)
class FloatNetworks:
    """The networks that never feed the entropy coder."""

    analysis: nn.Module
    synthesis: nn.Module
    hyper_analysis: nn.Module


class CodecModel:
    """Everything that encoding and decoding need. Safe to share by threads.

    Attributes: ``config``, ``fingerprint`` (4 bytes) and the exact parts ``hyper_synthesis``, ``tables``,
    ``trit_rows`` (float32 [nodes, 3]), ``z_rows`` (float32 [Cz, 127]), ``z_mode`` (int32 [Cz]),
    ``channel_priority`` (int16 [N]).
    """

    def __init__(self, arrays: Arrays, config: ModelConfig, known_answer: str) -> None:
        self.config = config
        self.fingerprint = exact_fingerprint(arrays)
        self.tables = TreeTables.from_inner(
            arrays["exact.trits"],
            arrays["exact.trit_frequencies"],
            arrays["exact.means"],
            arrays["exact.priorities"],
        )
        self.trit_rows = _entropy.rows_of(self.tables.frequencies)
        z_frequencies = arrays["exact.z_frequencies"]
        if z_frequencies.shape != (config.hyper_channels, 2 * Z_LIMIT + 1):
            raise ValueError("prior does not fit the model")
        if z_frequencies.min() < 1 or (z_frequencies.astype(np.int64).sum(axis=1) != 1 << 16).any():
            raise ValueError("prior frequencies do not add up")
        self.z_rows = _entropy.rows_of(z_frequencies)
        self.z_mode = (z_frequencies.argmax(axis=1) - Z_LIMIT).astype(np.int32)
        self.channel_priority = arrays["exact.channel_priority"].astype(np.int16)
        if self.channel_priority.shape != (config.latent_channels,):
            raise ValueError("channel priorities do not fit the model")
        if np.abs(self.channel_priority.astype(np.int32)).max() > PRIORITY_LIMIT:
            raise ValueError("channel priority out of range")
        self.hyper_synthesis = ExactHyperSynthesis(
            {
                layer: ExactConv(
                    *(
                        torch.from_numpy(arrays[f"exact.{layer}.{part}"].astype(np.float64))
                        for part in ("weight", "bias", "shift")
                    )
                )
                for layer in LAYERS
            }
        )
        if self.hyper_synthesis.known_answer() != known_answer:
            raise WeightsError("this machine does not compute the entropy model exactly (known-answer check)")
        _entropy.self_check()
        cpu = FloatNetworks(
            _network(Analysis(config), "analysis.", arrays),
            _network(Synthesis(config), "synthesis.", arrays),
            _network(HyperAnalysis(config), "hyper_analysis.", arrays),
        )
        self._networks = {torch.device("cpu"): cpu}
        self._lock = threading.Lock()

    def networks(self, device: torch.device) -> FloatNetworks:
        """The float networks on a device; copied there at the first call."""
        with self._lock:
            if device not in self._networks:
                cpu = self._networks[torch.device("cpu")]
                moved = (
                    copy.deepcopy(network).to(device)
                    for network in (cpu.analysis, cpu.synthesis, cpu.hyper_analysis)
                )
                self._networks[device] = FloatNetworks(*moved)
            return self._networks[device]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CodecModel:
        """Load a weights file. Raises WeightsError if it is missing, damaged or of another kind."""
        try:
            with safe_open(os.fspath(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != WEIGHTS_FORMAT:
                    raise WeightsError(f"{path}: not a {WEIGHTS_FORMAT} file")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return cls(arrays, ModelConfig.from_json(metadata["config"]), metadata["known_answer"])
        except FileNotFoundError:
            raise WeightsError(f"{path}: no such weights file") from None
        except (OSError, SafetensorError, ValueError, KeyError, RuntimeError, TypeError, IndexError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WeightsError(f"{path}: cannot be used as weights ({reason})") from None


def default_weights() -> Path:
    """The weights that came with the package, or those of the source tree it runs from."""
    packaged = Path(str(importlib.resources.files(__package__))) / "weights" / WEIGHTS_NAME
    if packaged.exists():
        return packaged
    return Path(__file__).resolve().parents[2] / "weights" / WEIGHTS_NAME


@functools.lru_cache(maxsize=2)
def _cached(path: str, modified: int) -> CodecModel:
    return CodecModel.load(path)


def load_model(path: str | os.PathLike[str] | None = None) -> CodecModel:
    """The model of a weights file (default: the packaged one), loaded once per process."""
    where = os.fspath(path if path is not None else default_weights())
    try:
        modified = os.stat(where).st_mtime_ns
    except OSError:
        raise WeightsError(f"{where}: no such weights file") from None
    return _cached(where, modified)
