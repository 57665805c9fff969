"""Gives the channels of a network's linear tensors one range, since int8 has one scale for all of them.

Where nothing but additions lies between convolutions (the narrow ends of inverted residual blocks), a channel may be
scaled by any factor: its producers' weights are multiplied by it, its readers' divided, and the network computes what
it did (after Nagel et al., "Data-free quantization", 2019, section 4.1; with ranges seen on pictures instead of the
weights').
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from twinset_exporter.precision.activations import activations

_LARGEST_FACTOR = 64.0


@dataclass(slots=True)
class _Stream:
    """Tensors joined by additions, which must have one scale a channel, with the convolutions at both ends."""

    tensors: set[str] = field(default_factory=set)
    writers: list[onnx.NodeProto] = field(default_factory=list)
    readers: list[onnx.NodeProto] = field(default_factory=list)


def equalise(model: onnx.ModelProto, pictures: NDArray[np.uint8]) -> None:
    """Scale the channels of every stream in place, so that each has the range of the widest on `pictures`.

    Args:
        model: the fp32 graph; what it computes stays the same but for the last digits.
        pictures: `[N, H, W, 3]` uint8 RGB.
    """
    streams = _streams(model)
    largest: dict[str, NDArray[np.float32]] = {}
    wanted = sorted(tensor for stream in streams for tensor in stream.tensors)
    for tensors in activations(model, wanted, pictures) if wanted else ():
        for name, values in tensors.items():
            seen = np.abs(values).max(axis=(0, 2, 3))
            largest[name] = np.maximum(largest.get(name, seen), seen)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for stream in streams:
        ranges = np.max([largest[tensor] for tensor in stream.tensors], axis=0)
        factors = np.clip(ranges.max() / np.maximum(ranges, 1e-12), 1.0, _LARGEST_FACTOR).astype(np.float32)
        for writer in stream.writers:
            _scale(weights[writer.input[1]], factors.reshape(-1, 1, 1, 1))
            if len(writer.input) > 2:
                _scale(weights[writer.input[2]], factors)
        for reader in stream.readers:
            _scale(weights[reader.input[1]], 1 / factors.reshape(1, -1, 1, 1))


def _streams(model: onnx.ModelProto) -> list[_Stream]:
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    shared = {name for name in constants if len(readers[name]) > 1}
    joined: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            joined[node.output[0]] = node.output[0]
        if node.op_type == "Add" and not constants & set(node.input):
            ends = [_end(name, joined) for name in (*node.input, node.output[0])]
            for end in ends:
                joined[end] = ends[0]
    streams: dict[str, _Stream] = defaultdict(_Stream)
    for name in joined:
        streams[_end(name, joined)].tensors.add(name)
    producers = {node.output[0]: node for node in graph.node}
    outputs = {output.name for output in graph.output}
    return [
        stream
        for stream in streams.values()
        if not stream.tensors & outputs and _fill(stream, producers, readers, constants, shared)
    ]


def _fill(
    stream: _Stream,
    producers: Mapping[str, onnx.NodeProto],
    readers: Mapping[str, list[onnx.NodeProto]],
    constants: set[str],
    shared: set[str],
) -> bool:
    """Add the convolutions at both ends; return whether there is nothing else, so that scales may move."""
    for tensor in sorted(stream.tensors):
        producer = producers.get(tensor)
        if producer is None:
            return False
        if producer.op_type == "Conv":
            if not set(producer.input[1:]) <= constants - shared:
                return False
            stream.writers.append(producer)
        elif producer.op_type != "Add":
            return False
        for reader in readers[tensor]:
            if reader.op_type == "Conv" and _group(reader) == 1 and reader.input[1] in constants - shared:
                stream.readers.append(reader)
            elif not (reader.op_type == "Add" and reader.output[0] in stream.tensors):
                return False
    return True


def _end(name: str, joined: dict[str, str]) -> str:
    joined.setdefault(name, name)
    while joined[name] != name:
        name = joined[name]
    return name


def _group(convolution: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1)


def _scale(tensor: onnx.TensorProto, factors: NDArray[np.float32]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factors, tensor.name))
