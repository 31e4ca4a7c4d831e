"""ONNX graphs of the networks, without weights: they take tensors of a weights file by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..crr.inputs import INPUTS, ONE, ZERO_POINT
from ..crr.network import OUTPUTS
from ..synthesis import network as synthesis
from .tables import GATED_LEAK, LEAK, Arrays

_MICROSOFT = "com.microsoft"
_OPSET, _IR = 17, 9
"""Old enough for every onnxruntime that takes external initializers."""


def _external(tensors: Arrays) -> list[Any]:
    from onnx import TensorProto, helper

    protos = []
    for name, array in tensors.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        proto = TensorProto(name=name, data_type=kind, dims=array.shape, data_location=TensorProto.EXTERNAL)
        proto.external_data.add(key="location", value="weights")
        protos.append(proto)
    return protos


def _model(
    name: str,
    nodes: Sequence[Any],
    kind: int,
    channels: tuple[int, int],
    output: str,
    initializers: list[Any],
) -> bytes:
    """A graph from ``inputs`` to ``output``, both [1, channels, height, width]."""
    from onnx import helper

    ends = [
        helper.make_tensor_value_info(end, kind, [1, count, "height", "width"])
        for end, count in zip(("inputs", output), channels, strict=True)
    ]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], initializers)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=_IR).SerializeToString())


def crr_graph(layers: Arrays, blocks: Sequence[str]) -> bytes:
    """A level group's network in 8-bit kernels.

    layers: ``LAYER.weight``, ``.bias``, ``.scale`` and ``.zero`` of the layers enter, ``blocks`` and leave.
    """
    from onnx import TensorProto, helper, numpy_helper

    constants = [
        numpy_helper.from_array(np.array(1 / ONE, np.float32), "unit"),
        numpy_helper.from_array(np.array(ZERO_POINT, np.uint8), "origin"),
    ]
    nodes: list[Any] = []
    at = ("unit", "origin")

    def convolve(x: str, name: str, out: str) -> str:
        side = layers[f"{name}.weight"].shape[-1]
        parts = [f"{name}.{part}" for part in ("weight", "scale", "zero")]
        inputs = [x, *at, *parts, *at, f"{name}.bias"]
        pads = [side // 2] * 4
        nodes.append(helper.make_node("QLinearConv", inputs, [out], kernel_shape=[side, side], pads=pads))
        return out

    def leaky(x: str, out: str) -> str:
        inputs = [x, *at, *at]
        nodes.append(helper.make_node("QLinearLeakyRelu", inputs, [out], alpha=LEAK, domain=_MICROSOFT))
        return out

    x = leaky(convolve("inputs", "enter", "entered"), "x0")
    for i, name in enumerate(blocks):
        branch = leaky(convolve(x, name, f"convolved{i}"), f"branch{i}")
        summands = [x, *at, branch, *at, *at]
        x = f"x{i + 1}"
        nodes.append(helper.make_node("QLinearAdd", summands, [x], domain=_MICROSOFT))
    convolve(x, "leave", "densities")
    initializers = constants + _external(layers)
    return _model("crr", nodes, TensorProto.UINT8, (INPUTS, OUTPUTS), "densities", initializers)


def synthesis_graph(layers: Arrays, blocks: int) -> bytes:
    """The synthesis network in float32.

    layers: ``enter.weight`` and so on, as in :class:`ctc_codec.training.networks.Synthesis`.
    """
    from onnx import TensorProto, helper

    nodes: list[Any] = []

    def node(kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        out = [f"{kind.lower()}{len(nodes)}.{i}" for i in range(outputs)]
        nodes.append(helper.make_node(kind, list(inputs), out, **attributes))
        return out

    def convolve(x: str, name: str, group: int = 1) -> str:
        side = layers[f"{name}.weight"].shape[-1]
        parts = f"{name}.weight", f"{name}.bias"
        return node("Conv", x, *parts, kernel_shape=[side, side], pads=[side // 2] * 4, group=group)[0]

    width = len(layers["enter.bias"])
    x = convolve("inputs", "enter")
    for i in range(blocks):
        (inner,) = node("LeakyRelu", convolve(x, f"b.{i}.a"), alpha=GATED_LEAK)
        branch = convolve(convolve(inner, f"b.{i}.d", width), f"b.{i}.b")
        (x,) = node("Add", x, branch)
        gate, value = node("Split", convolve(x, f"b.{i}.e"), outputs=2, axis=1)
        (share,) = node("Sigmoid", gate)
        (opened,) = node("Mul", gate, share)
        (gated,) = node("Mul", opened, value)
        (x,) = node("Add", x, convolve(gated, f"b.{i}.p"))
    nodes.append(helper.make_node("Identity", [convolve(x, "leave")], ["corrections"]))
    channels = (synthesis.INPUTS, synthesis.COLOURS * synthesis.SCALE**2)
    return _model("synthesis", nodes, TensorProto.FLOAT, channels, "corrections", _external(layers))
