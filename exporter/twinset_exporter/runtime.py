"""ONNX Runtime around an exported graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from twinset import contract, head_contract
from twinset.known_answer import unknown_categories
from twinset_exporter.errors import ExportError
from twinset_exporter.graph import check_self_contained

PROVIDER = "CPUExecutionProvider"
BATCH = 8
_TRIED_BATCHES = (1, 3, 8)
# Other batch sizes may take other kernels, which round in another order.
_BATCH_TOLERANCE = 1e-4


class Runtime:
    """Runs one exported graph: a backbone on `pictures`, or a head on the input of another name.

    Attributes:
        dimensions: of every output.
        takes_category: whether it has the input `head_contract.CATEGORY` too.

    Raises:
        ExportError: ONNX Runtime can't load it, or it isn't one file alone.
    """

    def __init__(self, model: bytes, given: str = contract.INPUT) -> None:
        check_self_contained(model)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # The arena keeps what the largest batch took: 1,260 MB after 32 pictures of VGG16 instead of 310, for a tenth
        # of the speed, which nobody measures here.
        options.enable_cpu_mem_arena = False
        try:
            self._session = ort.InferenceSession(model, options, providers=[PROVIDER])
        except Exception as error:  # onnxruntime's own errors share no base class
            raise ExportError(f"ONNX Runtime can't load the graph: {_first_line(error)}") from error
        self._input = given
        self.takes_category = any(tensor.name == head_contract.CATEGORY for tensor in self._session.get_inputs())
        self.dimensions: dict[str, int] = {output.name: output.shape[-1] for output in self._session.get_outputs()}

    def run(
        self, rows: NDArray[Any], batch: int = BATCH, categories: NDArray[np.int32] | None = None
    ) -> Mapping[str, NDArray[np.float32]]:
        """Return every output, `[N, D]` float32, for `rows`, `batch` at a time.

        Args:
            rows: pictures, `[N, H, W, 3]` uint8 RGB, or what a head takes, `[N, D]` float32.
            batch: so many at a time.
            categories: `[N, 1]`, for a graph that takes them; None means that all are unknown.
        """
        names = list(self.dimensions)
        inputs = {self._input: rows}
        if self.takes_category:
            inputs[head_contract.CATEGORY] = unknown_categories(len(rows)) if categories is None else categories
        batches = [
            self._session.run(names, {name: values[start : start + batch] for name, values in inputs.items()})
            for start in range(0, len(rows), batch)
        ]
        return {name: np.concatenate([part[place] for part in batches]) for place, name in enumerate(names)}

    def check_batch_axis(self, row: NDArray[Any]) -> None:
        """Run `row`, a picture of `[H, W, 3]` or a head's `[D]`, in batches of several sizes.

        Raises:
            ExportError: a batch size doesn't run, or changes the answer.
        """
        check_batch_axis(self, row)


class Runs(Protocol):
    """What answers a batch of rows."""

    def run(
        self, rows: NDArray[Any], batch: int = ..., categories: NDArray[np.int32] | None = ...
    ) -> Mapping[str, NDArray[np.float32]]:
        """Return every output, `[N, D]` float32, for `rows` of `categories`, `[N, 1]`."""


def check_batch_axis(model: Runs, row: NDArray[Any]) -> None:
    """Have `model` answer `row` in batches of several sizes; see `Runtime.check_batch_axis`."""
    alone = model.run(row[np.newaxis])
    for size in _TRIED_BATCHES:
        try:
            rows = model.run(np.repeat(row[np.newaxis], size, axis=0))
        except Exception as error:
            raise ExportError(f"the graph doesn't run at batch size {size}: {_first_line(error)}") from error
        for name, answer in alone.items():
            bound = _BATCH_TOLERANCE * float(np.abs(answer).max())
            if rows[name].shape[0] != size or np.abs(rows[name] - answer).max() > bound:
                raise ExportError(f"output {name!r} of the graph is another one at batch size {size}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
