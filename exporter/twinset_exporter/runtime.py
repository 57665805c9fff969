"""ONNX Runtime around an exported graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from twinset import contract
from twinset_exporter.errors import ExportError
from twinset_exporter.graph import check_self_contained

PROVIDER = "CPUExecutionProvider"
_BATCH = 8
_TRIED_BATCHES = (1, 3, 8)
# Other batch sizes may take other kernels, which round in another order.
_BATCH_TOLERANCE = 1e-4


class Runtime:
    """Runs one exported graph.

    Raises:
        ExportError: ONNX Runtime can't load it, or it isn't one file alone.
    """

    def __init__(self, model: bytes) -> None:
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
        self.dimensions: dict[str, int] = {output.name: output.shape[-1] for output in self._session.get_outputs()}

    def run(self, pictures: NDArray[np.uint8], batch: int = _BATCH) -> Mapping[str, NDArray[np.float32]]:
        """Return every output, `[N, D]` float32, for `pictures`, `[N, H, W, 3]` uint8 RGB, `batch` at a time."""
        names = list(self.dimensions)
        batches = [
            self._session.run(names, {contract.INPUT: pictures[start : start + batch]})
            for start in range(0, len(pictures), batch)
        ]
        return {name: np.concatenate([part[place] for part in batches]) for place, name in enumerate(names)}

    def check_batch_axis(self, picture: NDArray[np.uint8]) -> None:
        """Run `picture`, `[H, W, 3]`, in batches of several sizes.

        Raises:
            ExportError: a batch size doesn't run, or changes the answer.
        """
        alone = self.run(picture[np.newaxis])
        for size in _TRIED_BATCHES:
            try:
                rows = self.run(np.repeat(picture[np.newaxis], size, axis=0))
            except Exception as error:
                raise ExportError(f"the graph doesn't run at batch size {size}: {_first_line(error)}") from error
            for name, row in alone.items():
                bound = _BATCH_TOLERANCE * float(np.abs(row).max())
                if rows[name].shape[0] != size or np.abs(rows[name] - row).max() > bound:
                    raise ExportError(f"output {name!r} of the graph is another one at batch size {size}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
