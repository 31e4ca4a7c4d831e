"""The frozen model: one safetensors file with the integer networks, the tables, and the synthesis network.

Tensors ``exact.*`` are what a stream depends on; their SHA-256, shortened to 4 bytes, is the fingerprint in
every file's header. The others, conditional means and ``synthesis.*``, may be replaced without making files
unreadable.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..container import coder
from ..container.header import FINGERPRINT_BYTES, MAX_PLANES
from ..crr.context import ContextModels
from ..crr.density import MAGNITUDES, Densities
from ..crr.inputs import CHANNELS, InputTables
from ..crr.network import Network
from ..errors import WeightsError, check_counts
from ..image.lock import Lock
from ..synthesis.network import SynthesisNetwork
from ..transform.lifting import LEVELS
from .processes import cores

WEIGHTS_NAME = "ctc.safetensors"
WEIGHTS_FORMAT = "ctc-weights-4"
MAX_WEIGHTS_BYTES = 1 << 28
_EXACT = "exact."

Arrays = Mapping[str, npt.NDArray[Any]]


def exact_fingerprint(arrays: Arrays) -> bytes:
    """First 4 bytes of the SHA-256 over all ``exact.*`` arrays (name, type, shape, little-endian data)."""
    digest = hashlib.sha256()
    for name in sorted(n for n in arrays if n.startswith(_EXACT)):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.digest()[:FINGERPRINT_BYTES]


def part(arrays: Arrays, prefix: str) -> dict[str, npt.NDArray[Any]]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


class CodecModel:
    """Everything that encoding and decoding need. Safe to share by threads.

    fingerprint: 4 bytes, of all that a stream depends on.
    densities: see :class:`ctc_codec.crr.density.Densities`.
    context: the networks of CRR.
    known_answer: hash of what they compute.
    synthesis: the synthesis network, or None.
    """

    def __init__(self, arrays: Arrays, known_answer: str | None, threads: int = 0) -> None:
        """Check and take the tensors of a weights file.

        known_answer: hash of what the networks must compute, or None to take them on trust (while freezing).
        threads: of the networks, 0 for one per core.

        Raises WeightsError, KeyError or ValueError.
        """
        self._origin: tuple[str, int | None] | None = None
        self.fingerprint = exact_fingerprint(arrays)
        self.densities = Densities.of(arrays)
        if self.densities.static.shape != (MAX_PLANES, LEVELS, CHANNELS, MAGNITUDES):
            raise ValueError("context-free scales do not fit")
        groups = arrays["exact.crr.groups"]
        if groups.shape != (LEVELS,) or groups.dtype != np.uint8:
            raise ValueError("level groups do not fit")
        by_group = {}
        for group in sorted(set(groups.tolist())):
            tensors = part(arrays, f"exact.crr.{group}.")
            halo = int(tensors.pop("halo")[0])
            by_group[group] = Network(tensors, halo)
        networks = [by_group[group] for group in groups.tolist()]
        self.context = ContextModels(networks, InputTables.of(arrays), threads or cores())
        self.known_answer = " ".join(network.known_answer() for network in by_group.values())
        if known_answer is not None and self.known_answer != known_answer:
            from importlib.metadata import version

            release = version("onnxruntime")
            raise WeightsError(
                f"this machine does not compute the entropy model exactly with onnxruntime {release} "
                "(known-answer check): try another release of it"
            )
        for network in by_group.values():
            network.check_halo()
        coder.self_check()
        synthesis = part(arrays, "synthesis.")
        self.synthesis = SynthesisNetwork(synthesis, self.context.threads) if synthesis else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the file that it was loaded from, for other processes."""
        if self._origin is None:
            raise TypeError("only a model that load_model gave can be pickled")
        return load_model, self._origin

    @classmethod
    def load(cls, path: str | os.PathLike[str], threads: int = 0) -> CodecModel:
        """Load a weights file. Raises WeightsError if it is missing, damaged or of another kind."""
        from safetensors import safe_open

        try:
            if os.path.getsize(path) > MAX_WEIGHTS_BYTES:
                raise WeightsError("too large for a weights file")
            with safe_open(os.fspath(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != WEIGHTS_FORMAT:
                    raise WeightsError(f"not a {WEIGHTS_FORMAT} file")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return cls(arrays, metadata["known_answer"], threads)
        except FileNotFoundError:
            raise WeightsError(f"{path}: no such weights file") from None
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from None
        except (MemoryError, ImportError):
            raise
        except Exception as error:  # whatever safetensors and numpy say to an unusable file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WeightsError(f"{path}: cannot be used as weights ({reason})") from None


def default_weights() -> Path:
    """The weights that came with the package, or those of the source tree it runs from."""
    packaged = Path(__file__).parents[1] / "weights" / WEIGHTS_NAME
    if packaged.exists():
        return packaged
    return Path(__file__).resolve().parents[3] / "weights" / WEIGHTS_NAME


_loading = Lock()


@functools.lru_cache(maxsize=4)
def _cached(path: str, modified: int, threads: int) -> CodecModel:
    model = CodecModel.load(path, threads)
    model._origin = path, threads or None
    return model


def load_model(path: str | os.PathLike[str] | None = None, threads: int | None = None) -> CodecModel:
    """The model of a weights file, loaded once per process and number of threads.

    path: None for the packaged one.
    threads: that one picture is worked on with, None for one per core.

    Raises WeightsError; ValueError for less than one thread, TypeError.
    """
    check_counts(threads=threads)
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    if path is not None and not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path, not {type(path).__name__}")
    where = os.fspath(path if path is not None else default_weights())
    try:
        modified = os.stat(where).st_mtime_ns
        if not os.path.isfile(where):
            raise FileNotFoundError
    except OSError:
        raise WeightsError(f"{where}: no such weights file") from None
    with _loading:  # threads that need it at once wait for the one that loads it
        return _cached(where, modified, threads or 0)


def model_of(weights: str | os.PathLike[str] | CodecModel | None) -> CodecModel:
    """The model of a weights argument: a path, a model, or None for the packaged weights.

    Raises WeightsError.
    """
    if isinstance(weights, CodecModel):
        return weights
    if weights is not None and not isinstance(weights, (str, os.PathLike)):
        raise TypeError(f"weights must be a path or a CodecModel, not {type(weights).__name__}")
    return load_model(weights)
