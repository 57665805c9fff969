"""A backbone and its heads in ONNX Runtime, one pass of the backbone for all: Triton's ensemble in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset import head_contract
from twinset_exporter.errors import ExportError
from twinset_exporter.repository import MODEL, PublishedModel
from twinset_exporter.runtime import BATCH, Runtime


class Chain:
    """Runs a backbone, then its heads on its features; like `Runtime` otherwise."""

    def __init__(self, backbone: Runtime, heads: Sequence[Runtime]) -> None:
        self._backbone = backbone
        self._heads = tuple(heads)
        self.dimensions: dict[str, int] = dict(backbone.dimensions)
        for head in heads:
            self.dimensions |= head.dimensions

    def run(self, rows: NDArray[np.uint8], batch: int = BATCH) -> Mapping[str, NDArray[np.float32]]:
        """Return every output, `[N, K]` float32, for pictures, `[N, H, W, 3]` uint8 RGB, `batch` at a time."""
        answers = dict(self._backbone.run(rows, batch))
        for head in self._heads:
            answers |= head.run(answers[head_contract.INPUT], batch)
        return answers


def open_runtime(model: PublishedModel) -> Runtime | Chain:
    """Return what computes `model` in this process: its graph, or an ensemble's graphs.

    Raises:
        ExportError: a graph can't be loaded, or a component isn't there.
    """
    if not model.contract.components:
        return Runtime((model.path / MODEL).read_bytes())
    backbone, *heads = (_read(model.path.parent / name / MODEL) for name in model.contract.components)
    return Chain(Runtime(backbone), [Runtime(head, head_contract.INPUT) for head in heads])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror}: it is a part of the ensemble; export that again") from error
