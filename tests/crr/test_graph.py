"""Graphs of networks: only what networks are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import load_file

from ctc_codec import WeightsError
from ctc_codec.codec.model import default_weights
from ctc_codec.crr.graph import check_graph
from ctc_codec.crr.runtime import _session

_GRAPH = load_file(default_weights())["exact.crr.0.graph"].tobytes()
_NAMES = {tensor.name for tensor in onnx.load_from_string(_GRAPH).graph.initializer}


def _changed(change: Callable[[Any], None]) -> bytes:
    model = onnx.load_from_string(_GRAPH)
    change(model)
    return bytes(model.SerializeToString())


def _outside(model: Any) -> None:
    tensor = TensorProto(name="secret", data_type=TensorProto.UINT8, dims=[1])
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.initializer.append(tensor)


def _branch(model: Any) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node[1].attribute.append(helper.make_attribute("body", body))


def _operation(name: str) -> Callable[[Any], None]:
    return lambda model: model.graph.node.append(helper.make_node(name, ["inputs"], ["more"]))


def _function(model: Any) -> None:
    model.functions.add(name="Conv", domain="own")


def _sparse(model: Any) -> None:
    model.graph.sparse_initializer.add()


def _padding(model: Any) -> None:
    (pads,) = (attribute for attribute in model.graph.node[0].attribute if attribute.name == "pads")
    pads.ints[2] = 1 << 30


def _negative(model: Any) -> None:
    model.graph.node[1].attribute.append(helper.make_attribute("axis", -1))


def test_the_released_graphs_are_accepted() -> None:
    check_graph(_GRAPH, _NAMES)
    check_graph(_changed(_operation("Sigmoid")), _NAMES)
    with pytest.raises(WeightsError, match="lies elsewhere"):
        check_graph(_GRAPH, _NAMES - {"enter.weight"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_operation("Loop"), "the operation 'Loop'"),
        (_operation("Constant"), "the operation 'Constant'"),
        (_outside, "the tensor 'secret' lies elsewhere"),
        (_branch, "an attribute that is no number"),
        (_function, "functions of its own"),
        (_sparse, "a sparse tensor"),
        (_padding, "too large"),
        (_negative, "too large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_programs_are_refused(change: Callable[[Any], None], words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        check_graph(_changed(change), _NAMES)


def test_a_program_is_not_hidden_by_a_changed_byte() -> None:
    """What is accepted holds no other operation for a whole reader of the format either."""
    program, refused = _changed(_operation("Loop")), 0
    for at in range(0, len(program), 2):
        for value in (program[at] ^ 1, program[at] ^ 0x80, 0xFF):
            other = program[:at] + bytes([value]) + program[at + 1 :]
            try:
                check_graph(other, _NAMES)
            except WeightsError:
                refused += 1
                continue
            try:
                nodes = onnx.load_from_string(other).graph.node
            except Exception:
                continue
            assert all(node.op_type != "Loop" for node in nodes)
    assert refused > 2000


def test_numbers_of_fields_have_no_more_bits_than_readers_take() -> None:
    node = onnx.NodeProto(op_type="Loop").SerializeToString()
    hidden = b"\x8a\x80\x80\x80\x10" + bytes([len(node)]) + node  # field 1, and bit 32
    graph = bytes([7 << 3 | 2, len(hidden)]) + hidden
    with pytest.raises(WeightsError, match="no ONNX"):
        check_graph(graph, _NAMES)


def test_graphs_that_take_long_to_look_at_are_refused() -> None:
    with pytest.raises(WeightsError, match="too large"):
        check_graph(b"\x08\x01" * (1 << 20), _NAMES)


def test_other_formats_of_models_are_not_taken() -> None:
    graph = b"\0\0\0\0ORTM" + _GRAPH
    with pytest.raises(WeightsError, match="protobuf"):
        _session(graph, {}, 1)
