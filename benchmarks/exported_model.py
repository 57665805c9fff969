"""Vectors of pictures from an exported model, through a Triton started for the time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from twinset.contract import Metric
from twinset.images import decode
from twinset_exporter.own_triton import own_triton
from twinset_exporter.repository import PublishedModel, Repository
from twinset_exporter.triton_model import TritonModel

_BATCH = 16


def embed(
    repository: Path, model: str, outputs: Sequence[str], paths: Sequence[Path]
) -> dict[str, NDArray[np.float32]]:
    """Return each output of the model, `[N, D]`, for the pictures.

    Raises:
        ExportError: Triton can't be started or fails, or the model isn't served as it was published.
        PictureError: a file is no picture.
    """
    parts = []
    with own_triton(repository, model) as (address, name), TritonModel(address, name) as served:
        served.check()
        for start in track(range(0, len(paths), _BATCH), "embed"):
            pictures = [decode(path.read_bytes(), served.contract.pipeline) for path in paths[start : start + _BATCH]]
            parts.append(served.infer(np.stack(pictures), outputs))
    return {name: np.concatenate([part[name] for part in parts]) for name in outputs}


def metric_of(repository: Path, model: str, output: str) -> Metric:
    """Return the metric of the space that an output fills, cosine where it fills none."""
    published = Repository(repository).model(model)
    if not isinstance(published, PublishedModel):
        raise SystemExit(f"{published.path} can't be read: {published.reason}")
    metrics = {space.output: space.metric for space in published.contract.spaces}
    return metrics.get(output, Metric.COSINE)
