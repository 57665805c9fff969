"""Rounds the weights of quantised convolutions so that the errors cancel on real pictures.

Rounding each weight to the nearest step is the best for each weight and poor for their sum. With the covariance C of a
convolution's input patches, the error of its output is (q - w)' C (q - w): the weights are rounded one after another,
and each one's error is spread over those still to come, by the inverse of C (Frantar et al., "GPTQ", 2022, after
LeCun's optimal brain surgeon). What is left in the mean goes into the bias (Nagel et al., "Data-free quantization",
2019). On EfficientNet-Lite0 neighbours' recall@10 rose from .916 to .95 by the bias and further by the rounding.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from twinset_exporter.precision.convolutions import Moments, convolutions

_DAMPING = 0.01
_LARGEST = 127


def refine(quantised: onnx.ModelProto, reference: onnx.ModelProto, moments: Mapping[str, Moments]) -> None:
    """Round the int8 weights of `quantised` again, in place, and correct the biases.

    Args:
        quantised: the graph with its weights in int8 behind DequantizeLinear, one scale an output channel.
        reference: the fp32 graph that it was made from; its nodes have the same names.
        moments: of the reference's convolutions, by name; those without keep their weights.
    """
    exact = {tensor.name: tensor for tensor in reference.graph.initializer}
    stored = {tensor.name: tensor for tensor in quantised.graph.initializer}
    dequantised = {node.output[0]: node for node in quantised.graph.node if node.op_type == "DequantizeLinear"}
    nodes = {node.name: node for node in quantised.graph.node if node.op_type == "Conv"}
    for original in convolutions(reference):
        node = nodes[original.name]
        seen = moments.get(node.name)
        source = dequantised.get(node.input[1])
        if seen is None or source is None or len(node.input) < 3:
            continue  # without weights in int8, or without a bias
        weights = numpy_helper.to_array(exact[original.input[1]]).astype(np.float64)
        scales = numpy_helper.to_array(stored[source.input[1]]).astype(np.float64).reshape(-1, 1)
        groups = seen.mean.shape[0]
        # [G, O, K], in steps
        wanted = (weights.reshape(len(weights), -1) / scales).reshape(groups, len(weights) // groups, -1)
        steps = _round(wanted, seen.covariance)
        shift = np.einsum("gok,gk->go", steps - wanted, seen.mean).reshape(-1) * scales[:, 0]
        _replace(stored[source.input[0]], steps.reshape(weights.shape).astype(np.int8))
        _add(node.input[2], -shift, stored, dequantised)


def _round(weights: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return whole numbers, `[G, O, K]`, in place of `weights`."""
    size = weights.shape[2]
    damped = covariance + np.eye(size) * (
        _DAMPING * np.trace(covariance, axis1=1, axis2=2)[:, None, None] / size + 1e-9
    )
    # Row k of the upper Cholesky factor of the inverse tells how the error of weight k spreads over the later ones.
    spread = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    left = weights.copy()
    rounded = np.empty_like(weights)
    for k in range(size):
        rounded[:, :, k] = np.clip(np.rint(left[:, :, k]), -_LARGEST, _LARGEST)
        error = (left[:, :, k] - rounded[:, :, k]) / spread[:, None, k, k]
        left[:, :, k:] -= error[:, :, None] * spread[:, None, k, k:]
    return rounded


def _add(
    bias: str,
    values: NDArray[np.float64],
    stored: Mapping[str, onnx.TensorProto],
    dequantised: Mapping[str, onnx.NodeProto],
) -> None:
    if bias in dequantised:
        whole, scale = (stored[name] for name in dequantised[bias].input[:2])
        steps = numpy_helper.to_array(whole) + np.rint(values / numpy_helper.to_array(scale))
        bounds = np.iinfo(np.int32)
        _replace(whole, np.clip(steps, bounds.min, bounds.max).astype(np.int32))
    else:
        _replace(stored[bias], (numpy_helper.to_array(stored[bias]) + values).astype(np.float32))


def _replace(tensor: onnx.TensorProto, values: NDArray[np.generic]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
