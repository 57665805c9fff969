"""Stores a graph's weights as half floats.

ONNX Runtime has no half-float kernels for these networks on the CPU: it widens the weights once, when it loads the
file, and computes in fp32. So the file is half as large and no picture is faster; a GPU's runtime computes as it likes.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

_SMALLEST = 256
"""Smaller constants stay fp32: they are bounds, means and divisors, and weigh nothing."""


def store_as_fp16(fp32: bytes) -> bytes:
    """Return the ONNX model with its large float constants in fp16, widened by a Cast each."""
    model = onnx.ModelProto.FromString(fp32)
    graph = model.graph
    widened = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALLEST:
            continue
        name = tensor.name
        with np.errstate(over="ignore"):  # infinity is for the gate to find
            half = values.astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_fp16"))
        widened.append(
            onnx.helper.make_node("Cast", [tensor.name], [name], name=f"{name}_widen", to=onnx.TensorProto.FLOAT)
        )
    for place, node in enumerate(widened):
        graph.node.insert(place, node)
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised
