"""A backbone and its heads in ONNX Runtime, one pass of the backbone for all: Triton's ensemble in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset import head_contract
from twinset_exporter.errors import ExportError
from twinset_exporter.repository import MODEL, BrokenModel, Published, PublishedHead, PublishedModel, Repository
from twinset_exporter.runtime import BATCH, Runtime


class Chain:
    """Runs a backbone, then its heads on its features; like `Runtime` otherwise."""

    def __init__(self, backbone: Runtime, heads: Sequence[Runtime]) -> None:
        self._backbone = backbone
        self._heads = tuple(heads)
        self.dimensions: dict[str, int] = dict(backbone.dimensions)
        for head in heads:
            self.dimensions |= head.dimensions

    def run(
        self, rows: NDArray[np.uint8], batch: int = BATCH, categories: NDArray[np.int32] | None = None
    ) -> Mapping[str, NDArray[np.float32]]:
        """Return every output, `[N, K]` float32, for pictures, `[N, H, W, 3]` uint8 RGB, `batch` at a time.

        `categories`, `[N, 1]`, go to the heads that take them; None means that all are unknown.
        """
        answers = dict(self._backbone.run(rows, batch))
        for head in self._heads:
            answers |= head.run(answers[head_contract.INPUT], batch, categories)
        return answers


def open_runtime(model: PublishedModel) -> Runtime | Chain:
    """Return what computes `model` in this process: its graph, or an ensemble's graphs.

    Raises:
        ExportError: a graph can't be loaded, or a component isn't there.
    """
    if not model.contract.components:
        return Runtime((model.path / MODEL).read_bytes())
    repository = Repository(model.path.parent)
    backbone, *others = (repository.model(name) for name in model.contract.components)
    heads = [head.path for head in others if not _copies(head)]
    return Chain(Runtime(_read(backbone.path)), [Runtime(_read(path), head_contract.INPUT) for path in heads])


def _copies(head: Published | BrokenModel) -> bool:
    """Return whether a component only gives the features out, which are in the chain anyway."""
    return isinstance(head, PublishedHead) and head_contract.INPUT in head.contract.outputs


def _read(folder: Path) -> bytes:
    try:
        return (folder / MODEL).read_bytes()
    except OSError as error:
        raise ExportError(
            f"{folder / MODEL}: {error.strerror}; it is a part of the ensemble: export that again"
        ) from error
