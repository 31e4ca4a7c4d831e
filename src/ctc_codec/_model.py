"""The frozen model, ready to code images: float networks, integer entropy model, coder's tables."""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib.resources
import os
import threading
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from . import _entropy
from ._config import ModelConfig
from ._context import Refiner
from ._errors import WeightsError
from ._header import Coding
from ._hyperprior import Z_LIMIT, HyperAnalysis
from ._planes import PRIORITY_LIMIT
from ._thumbnail import measure_kernel
from ._transforms import Analysis, Synthesis
from ._wavelet import band_count
from ._weights import Arrays, ExactParts, as_weights_errors, exact_fingerprint, float_state, read_weights

WEIGHTS_NAME = "ctc.safetensors"


_Network = TypeVar("_Network", bound=nn.Module)


def _network(network: _Network, prefix: str, arrays: Arrays) -> _Network:
    network.float()  # torch's default type may be another one
    network.load_state_dict(float_state(arrays, prefix))
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@dataclasses.dataclass(frozen=True)
class FloatNetworks:
    """The networks that never feed the entropy coder."""

    analysis: Analysis
    synthesis: Synthesis
    hyper_analysis: HyperAnalysis
    cdr: Refiner | None


class CodecModel:
    """Everything that encoding and decoding need. Safe to share by threads.

    Attributes: ``config``, ``fingerprint`` (4 bytes) and the exact parts ``hyper_synthesis``, ``tables``,
    ``trit_rows`` (float32 [nodes, 3]), ``z_rows`` (float32 [Cz, 127]), ``z_mode`` (int32 [Cz]),
    ``channel_priority`` (int16 [N]), ``crr`` (the context model, or None) and ``coding``, the way to
    code that is best with these weights.
    """

    def __init__(self, arrays: Arrays, config: ModelConfig, known_answer: str) -> None:
        self.config = config
        self.fingerprint = exact_fingerprint(arrays)
        exact = ExactParts.of(arrays)
        self.tables, self.hyper_synthesis, self.crr = exact.tables, exact.hyper_synthesis, exact.crr
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
        bands = (config.wavelet_channels, band_count(config.wavelet_levels))
        if self.hyper_synthesis.band_level.shape != bands:
            raise ValueError("levels of the wavelet's bands do not fit the model")
        if not all(0 <= blocks <= len(arrays) for blocks in (config.blocks_8, config.blocks_16)):
            raise ValueError("networks do not fit the model")  # before memory is taken for them
        if config.hyper_analysis_channels != len(arrays["hyper_analysis.enter.bias"]):
            raise ValueError("networks do not fit the model")
        cdr: Refiner | None = None
        if self.crr is not None and any(name.startswith("cdr.") for name in arrays):
            cdr = Refiner(config, self.tables, self.crr.tables.features).float()
            cdr.cdr.load_state_dict(float_state(arrays, "cdr."))
            cdr.eval().requires_grad_(False)
        self.coding = Coding(int(arrays["slices"][0]) if self.crr is not None else 0)
        if exact.known_answer() != known_answer:
            raise WeightsError("this machine does not compute the entropy model exactly (known-answer check)")
        _entropy.self_check()
        cpu = FloatNetworks(
            _network(Analysis(config), "analysis.", arrays),
            _network(Synthesis(config), "synthesis.", arrays),
            _network(HyperAnalysis(config), "hyper_analysis.", arrays),
            cdr,
        )
        self._networks = {torch.device("cpu"): cpu}
        self._thumbnail_kernel: tuple[Tensor, Tensor] | None = None
        self._lock = threading.Lock()

    def networks(self, device: torch.device) -> FloatNetworks:
        """The float networks on a device; copied there at the first call."""
        with self._lock:
            if device not in self._networks:
                cpu = self._networks[torch.device("cpu")]
                moved = (
                    copy.deepcopy(network).to(device) if network is not None else None
                    for network in (cpu.analysis, cpu.synthesis, cpu.hyper_analysis, cpu.cdr)
                )
                self._networks[device] = FloatNetworks(*moved)  # type: ignore[arg-type]
            return self._networks[device]

    def thumbnail_kernel(self) -> tuple[Tensor, Tensor]:
        """See :func:`ctc_codec._thumbnail.measure_kernel`; measured at the first call."""
        with self._lock:
            if self._thumbnail_kernel is None:
                self._thumbnail_kernel = measure_kernel(self._networks[torch.device("cpu")].synthesis)
            return self._thumbnail_kernel

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CodecModel:
        """Load a weights file. Raises WeightsError if it is missing, damaged or of another kind."""
        content = read_weights(path)
        with as_weights_errors(path):
            return cls(content.arrays, content.config, content.known_answer)


def default_weights() -> Path:
    """The weights that came with the package, or those of the source tree it runs from."""
    packaged = Path(str(importlib.resources.files(__package__))) / "weights" / WEIGHTS_NAME
    if packaged.exists():
        return packaged
    return Path(__file__).resolve().parents[2] / "weights" / WEIGHTS_NAME


_loading = threading.Lock()


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
    with _loading:  # threads that need it at once wait for the one that loads it
        return _cached(where, modified)


def model_of(weights: str | os.PathLike[str] | CodecModel | None) -> CodecModel:
    """The model of a weights argument: a path, a model, or None for the packaged weights."""
    return weights if isinstance(weights, CodecModel) else load_model(weights)
