"""Distances of a query to many rows: fast ones in float32 to choose by, and exact ones to answer with.

`ranks` orders rows as their distances do, in one matrix product: minus the inner product, or |x|^2 - 2 x.q for squared
L2. Rounding moves a rank by at most half of its `slack`, so the true nearest k are all among the rows whose rank is at
most the k-th's plus `slack`; `distances` then decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_server.catalog.index.rows import Rows
from twinset_server.domain import Float32Array

Float64Array = NDArray[np.float64]
Ranks = NDArray[np.float32] | Float64Array

_CHUNK = 1024
"""Rows turned to float64 at a time: 10 MB at 1,280 dimensions."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """`values` is `[N]`; two rows whose values differ by more than `slack` are surely in the right order."""

    values: Ranks
    slack: float


def ranks(rows: Rows, query: Float32Array, metric: Metric) -> Ranked:
    """Return the ranks of all rows to `query`, `[D]` float32."""
    squares = rows.squares[: rows.length]
    with np.errstate(over="ignore", invalid="ignore"):
        values: Ranks = _product(rows.vectors[: rows.length] @ query, squares, metric)
        usable = bool(np.isfinite(values).all() and np.isfinite(squares).all())
    if not usable:
        # Components beyond 1e19 are finite, but their squares are not in float32.
        parts = [chunk.astype(np.float64) for chunk in _chunks(rows.vectors[: rows.length])]
        squares = np.concatenate([np.einsum("nd,nd->n", part, part) for part in parts])
        values = _product(np.concatenate([part @ query.astype(np.float64) for part in parts]), squares, metric)
    reach = float(np.sqrt(squares.max(initial=0.0)))
    return Ranked(values, _slack(values.dtype, query, reach, metric))


def distances(vectors: Float32Array, query: Float32Array, metric: Metric) -> Float64Array:
    """Return the distance of each row of `[N, D]` to `query`, computed in float64.

    Equal rows get equal distances wherever they stand. For unit vectors 1 - cos is half the squared L2 distance; in
    this form a vector is at distance 0 of itself, and none below.
    """
    wide = query.astype(np.float64)
    parts = [np.empty(0)]
    for chunk in _chunks(vectors):
        rows = chunk.astype(np.float64)
        match metric:
            case Metric.COSINE:
                parts.append(np.minimum(np.square(rows - wide).sum(axis=1) / 2, 2.0))
            case Metric.EUCLIDEAN:
                parts.append(np.square(rows - wide).sum(axis=1))
            case Metric.INNER_PRODUCT:
                parts.append(-(rows * wide).sum(axis=1))
    return np.concatenate(parts)


def _product(inner: Ranks, squares: Ranks, metric: Metric) -> Ranks:
    if metric is Metric.EUCLIDEAN:
        return squares - 2 * inner
    return -inner


def _slack(dtype: np.dtype[np.floating], query: Float32Array, reach: float, metric: Metric) -> float:
    # A product of D terms summed in at least four lanes is off by at most (D/4 + 3) roundings of |x| |q|.
    length = float(np.linalg.norm(query.astype(np.float64)))
    scale = (length + reach) ** 2 if metric is Metric.EUCLIDEAN else length * reach
    return 2 * float(np.finfo(dtype).eps) * (query.size / 8 + 4) * scale


def _chunks(vectors: Float32Array) -> list[Float32Array]:
    return [vectors[start : start + _CHUNK] for start in range(0, len(vectors), _CHUNK)]
