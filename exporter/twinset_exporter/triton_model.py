"""A published model as a running Triton serves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from twinset import contract
from twinset.contract import ContractError, ModelContract
from twinset_exporter.errors import ExportError

_TIMEOUT_S = 60.0


class TritonModel:
    """Asks one model of the Triton at `url`, `host:port` of its gRPC.

    Raises:
        ExportError: Triton doesn't answer, or doesn't serve the model; all methods raise it.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name
        self._client = triton.InferenceServerClient(url)
        try:
            config = self._client.get_model_config(name, client_timeout=_TIMEOUT_S).config
        except InferenceServerException as error:
            self._client.close()
            raise self._failed(error) from error
        self.parameters = {key: value.string_value for key, value in config.parameters.items()}
        self.max_batch_size: int = config.max_batch_size

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Close the connection."""
        self._client.close()

    def contract(self) -> ModelContract:
        """Return the contract that the served model carries."""
        try:
            return ModelContract.from_parameters(self.parameters)
        except ContractError as error:
            raise ExportError(f"the model {self._name} at {self._url}: {error}") from error

    def run(self, pictures: NDArray[np.uint8], batch: int, outputs: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """Return `outputs`, each `[N, D]` float32, for `pictures`, `[N, H, W, 3]` uint8 RGB, `batch` at a time."""
        parts = [self._ask(pictures[start : start + batch], outputs) for start in range(0, len(pictures), batch)]
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}

    def _ask(self, pictures: NDArray[np.uint8], outputs: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        given = triton.InferInput(contract.INPUT, list(pictures.shape), "UINT8")
        given.set_data_from_numpy(pictures)
        wanted = [triton.InferRequestedOutput(name) for name in outputs]
        try:
            result = self._client.infer(self._name, [given], outputs=wanted, client_timeout=_TIMEOUT_S)
        except InferenceServerException as error:
            raise self._failed(error) from error
        rows: dict[str, NDArray[np.float32]] = {}
        for name in outputs:
            values = result.as_numpy(name)
            if values is None:
                raise ExportError(f"the model {self._name} at {self._url} gave no output {name!r}")
            rows[name] = values
        return rows

    def _failed(self, error: InferenceServerException) -> ExportError:
        return ExportError(
            f"the Triton at {self._url} gave no answer for the model {self._name} ({error.message()}): start it with "
            "this repository, or correct --triton-url"
        )
