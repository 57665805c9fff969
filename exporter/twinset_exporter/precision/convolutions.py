"""What the convolutions of a graph see: the first two moments of their input patches on real pictures.

Both are what the best rounding of their weights depends on; see `rounding.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from twinset_exporter.precision.activations import activations

_PATCHES = 48
"""Patches taken of each picture: as many again move no recall."""
_SEED = 20170828


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of a convolution's input patches, by group.

    Attributes:
        mean: `[G, K]`, K the weights of one output channel.
        covariance: `[G, K, K]`.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Shape:
    groups: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes that convolve pictures with weights of their own, in the order of the graph."""
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    return [node for node in model.graph.node if node.op_type == "Conv" and len(shapes.get(node.input[1], ())) == 4]


def moments(model: onnx.ModelProto, pictures: NDArray[np.uint8], largest: int) -> dict[str, Moments]:
    """Return the moments of every convolution of at most `largest` weights an output channel, by the node's name.

    Args:
        model: the fp32 graph.
        pictures: `[N, H, W, 3]` uint8 RGB.
        largest: bound of K; memory and time grow with its square and cube.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = {}
    for node in convolutions(model):
        dims = weights[node.input[1]].dims
        if dims[1] * dims[2] * dims[3] <= largest:
            nodes[node.name] = (node.input[0], _shape(node, (dims[2], dims[3])))
    random = np.random.default_rng(_SEED)
    counts = dict.fromkeys(nodes, 0)
    sums: dict[str, NDArray[np.float64]] = {}
    products: dict[str, NDArray[np.float64]] = {}
    for tensors in activations(model, sorted({tensor for tensor, _ in nodes.values()}), pictures):
        for name, (tensor, shape) in nodes.items():
            patches = _patches(tensors[tensor], shape, random)
            counts[name] += patches.shape[1]
            sums[name] = sums.get(name, 0) + patches.sum(axis=1, dtype=np.float64)
            products[name] = products.get(name, 0) + (patches.transpose(0, 2, 1) @ patches).astype(np.float64)
    result = {}
    for name, count in counts.items():
        mean = sums[name] / count
        result[name] = Moments(mean, products[name] / count - mean[:, :, None] * mean[:, None, :])
    return result


def _patches(x: NDArray[np.float32], shape: _Shape, random: np.random.Generator) -> NDArray[np.float32]:
    """Return patches of `x`, `[N, C, H, W]`, at random places, the same in all N: `[G, N * places, K]`."""
    top, left, bottom, right = shape.pads
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    (rows, columns), (down, across) = shape.kernel, shape.dilations
    window = ((rows - 1) * down + 1, (columns - 1) * across + 1)
    windows = sliding_window_view(x, window, axis=(2, 3))[..., ::down, ::across]
    windows = windows[:, :, :: shape.strides[0], :: shape.strides[1]]
    count, channels, high, wide = windows.shape[:4]
    places = random.choice(high * wide, min(_PATCHES, high * wide), replace=False)
    taken = windows[:, :, places // wide, places % wide]  # [N, C, places, rows, columns]
    grouped = taken.reshape(count, shape.groups, channels // shape.groups, len(places), rows * columns)
    return np.ascontiguousarray(grouped.transpose(1, 0, 3, 2, 4)).reshape(shape.groups, count * len(places), -1)


def _shape(node: onnx.NodeProto, kernel: tuple[int, int]) -> _Shape:
    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ValueError(f"{node.name} pads by {given['auto_pad']!r}")
    return _Shape(
        groups=given.get("group", 1),
        kernel=kernel,
        strides=tuple(given.get("strides", (1, 1))),
        dilations=tuple(given.get("dilations", (1, 1))),
        pads=tuple(given.get("pads", (0, 0, 0, 0))),
    )
