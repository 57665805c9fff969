"""The backend's own rules, with Triton's module for it replaced by one that records."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import twinset_server.triton
from fakes.models import run_locally, some_pictures, tiny_onnx

SOURCE = Path(twinset_server.triton.__file__).parent / "backend" / "model.py"

CONFIG = {
    "max_batch_size": 32,
    "output": [{"name": "features"}, {"name": "embedding"}],
    "parameters": {"intra_op_thread_count": {"string_value": "1"}},
}


class Capsule:
    """What DLPack hands over, in the form that NumPy takes it in."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: object) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


class Tensor:
    def __init__(self, name: str, capsule: Any) -> None:
        self.name = name
        self.values = np.from_dlpack(Capsule(capsule)).copy()  # type: ignore[arg-type]

    @staticmethod
    def from_dlpack(name: str, capsule: Any) -> Tensor:
        return Tensor(name, capsule)


class TritonError(Exception):
    CANCELLED = 1

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class InferenceResponse:
    def __init__(self, tensors: list[Tensor] | None = None, error: TritonError | None = None) -> None:
        self.rows = {tensor.name: tensor.values for tensor in tensors or []}
        self.error = error


class Request:
    def __init__(self, pictures: Any, outputs: list[str], *, cancelled: bool = False) -> None:
        self.pictures = pictures
        self.outputs = outputs
        self.cancelled = cancelled

    def is_cancelled(self) -> bool:
        return self.cancelled

    def requested_output_names(self) -> list[str]:
        return self.outputs


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = types.ModuleType("triton_python_backend_utils")
    module.__dict__.update(
        Tensor=Tensor,
        TritonError=TritonError,
        InferenceResponse=InferenceResponse,
        get_input_tensor_by_name=lambda request, name: request.pictures,
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    spec = importlib.util.spec_from_file_location("backend_model", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    backend = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(backend)
    (tmp_path / "model.onnx").write_bytes(tiny_onnx())
    return backend.Model(tmp_path / "model.onnx", CONFIG)


def test_requests_of_one_batch_get_their_own_rows_and_only_the_outputs_they_asked_for(model: Any) -> None:
    pictures = some_pictures(6)
    expected = run_locally(pictures)
    first, second, third = model.answer(
        [
            Request(pictures[:2], ["features"]),
            Request(pictures[2:3], ["embedding", "features"]),
            Request(pictures[3:], ["embedding"]),
        ]
    )
    assert (set(first.rows), set(second.rows), set(third.rows)) == (
        {"features"},
        {"features", "embedding"},
        {"embedding"},
    )
    np.testing.assert_allclose(first.rows["features"], expected["features"][:2], atol=1e-5)
    np.testing.assert_allclose(second.rows["features"], expected["features"][2:3], atol=1e-5)
    np.testing.assert_allclose(second.rows["embedding"], expected["embedding"][2:3], atol=1e-5)
    np.testing.assert_allclose(third.rows["embedding"], expected["embedding"][3:], atol=1e-5)


def test_a_request_that_names_no_output_gets_all(model: Any) -> None:
    [response] = model.answer([Request(some_pictures(1), [])])
    assert set(response.rows) == {"features", "embedding"}


def test_a_cancelled_request_is_not_computed_and_the_others_are(model: Any) -> None:
    pictures = some_pictures(3)
    gone, kept = model.answer([Request(None, ["features"], cancelled=True), Request(pictures, ["features"])])
    assert gone.error.code == TritonError.CANCELLED
    np.testing.assert_allclose(kept.rows["features"], run_locally(pictures)["features"], atol=1e-5)


def test_a_batch_of_cancelled_requests_computes_nothing(model: Any) -> None:
    responses = model.answer([Request(None, [], cancelled=True)] * 2)
    assert [response.error.code for response in responses] == [TritonError.CANCELLED] * 2


def test_a_batch_that_fails_is_an_error_for_its_requests_alone(model: Any) -> None:
    pictures = some_pictures(2)
    failed = model.answer([Request(pictures[:, :5], ["features"]), Request(pictures[:, :5], ["features"])])
    assert all("Got: 5 Expected: 32" in str(response.error) for response in failed)
    [later] = model.answer([Request(pictures, ["features"])])
    np.testing.assert_allclose(later.rows["features"], run_locally(pictures)["features"], atol=1e-5)
