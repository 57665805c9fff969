"""Distances of a query to many rows: fast ones in float32 to choose by, and exact ones to answer with.

`ranks` orders rows as their distances do, in one matrix product: minus the inner product, or |x|^2 - 2 x.q for squared
L2. Rounding moves a rank by at most half of its `slack`, so the true nearest k are all among the rows whose rank is at
most the k-th's plus `slack`; `distances` then decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numkong
import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_server.catalog.index.checksums import Stopped
from twinset_server.catalog.index.labels import Places
from twinset_server.catalog.index.rows import Rows
from twinset_server.domain import Float32Array

Float64Array = NDArray[np.float64]
Ranks = NDArray[np.float32] | Float64Array

_UNIT_SLACK = 1e-5
_EPS = float(np.finfo(np.float32).eps)

_CHUNK = 1024
"""Rows turned to float64 at a time: 10 MB at 1,280 dimensions."""


class Ranked(NamedTuple):
    """`values` is `[N]`; two rows whose values differ by more than `slack` are surely in the right order."""

    values: Ranks
    slack: float


def ranks(rows: Rows, places: Places | slice, query: Float32Array, metric: Metric) -> Ranked:
    """Return the ranks of the rows at `places` to `query`, `[D]` float32."""
    vectors = rows.vectors[places] if isinstance(places, slice) else rows.vectors.take(places, axis=0, mode="clip")
    return ranks_of(vectors, rows.squares[places], query, metric)


def coarse_ranks(rows: Rows, places: Places | slice, query: Float32Array, metric: Metric) -> Ranked:
    """Return the same as `ranks` by the rows' bytes: several times as quick, with a larger slack."""
    if not rows.coarse.takes(query):
        return ranks(rows, places, query, metric)
    inner, error = rows.coarse.inner(query, places)
    return _coarsely_ranked(rows, places, inner, error, metric)


def coarse_ranks_of_each(rows: Rows, queries: Float32Array, metric: Metric) -> Ranked | None:
    """Return `[Q, N]` the `coarse_ranks` of all rows to each of the queries, `[Q, D]` float32.

    Together they take a tenth of the time of one by one. None where bytes don't do for one of the queries.
    """
    if not all(rows.coarse.takes(query) for query in queries):
        return None
    every = slice(0, rows.length)
    products, error = rows.coarse.inner_of_each(queries, every)
    return _coarsely_ranked(rows, every, products, error, metric)


def _coarsely_ranked(rows: Rows, places: Places | slice, inner: Float32Array, error: float, metric: Metric) -> Ranked:
    if metric is Metric.EUCLIDEAN:
        return Ranked(rows.squares[places] - 2 * inner, 4 * error + 8 * _EPS * rows.coarse.length**2)
    return Ranked(np.negative(inner, out=inner), 2 * error)


def ranks_of(vectors: Float32Array, squares: Float32Array, query: Float32Array, metric: Metric) -> Ranked:
    """Return the ranks of `vectors`, `[N, D]`, whose squared lengths are `squares`, to `query`, `[D]` float32."""
    lengths: Ranks = squares
    with np.errstate(over="ignore", invalid="ignore"):
        values: Ranks = _product(vectors @ query, lengths, metric)
        usable = bool(np.isfinite(values).all() and np.isfinite(lengths).all())
    if not usable:
        # Components beyond 1e19 are finite, but their squares are not in float32.
        parts = [chunk.astype(np.float64) for chunk in _chunks(vectors)]
        lengths = np.concatenate([np.einsum("nd,nd->n", part, part) for part in parts])
        values = _product(np.concatenate([part @ query.astype(np.float64) for part in parts]), lengths, metric)
    return Ranked(values, _slack(values.dtype, query, float(np.sqrt(lengths.max(initial=0.0))), metric))


def rank_at(distance: float, query: Float32Array, metric: Metric) -> float:
    """Return a rank that no row at `distance` of `query`, `[D]` float32, or nearer has above."""
    match metric:
        case Metric.COSINE:
            # Of vectors whose length is 1 up to the rounding of float32.
            return distance - 1 + _UNIT_SLACK
        case Metric.EUCLIDEAN:
            wide = query.astype(np.float64)
            return distance - float(wide @ wide)
        case Metric.INNER_PRODUCT:
            return distance


def nearest_ranks(
    vectors: Float32Array,
    squares: Float32Array,
    queries: Float32Array,
    metric: Metric,
    k: int,
    stopped: Callable[[], bool],
) -> Float32Array:
    """Return for each of `queries`, `[Q, D]`, the rank of its k-th nearest among all of `vectors`, finite in float32.

    Raises:
        Stopped: `stopped` returned True meanwhile.
    """
    best = np.full((len(queries), k), np.inf, np.float32)
    for start in range(0, len(vectors), _CHUNK):
        if stopped():
            raise Stopped
        span = slice(start, start + _CHUNK)
        values = _product(queries @ vectors[span].T, squares[span], metric)
        best = np.partition(np.concatenate([best, values.astype(np.float32)], axis=1), k - 1, axis=1)[:, :k]
    farthest: Float32Array = best.max(axis=1)
    return farthest


def distances(vectors: Float32Array, query: Float32Array, metric: Metric) -> Float64Array:
    """Return the distance of each row of `[N, D]` to `query`, computed in float64.

    Equal rows get equal distances wherever they stand. For unit vectors 1 - cos is half the squared L2 distance; in
    this form a vector is at distance 0 of itself, and none below.
    """
    if metric is Metric.INNER_PRODUCT:
        return -_compared(vectors, query, "dot")
    apart = _compared(vectors, query, "sqeuclidean")
    return _halved(apart) if metric is Metric.COSINE else apart


def _compared(vectors: Float32Array, query: Float32Array, how: Literal["dot", "sqeuclidean"]) -> Float64Array:
    # NumKong turns float32 into float64 before it computes: as exact as numpy on a copy, and five times as quick.
    found = np.empty((len(vectors), 1))
    if len(vectors):
        numkong.cdist(vectors, query[np.newaxis], how, out=found)
    return found[:, 0]


def distances_of_pairs(vectors: Float32Array, queries: Float32Array, metric: Metric) -> Float64Array:
    """Return `[P]`, what `distances` says of each row of `[P, D]` and the row beside it in `queries`, `[P, D]` too."""
    if not len(vectors):
        return np.empty(0)
    if metric is Metric.INNER_PRODUCT:
        return -np.asarray(numkong.dot(vectors, queries))
    apart = np.asarray(numkong.sqeuclidean(vectors, queries))
    return _halved(apart) if metric is Metric.COSINE else apart


def _halved(squares: Float64Array) -> Float64Array:
    squares *= 0.5
    np.minimum(squares, 2.0, out=squares)
    return squares


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
