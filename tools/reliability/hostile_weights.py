"""Weights files that are broken, that ask for much, or whose graphs do."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_arrays

from ctc_codec.codec.model import WEIGHTS_FORMAT, default_weights

Arrays = dict[str, npt.NDArray[Any]]
_GRAPH = "exact.crr.0.graph"
_TERA = 1 << 40


def _file(head: bytes, body: bytes) -> bytes:
    return struct.pack("<Q", len(head)) + head + body


class _Released:
    """The released weights, and files that are made from them."""

    def __init__(self) -> None:
        self.data = default_weights().read_bytes()
        size = struct.unpack("<Q", self.data[:8])[0]
        self.described: dict[str, Any] = json.loads(self.data[8 : 8 + size])
        self.body = self.data[8 + size :]
        self.metadata: dict[str, str] = self.described["__metadata__"]

    def described_as(self, name: str, **changes: Any) -> bytes:
        """With another description of a tensor."""
        described = {**self.described, name: self.described[name] | changes}
        return _file(json.dumps(described).encode(), self.body)

    def with_array(self, name: str, array: npt.NDArray[Any]) -> bytes:
        """With another tensor, and the known answer of before."""
        from safetensors.numpy import save

        arrays: Arrays = {**load_arrays(self.data), name: array}
        return save(arrays, {"format": WEIGHTS_FORMAT, "known_answer": self.metadata["known_answer"]})

    def changed(self, name: str, change: Callable[[npt.NDArray[Any]], None]) -> bytes:
        """With other values in a tensor."""
        array = load_arrays(self.data)[name].copy()
        change(array)
        return self.with_array(name, array)

    def with_graph(self, graph: bytes) -> bytes:
        """With another ONNX graph for the finest level."""
        return self.with_array(_GRAPH, np.frombuffer(graph, np.uint8))


def _set(at: Any, value: Any) -> Callable[[npt.NDArray[Any]], None]:
    def change(array: npt.NDArray[Any]) -> None:
        array[at] = value

    return change


def _grown(own: _Released, nodes: list[Any], initializers: list[Any], result: str) -> bytes:
    """The network's graph with more in it. ``result``: a uint8 of the new nodes, which is added to what goes
    into the network, so that it is needed."""
    import onnx
    from onnx import helper

    model = onnx.load_from_string(load_arrays(own.data)[_GRAPH].tobytes())
    entry = model.graph.node[0]
    entry.input[0] = "seen"
    at = ("unit", "origin")
    summands = ["inputs", *at, result, *at, *at]
    first = helper.make_node("QLinearAdd", summands, ["seen"], domain="com.microsoft")
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, first, *rest])
    model.graph.initializer.extend(initializers)
    return bytes(model.SerializeToString())


def _loop(own: _Released) -> bytes:
    """A loop of 2^62 rounds."""
    from onnx import TensorProto, helper, numpy_helper

    def scalar(kind: int, name: str) -> Any:
        return helper.make_tensor_value_info(name, kind, [])

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["still"]),
            helper.make_node("Add", ["x", "i"], ["y"]),
        ],
        "body",
        [scalar(TensorProto.INT64, "i"), scalar(TensorProto.BOOL, "on"), scalar(TensorProto.INT64, "x")],
        [scalar(TensorProto.BOOL, "still"), scalar(TensorProto.INT64, "y")],
    )
    constants = [
        numpy_helper.from_array(np.array(1 << 62, np.int64), "rounds"),
        numpy_helper.from_array(np.array(True), "begin"),
    ]
    nodes = [
        helper.make_node("Loop", ["rounds", "begin", "rounds"], ["z"], body=body),
        helper.make_node("Cast", ["z"], ["small"], to=TensorProto.UINT8),
    ]
    return _grown(own, nodes, constants, "small")


def _reader(own: _Released, path: str) -> bytes:
    """Its constant lies in a file."""
    from onnx import TensorProto

    proto = TensorProto(name="secret", data_type=TensorProto.UINT8, dims=[1])
    proto.data_location = TensorProto.EXTERNAL
    proto.external_data.add(key="location", value=path)
    proto.external_data.add(key="length", value="1")
    return _grown(own, [], [proto], "secret")


def _padded(own: _Released) -> bytes:
    """Its first layer pads each side by 2^30."""
    import onnx

    model = onnx.load_from_string(load_arrays(own.data)[_GRAPH].tobytes())
    (pads,) = (attribute for attribute in model.graph.node[0].attribute if attribute.name == "pads")
    pads.ints[:] = [1 << 30] * 4
    return bytes(model.SerializeToString())


def _huge(own: _Released, count: int) -> bytes:
    """A tensor of so many zeros."""
    from onnx import TensorProto, helper, numpy_helper

    sides = numpy_helper.from_array(np.array([count], np.int64), "sides")
    nodes = [
        helper.make_node("ConstantOfShape", ["sides"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["small"], to=TensorProto.UINT8),
    ]
    return _grown(own, nodes, [sides], "small")


def files() -> Iterator[tuple[str, bytes]]:
    """Names and bytes."""
    own = _Released()
    weight, scale = "exact.crr.0.enter.weight", "exact.crr.0.enter.scale"
    yield "no weights", b"not at all"
    yield "a header of 2^63 bytes", struct.pack("<Q", 1 << 63) + own.data[8:]
    yield "a header of 90 MB", _file(b'{"__metadata__":{}' + b" " * 90_000_000 + b"}", b"")
    yield "cut in the header", own.data[:1000]
    yield "cut in the tensors", own.data[:-1000]
    yield "bytes behind the end", own.data + bytes(8)
    yield "a tensor of 2^40 values", own.described_as(weight, shape=[_TERA])
    yield "a tensor of 2^63 bytes", own.described_as(weight, data_offsets=[0, 1 << 63])
    yield "tensors that overlap", own.described_as(weight, data_offsets=[0, 8])
    yield "a name twice", own.data.replace(b'"exact.crr.0.b.0.a.bias"', b'"exact.crr.0.b.1.a.bias"', 1)
    for kind in ("F64", "BF16", "F8_E4M3", "U8"):
        yield f"weights of {kind}", own.described_as(weight, dtype=kind)
    yield "another shape", own.with_array(weight, np.zeros((1, 2, 3, 3), np.int8))
    yield "no shape", own.with_array(weight, np.zeros((), np.int8))
    yield "a weight of 64", own.changed(weight, _set((0, 0, 0, 0), 64))
    yield "a bias of 2^31 - 1", own.changed("exact.crr.0.enter.bias", _set(0, (1 << 31) - 1))
    for value in (np.nan, np.inf, 99):
        yield f"a scale of {value}", own.changed(scale, _set(0, value))
        yield f"a mean of {value}", own.changed("means", _set((0, 0), value))
    yield "a halo of 200", own.changed("exact.crr.0.halo", _set(0, 200))
    yield "a group without a network", own.changed("exact.crr.groups", _set(0, 255))
    yield "a frequency of 0", own.changed("exact.density.frequencies", _set((0, 0), 0))
    yield "another known answer", own.data.replace(own.metadata["known_answer"][:32].encode(), b"0" * 32)
    yield "lines in the known answer", own.data.replace(own.metadata["known_answer"][:4].encode(), b"\\n\\n")
    yield "a graph of noise", own.with_graph(np.random.default_rng(1).bytes(2000))
    yield "an empty graph", own.with_graph(b"")
    yield "a graph that loops", own.with_graph(_loop(own))
    for path in ("/etc/passwd", "../../../../etc/passwd", "weights", "/dev/zero"):
        yield f"a graph that reads {path}", own.with_graph(_reader(own, path))
    yield "a graph that pads", own.with_graph(_padded(own))
    for power in (32, 40):
        yield f"a graph of 2^{power} values", own.with_graph(_huge(own, 1 << power))
