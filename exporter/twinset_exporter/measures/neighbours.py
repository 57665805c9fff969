"""Whether what is near belongs to the same class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric

_BLOCK = 1024
"""Queries compared with the whole index at a time: 1,024 x 5,000 distances are 20 MB."""

Rows = NDArray[np.float32]


def nearest(index: Rows, queries: Rows | None, k: int, metric: Metric) -> NDArray[np.int64]:
    """Return the `k` nearest rows of `index` for each query, `[Q, k]` int64, nearest first; of equals the first stays.

    Args:
        index: `[N, D]`.
        queries: `[Q, D]`; None asks for the neighbours of every row of `index` among the others.
        k: at most N, or N - 1 without queries.
        metric: of the space.

    Raises:
        ValueError: there are fewer than `k` rows to find.
    """
    others = queries is None
    if not 0 < k <= len(index) - others:
        raise ValueError(f"{k} neighbours in an index of {len(index):,}: from 1 to {len(index) - others:,}")
    asked = index if queries is None else queries
    if metric is Metric.COSINE:
        index, asked = _unit(index), _unit(asked)
    squares = np.square(index).sum(axis=1) / 2 if metric is Metric.EUCLIDEAN else np.float32(0)
    found = np.empty((len(asked), k), np.int64)
    for start in range(0, len(asked), _BLOCK):
        part = asked[start : start + _BLOCK]
        # Half the squared distance, less what is the same for the whole row.
        distances = squares - part @ index.T
        if others:
            rows = np.arange(len(part))
            distances[rows, start + rows] = np.inf
        candidates = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(np.take_along_axis(distances, candidates, axis=1), axis=1, kind="stable")
        found[start : start + len(part)] = np.take_along_axis(candidates, order, axis=1)
    return found


def precision(found: NDArray[np.int64], index_classes: NDArray[np.int64], classes: NDArray[np.int64]) -> float:
    """Return the share of found rows that are of their query's class.

    Args:
        found: `[Q, k]`, places in the index.
        index_classes: `[N]`, of the index.
        classes: `[Q]`, of the queries.
    """
    return float((index_classes[found] == classes[:, None]).mean())


def _unit(rows: Rows) -> Rows:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Rows = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit
