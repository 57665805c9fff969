"""The Triton backend `onnxruntime`, in Python: serves `VERSION/model.onnx` with the onnxruntime from PyPI.

It stands in for NVIDIA's native backend of the same name where Triton comes from a wheel that carries the Python
backend alone, and reads the same `config.pbtxt`. Triton's stub process imports this file by itself, away from the
package: it may import nothing of twinset.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb  # type: ignore[import-not-found]
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]

_ROWS_AT_A_TIME = 4
"""Rows that go through the network together, whatever a request holds: what passes between its steps stays in the
cores' caches. EfficientNet-Lite0 on two cores: 330 pictures a second by 4, 293 by 8, 269 by 16, 247 by 32; ResNet50
doesn't mind."""

_set_capsule_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
_set_capsule_destructor.argtypes = [ctypes.py_object, ctypes.c_void_p]
_set_capsule_destructor.restype = ctypes.c_int


def read_tensor(request: Any, name: str) -> NDArray[Any]:
    """Return an input of the request, without a copy.

    By DLPack: `as_numpy()` of this stub gives one value repeated under NumPy 2, without an error.
    """
    return np.from_dlpack(pb.get_input_tensor_by_name(request, name))


def make_tensor(name: str, values: NDArray[Any]) -> Any:
    """Return a Triton tensor that holds `values`.

    By DLPack: `pb.Tensor(name, values)` of this stub sends zero bytes under NumPy 2, without an error. The stub marks a
    capsule that it took with a name of its own, at which NumPy's destructor raises. The stub frees the memory itself
    when the tensor goes, so the destructor is not needed.
    """
    # Triton reads the buffer as it lies in memory, and DLPack refuses what is read-only.
    values = np.require(values, requirements=["C", "W"])
    capsule = values.__dlpack__()
    _set_capsule_destructor(capsule, None)
    return pb.Tensor.from_dlpack(name, capsule)


def session_options(config: Mapping[str, Any]) -> ort.SessionOptions:
    """Return the session's options by the model's `parameters`; names and meanings are those of the native backend."""
    parameters = {key: value["string_value"] for key, value in (config.get("parameters") or {}).items()}
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", "0"))
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", "0"))
    # Waiting threads spin, as in the native backend: in a network of fifty small steps they would only doze off.
    spinning = parameters.get("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    return options


class Model:
    """One instance of the model."""

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self._session = ort.InferenceSession(str(path), session_options(config), providers=["CPUExecutionProvider"])
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [output["name"] for output in config["output"]]
        self._batches = int(config.get("max_batch_size", 0)) > 0

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response per request, in order."""
        responses: list[Any] = [None] * len(requests)
        batch = []
        for place, request in enumerate(requests):
            if request.is_cancelled():
                error = pb.TritonError("the caller cancelled the request", pb.TritonError.CANCELLED)
                responses[place] = pb.InferenceResponse(error=error)
            else:
                batch.append(place)
        # A model with max_batch_size 0 has no batch axis to join requests on.
        for places in [batch] if self._batches and batch else [[place] for place in batch]:
            try:
                answers = self._run([requests[place] for place in places])
            except Exception as error:  # the instance must outlive a bad batch
                answers = [self._failed(error)] * len(places)
            for place, response in zip(places, answers, strict=True):
                responses[place] = response
        return responses

    def _run(self, requests: Sequence[Any]) -> list[Any]:
        inputs = [{name: read_tensor(request, name) for name in self._inputs} for request in requests]
        wanted = [set(request.requested_output_names()) or set(self._outputs) for request in requests]
        computed = [name for name in self._outputs if any(name in names for names in wanted)]
        if len(requests) == 1:
            return [self._respond(self._compute(computed, inputs[0]), wanted[0])]
        joined = {name: np.concatenate([tensors[name] for tensors in inputs]) for name in self._inputs}
        outputs = self._compute(computed, joined)
        ends = np.cumsum([len(tensors[self._inputs[0]]) for tensors in inputs])
        return [
            self._respond(
                {name: values[end - len(tensors[self._inputs[0]]) : end] for name, values in outputs.items()}, names
            )
            for tensors, end, names in zip(inputs, ends, wanted, strict=True)
        ]

    def _compute(self, names: Sequence[str], inputs: Tensors) -> Tensors:
        rows = len(inputs[self._inputs[0]])
        step = _ROWS_AT_A_TIME if self._batches else rows
        parts = [
            self._session.run(names, {name: values[start : start + step] for name, values in inputs.items()})
            for start in range(0, rows, step)
        ]
        return {name: np.concatenate(values) for name, *values in zip(names, *parts, strict=True)}

    def _respond(self, outputs: Tensors, wanted: set[str]) -> Any:
        return pb.InferenceResponse([make_tensor(name, values) for name, values in outputs.items() if name in wanted])

    def _failed(self, error: Exception) -> Any:
        return pb.InferenceResponse(error=pb.TritonError(f"{type(error).__name__}: {error}"))


class TritonPythonModel:
    """What Triton's stub looks for: the names and arguments of its methods are Triton's."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the model; an exception here fails the load, and Triton logs it."""
        config = json.loads(args["model_config"])
        name = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / name
        self._model = Model(path, config)
        pb.Logger.log_info(f"{args['model_name']}: {path} on onnxruntime {ort.__version__}, numpy {np.__version__}")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response per request, in order."""
        return self._model.answer(requests)

    def finalize(self) -> None:
        """Let go of the session."""
        del self._model
