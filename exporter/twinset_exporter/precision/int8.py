"""Static quantisation to int8: QuantizeLinear and DequantizeLinear around every step, weights by output channel.

Activations are uint8 (on a processor with VNNI measured as fast as int8 ones or faster), their ranges the smallest and
largest values over the calibration pictures (percentiles were no better: .910 to .906 in neighbours' recall@10 before
the rounding, within its noise). Pixels become floats as in fp32, and unit length is made in fp32.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    create_calibrator,
)

from twinset import contract
from twinset_exporter.precision.convolutions import Moments, convolutions, moments
from twinset_exporter.precision.equalisation import equalise
from twinset_exporter.precision.layout import transpose_first
from twinset_exporter.precision.rounding import refine

_OPERATIONS = ["Conv", "Add", "Clip", "Relu", "GlobalAveragePool", "AveragePool", "MaxPool", "Concat"]
_RANGES_PICTURES = 128
_MOMENTS_PICTURES = 64
_LARGEST_PATCH = 1536
"""Convolutions with more weights a channel are rounded to the nearest step: the others take seconds, these minutes."""


class Quantiser:
    """Quantises one graph, as often as asked for, by one calibration."""

    def __init__(self, fp32: bytes, pictures: NDArray[np.uint8]) -> None:
        """Calibrate.

        Args:
            fp32: the exported graph.
            pictures: `[N, H, W, 3]` uint8 RGB.
        """
        model = onnx.ModelProto.FromString(fp32)
        transpose_first(model)
        some = pictures[:: -(-len(pictures) // _MOMENTS_PICTURES)]
        equalise(model, some)
        self._model = onnx.shape_inference.infer_shapes(model)
        self._ranges = _ranges(self._model, pictures[:: -(-len(pictures) // _RANGES_PICTURES)])
        self._moments: dict[str, Moments] = moments(self._model, some, _LARGEST_PATCH)
        self._clips = {node.input[0]: node.name for node in model.graph.node if node.op_type in ("Clip", "Relu")}
        self.convolutions = [node.name for node in convolutions(self._model)]

    def quantise(self, kept: Collection[str] = ()) -> bytes:
        """Return the quantised ONNX model.

        Args:
            kept: names of convolutions that stay fp32, with the activation behind each.
        """
        excluded = set(kept)
        for node in self._model.graph.node:
            if node.name in kept and node.output[0] in self._clips:
                excluded.add(self._clips[node.output[0]])
        quantizer = QDQQuantizer(
            copy.deepcopy(self._model),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=copy.deepcopy(self._ranges),  # it writes into them
            nodes_to_quantize=[node.name for node in self._model.graph.node],
            nodes_to_exclude=sorted(excluded),
            op_types_to_quantize=_OPERATIONS,
            extra_options={},
        )
        quantizer.quantize_model()
        quantised = quantizer.model.model
        refine(quantised, self._model, self._moments)
        quantised.producer_name, quantised.producer_version = "", ""
        serialised: bytes = quantised.SerializeToString(deterministic=True)
        return serialised


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    def __init__(self, pictures: NDArray[np.uint8]) -> None:
        self._batches = iter([{contract.INPUT: picture[np.newaxis]} for picture in pictures])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._batches, None)


def _ranges(model: onnx.ModelProto, pictures: NDArray[np.uint8]) -> Any:
    with TemporaryDirectory(prefix="twinset-calibration-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        calibrator = create_calibrator(
            path,
            _OPERATIONS,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Reader(pictures))
        return calibrator.compute_data()
