"""What answers pairs of factors: an interaction graph in ONNX Runtime, or the same on some Triton."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from twinset.interaction_contract import ITEM, SCORE, USER
from twinset_exporter.errors import ExportError
from twinset_exporter.graph import check_self_contained
from twinset_exporter.runtime import PROVIDER

_INFER_S = 30.0


class Scores(Protocol):
    """What scores pairs."""

    def scores(self, users: NDArray[np.float32], items: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
        """Return the scores, `[N]` float32, of the rows of `users` and `items`, `[N, D]`, `batch` at a time."""


class InteractionRuntime:
    """An interaction graph in this process.

    Raises:
        ExportError: ONNX Runtime can't load it, or it isn't one file alone.
    """

    def __init__(self, model: bytes) -> None:
        check_self_contained(model)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(model, options, providers=[PROVIDER])
        except Exception as error:  # onnxruntime's own errors share no base class
            reason = str(error).partition("\n")[0]
            raise ExportError(f"ONNX Runtime can't load the graph: {reason}") from error

    def scores(self, users: NDArray[np.float32], items: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
        """Return the scores; see `Scores`."""
        parts = [
            self._session.run([SCORE], {USER: users[start : start + batch], ITEM: items[start : start + batch]})[0]
            for start in range(0, len(users), batch)
        ]
        return np.concatenate(parts).reshape(len(users))


class InteractionOnTriton:
    """An interaction model that the Triton at `address`, `host:port`, serves; a context manager."""

    def __init__(self, address: str, name: str) -> None:
        self._name = name
        self._client = InferenceServerClient(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def version(self) -> str:
        """Return Triton's version.

        Raises:
            ExportError: Triton doesn't answer.
        """
        try:
            return str(self._client.get_server_metadata(client_timeout=_INFER_S).version)
        except InferenceServerException as error:
            raise ExportError(f"Triton doesn't answer: {error.message()}") from error

    def scores(self, users: NDArray[np.float32], items: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
        """Return the scores; see `Scores`.

        Raises:
            ExportError: Triton fails, or answers something else.
        """
        starts = range(0, len(users), batch)
        return np.concatenate([self._infer(users[s : s + batch], items[s : s + batch]) for s in starts])

    def _infer(self, users: NDArray[np.float32], items: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs = []
        for name, rows in ((USER, users), (ITEM, items)):
            tensor = InferInput(name, list(rows.shape), "FP32")
            tensor.set_data_from_numpy(np.ascontiguousarray(rows, np.float32))
            inputs.append(tensor)
        try:
            reply: Any = self._client.infer(
                self._name, inputs, outputs=[InferRequestedOutput(SCORE)], client_timeout=_INFER_S
            )
        except InferenceServerException as error:
            raise ExportError(f"model {self._name} of Triton fails: {error.message()}") from error
        values = reply.as_numpy(SCORE)
        if values is None or values.shape != (len(users), 1) or values.dtype != np.float32:
            raise ExportError(f"model {self._name} of Triton answered no scores for {len(users)} pairs")
        return np.asarray(values, np.float32).reshape(len(users))
