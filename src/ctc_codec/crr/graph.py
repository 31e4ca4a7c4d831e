"""What a network's graph (ONNX) may be: operations that networks here are made of, one after the other.

A weights file is data, but onnxruntime takes its graphs for programs, which may loop and read other files: so
they are looked at before. Of the serialization (Protocol Buffers) only the fields that matter are read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..errors import WeightsError

_OPERATIONS = {
    *(b"QLinearConv", b"QLinearLeakyRelu", b"QLinearAdd"),  # CRR
    *(b"Conv", b"LeakyRelu", b"Add", b"Mul", b"Sigmoid", b"Split", b"Identity"),  # synthesis
}
_MOST_BYTES = 1 << 16
_LARGEST = 1 << 10
"""Of the numbers in attributes, padding and groups among them: more would take memory that no tensor has."""

_GRAPH, _FUNCTIONS = 7, 25
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15
_OPERATION, _ATTRIBUTE = 4, 5
_NUMBER, _NUMBERS, _NAME_OF_ATTRIBUTE, _FLOAT, _KIND = 3, 8, 1, 2, 20
_EXTERNAL_DATA, _LOCATION, _NAME = 13, 14, 8
"""Numbers of fields: of ModelProto, GraphProto, NodeProto, AttributeProto and TensorProto in onnx.proto."""


def check_graph(graph: bytes, tensors: Collection[str]) -> None:
    """Raise WeightsError for a graph that may do more than a network.

    tensors: names of those that it may take from outside.
    """
    try:
        if len(graph) > _MOST_BYTES:
            raise ValueError("it is too large")
        _check_model(graph, tensors)
    except ValueError as error:
        raise WeightsError(f"a network's graph cannot be used: {error}") from None


def _check_model(graph: bytes, tensors: Collection[str]) -> None:
    for number, value in _fields(graph):
        if number == _FUNCTIONS:
            raise ValueError("it has functions of its own")
        if number != _GRAPH:
            continue
        for field, part in _fields(_bytes(value)):
            if field == _NODE:
                _check_node(_bytes(part))
            elif field == _INITIALIZER:
                _check_tensor(_bytes(part), tensors)
            elif field == _SPARSE:
                raise ValueError("a sparse tensor")


def _check_node(node: bytes) -> None:
    for number, value in _fields(node):
        if number == _OPERATION and value not in _OPERATIONS:
            raise ValueError(f"the operation {_bytes(value)[:40].decode(errors='replace')!r}")
        if number == _ATTRIBUTE:
            _check_attribute(_bytes(value))


def _check_attribute(attribute: bytes) -> None:
    for number, value in _fields(attribute):
        if number in (_NUMBER, _NUMBERS):
            numbers = [value] if isinstance(value, int) else _varints(value)
            if any(each > _LARGEST for each in numbers):
                raise ValueError("a number of an attribute is too large")
        elif number not in (_NAME_OF_ATTRIBUTE, _FLOAT, _KIND):  # a tensor, or a graph
            raise ValueError("an attribute that is no number")


def _check_tensor(tensor: bytes, tensors: Collection[str]) -> None:
    outside, name = False, ""
    for number, value in _fields(tensor):
        if number == _NAME:
            name = _bytes(value).decode()
        outside |= number in (_EXTERNAL_DATA, _LOCATION)
    if outside and name not in tensors:
        raise ValueError(f"the tensor {name[:40]!r} lies elsewhere")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a message's fields. Raises ValueError for what is none."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag >> 32:  # readers of Protocol Buffers drop these bits
            raise ValueError("no ONNX")
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("no ONNX")
        if size > len(data) - at:
            raise ValueError("it is cut")
        yield number, data[at : at + size]
        at += size


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it is cut")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("no ONNX")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("no ONNX")
    return value
