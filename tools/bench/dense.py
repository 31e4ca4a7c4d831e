"""What this machine's kernels reach at best: one dense 3x3 convolution, in integers and in float32."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

KINDS = {"u8 x s8": "QLinearConv", "float32": "Conv"}
_SECONDS = 0.05
"""Each shape is repeated for about so long at a time."""


def model_of(kind: str, channels: int, shape: tuple[int, int]) -> bytes:
    """A graph of one convolution of ``channels`` to as many, with a padding of one. kind: of KINDS."""
    rng = np.random.default_rng(5)
    weight = rng.integers(-63, 64, (channels, channels, 3, 3))
    floats = KINDS[kind] == "Conv"
    element = TensorProto.FLOAT if floats else TensorProto.UINT8
    size = [1, channels, *shape]
    tensors: dict[str, Any]
    if floats:
        tensors = {"w": weight.astype(np.float32), "b": np.zeros(channels, np.float32)}
        names = ["x", "w", "b"]
    else:
        tensors = {
            "unit": np.float32(1),
            "origin": np.uint8(128),
            "w": weight.astype(np.int8),
            "scale": np.full(channels, 2.0**-12, np.float32),
            "zero": np.zeros(channels, np.int8),
            "b": np.zeros(channels, np.int32),
        }
        names = ["x", "unit", "origin", "w", "scale", "zero", "unit", "origin", "b"]
    node = helper.make_node(KINDS[kind], names, ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [node],
        "dense",
        [helper.make_tensor_value_info("x", element, size)],
        [helper.make_tensor_value_info("y", element, size)],
        [numpy_helper.from_array(np.asarray(tensor), name) for name, tensor in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def rate(kind: str, channels: int, shape: tuple[int, int], seconds: float = _SECONDS) -> float:
    """Giga-multiplications per second of one thread's time: the median over repetitions, after one that
    warms up.

    shape: rows and columns.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model_of(kind, channels, shape), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(6)
    inputs: Any = rng.integers(0, 256, (1, channels, *shape)).astype(np.uint8)
    inputs = inputs.astype(np.float32) if kind == "float32" else inputs
    times: list[float] = []
    session.run(None, {"x": inputs})
    while sum(times) < seconds or len(times) < 3:
        started = time.thread_time()
        session.run(None, {"x": inputs})
        times.append(time.thread_time() - started)
    return 9e-9 * channels**2 * shape[0] * shape[1] / statistics.median(times)
