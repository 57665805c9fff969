"""A model that some Triton serves, asked over gRPC."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from twinset.contract import CATEGORY, INPUT, ContractError, ModelContract
from twinset.known_answer import known_categories, known_input, unknown_categories
from twinset_exporter.errors import ExportError, UsageError

_CALL_S = 10.0
_INFER_S = 120.0
_PAUSES_S = (0.5, 2.0, 5.0)
"""Between tries of one request: a Triton that others run may be restarted."""


class TritonModel:
    """A connection to one model; a context manager, safe to share between threads.

    Attributes:
        contract: what the served model carries.
        outputs: dimension by name.
        max_batch: pictures that Triton takes at once, at least 1.
    """

    def __init__(self, address: str, name: str | None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Connect.

        Args:
            address: `host:port` of Triton's gRPC.
            name: the model; None for the only one there.
            sleep: waits some seconds.

        Raises:
            UsageError: Triton doesn't serve the model, or the choice isn't clear.
            ExportError: Triton doesn't answer, or the model is none of twinset's.
        """
        self.address = address
        self._sleep = sleep
        try:
            self._client = InferenceServerClient(address)
            self.name = name or self._only_model()
            config = self._client.get_model_config(self.name, client_timeout=_CALL_S).config
        except InferenceServerException as error:
            if error.status() in ("StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT"):
                raise UsageError(
                    f"the Triton at {address} doesn't serve {self.name}: load it there, or name another model"
                ) from error
            raise ExportError(
                f"the Triton at {address} doesn't answer ({error.message()}): start it, or correct --triton-url"
            ) from error
        try:
            self.contract = ModelContract.from_parameters({k: v.string_value for k, v in config.parameters.items()})
        except ContractError as error:
            raise ExportError(f"model {self.name} of the Triton at {address}: {error}") from error
        self.outputs: Mapping[str, int] = {output.name: output.dims[-1] for output in config.output}
        self.max_batch = max(1, config.max_batch_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def run(
        self,
        pictures: NDArray[np.uint8],
        batch: int,
        outputs: Sequence[str],
        categories: NDArray[np.int32] | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        """Return per output `[N, D]` float32 for `pictures`, `[N, H, W, 3]` uint8, `batch` or `max_batch` at a time.

        `categories` are as in `infer`.

        Raises:
            ExportError: as `infer`.
        """
        step = min(batch, self.max_batch)
        if categories is None:
            categories = unknown_categories(len(pictures))
        parts = [
            self.infer(pictures[start : start + step], outputs, categories[start : start + step])
            for start in range(0, len(pictures), step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}

    def infer(
        self, pictures: NDArray[np.uint8], outputs: Sequence[str], categories: NDArray[np.int32] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Return per output `[N, D]` float32 for `pictures`, `[N, H, W, 3]` uint8, N at most `max_batch`.

        `categories`, `[N, 1]`, go to a model that takes them; None means that all are unknown.

        Raises:
            ExportError: Triton failed several times in a row, or answered something else.
        """
        for pause_s in _PAUSES_S:
            try:
                return self._infer(pictures, outputs, categories)
            except InferenceServerException:
                self._sleep(pause_s)
        try:
            return self._infer(pictures, outputs, categories)
        except InferenceServerException as error:
            raise ExportError(f"the Triton at {self.address} fails: {error.message()}") from error

    def check(self) -> None:
        """Let a model through that gives its known answer.

        Raises:
            ExportError: it gives another one, or none.
        """
        if problem := self.known_answer_problem():
            raise ExportError(
                f"model {self.name} of the Triton at {self.address} doesn't give its known answer ({problem}): its "
                "files don't belong together, or its runtime is broken"
            )

    def version(self) -> str:
        """Return Triton's version.

        Raises:
            ExportError: Triton doesn't answer.
        """
        try:
            return str(self._client.get_server_metadata(client_timeout=_CALL_S).version)
        except InferenceServerException as error:
            raise ExportError(f"the Triton at {self.address} doesn't answer: {error.message()}") from error

    def known_answer_problem(self) -> str | None:
        """Return what is wrong with the model's answer to its known input, None where it is the known one.

        Raises:
            ExportError: Triton gives no answer.
        """
        known, pipeline = self.contract.known_answer, self.contract.pipeline
        if unknown := known.values.keys() - self.outputs.keys():
            return f"it lacks outputs of its known answer: {', '.join(sorted(unknown))}"
        pictures = known_input(known.seed, known.count, pipeline.height, pipeline.width)
        categories = known_categories(known.count, self.contract.categories)
        return known.mismatch(self.run(pictures, known.count, list(known.values), categories))

    def _infer(
        self, pictures: NDArray[np.uint8], outputs: Sequence[str], categories: NDArray[np.int32] | None
    ) -> dict[str, NDArray[np.float32]]:
        tensors = [InferInput(INPUT, list(pictures.shape), "UINT8")]
        tensors[0].set_data_from_numpy(np.ascontiguousarray(pictures))
        if self.contract.categories:
            column = unknown_categories(len(pictures)) if categories is None else categories
            tensors.append(InferInput(CATEGORY, list(column.shape), "INT32"))
            tensors[1].set_data_from_numpy(np.ascontiguousarray(column))
        wanted = [InferRequestedOutput(name) for name in outputs]
        reply: Any = self._client.infer(self.name, tensors, outputs=wanted, client_timeout=_INFER_S)
        rows: dict[str, NDArray[np.float32]] = {}
        for name in outputs:
            values = reply.as_numpy(name)
            expected = (len(pictures), self.outputs[name])
            if values is None or values.shape != expected or values.dtype != np.float32:
                given = "nothing" if values is None else f"{values.dtype} {list(values.shape)}"
                raise ExportError(f"model {self.name} answered {given} for {name}, expected float32 {list(expected)}")
            rows[name] = values
        return rows

    def _only_model(self) -> str:
        index = self._client.get_model_repository_index(client_timeout=_CALL_S)
        names = sorted({model.name for model in index.models if model.state in ("", "READY")})
        if len(names) != 1:
            raise UsageError(
                f"the Triton at {self.address} serves {', '.join(names) or 'no model'}: name one with --model"
            )
        return str(names[0])
