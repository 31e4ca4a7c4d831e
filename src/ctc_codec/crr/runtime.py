"""Networks in onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import WeightsError
from .graph import check_graph

Tensors = Mapping[str, npt.NDArray[Any]]

_ONE, _STEP = 1.0, 2.0**-52


class Session:
    """A graph without weights (ONNX), and the tensors that it takes by name.

    Made at the first use, and again in a process that was forked, which has none of its threads. Safe to
    share by threads.
    """

    def __init__(self, graph: bytes, tensors: Tensors, threads: int) -> None:
        """Raises WeightsError for a graph that is no network."""
        check_graph(graph, tensors.keys())
        self.graph, self.tensors = graph, {n: np.ascontiguousarray(t) for n, t in tensors.items()}
        self._threads = threads
        self._made: tuple[int, Any] = (-1, None)

    def run(self, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The graph's output for its input ``inputs``.

        Raises WeightsError if it cannot be loaded, or where the calling thread does not round to the nearest:
        the kernels would compute something else there.
        """
        if _ONE + _STEP / 4 != _ONE or _ONE + _STEP * 3 / 4 == _ONE:
            raise WeightsError("this thread has been told to round floats otherwise than to the nearest")
        process, made = self._made
        if process != os.getpid():  # without a lock: to make it twice does no harm
            made = _session(self.graph, self.tensors, self._threads)
            self._made = os.getpid(), made
        found: npt.NDArray[Any] = made.run(None, {"inputs": inputs})[0]
        return found


def _session(graph: bytes, tensors: Tensors, threads: int) -> Any:
    # onnxruntime 1.32 reports its use to its makers, and keeps a database for that in the home folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Each network has threads of its own: while they spin, the next one and numpy would wait for a core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Not its own format, by which a graph could be another than the one that was looked at.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 4
    options.enable_mem_pattern = False  # shapes differ from call to call
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]
    try:
        options.add_external_initializers(list(tensors), values)
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime has many kinds of them
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"onnxruntime cannot load a network: {reason}") from None
