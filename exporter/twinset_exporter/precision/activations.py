"""What flows inside a graph."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from twinset import contract
from twinset_exporter.runtime import PROVIDER

_BATCH = 4


def activations(
    model: onnx.ModelProto, tensors: list[str], pictures: NDArray[np.uint8]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield the values of `tensors` by name, float32, for one small batch of `pictures` after another.

    Args:
        model: the graph, which stays as it is.
        tensors: names of float tensors inside it.
        pictures: `[N, H, W, 3]` uint8 RGB.
    """
    opened = onnx.ModelProto.FromString(model.SerializeToString())
    opened.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors
    )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(opened.SerializeToString(), options, providers=[PROVIDER])
    for start in range(0, len(pictures), _BATCH):
        values = session.run(tensors, {contract.INPUT: pictures[start : start + _BATCH]})
        yield dict(zip(tensors, values, strict=True))
