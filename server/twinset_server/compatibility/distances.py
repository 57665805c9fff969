"""Distances between sides: of listed pairs, or of all with all. A side with several vectors counts by the nearest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinset_server.compatibility.sides import Numbers, SideVectors
from twinset_server.domain import Float32Array, Metric

Float64Array = NDArray[np.float64]

_BLOCK = 1 << 18
"""Components of one side compared at a time: 1 MiB, so that what is gathered stays in the cache."""

_ROWS = 1 << 16
"""Rows compared at a time where sides have several."""


def pair_distances(
    metric: Metric, source: SideVectors, target: SideVectors, left: Numbers, right: Numbers
) -> Float32Array:
    """Return `[P]` float32, lower is better: the distance of each pair, NaN where a side has no vector.

    Args:
        metric: Euclidean, |a - b|^2, or inner product, -<a, b>.
        source: vectors of the sides as sources.
        target: the same as targets.
        left: `[P]`, which side is each pair's source.
        right: `[P]`, which is its target.
    """
    left_counts, right_counts = source.counts[left], target.counts[right]
    compared = left_counts * right_counts
    found = np.full(len(left), np.nan, np.float32)
    scored = np.flatnonzero(compared)
    if not len(scored):
        return found
    left_rows, right_rows = source.starts[left[scored]], target.starts[right[scored]]
    if compared.max() == 1:
        found[scored] = _row_distances(metric, source.values, target.values, left_rows, right_rows)
        return found
    # Pairs of items with many pictures are compared a few at a time: 16 with 16 are 256 rows.
    ends = np.cumsum(compared[scored])
    for part in np.split(np.arange(len(scored)), np.flatnonzero(np.diff(ends // _ROWS)) + 1):
        chosen = scored[part]
        found[chosen] = _nearest(
            metric, source, target, left_rows[part], right_rows[part], left_counts[chosen], right_counts[chosen]
        )
    return found


def _nearest(
    metric: Metric,
    source: SideVectors,
    target: SideVectors,
    left_rows: Numbers,
    right_rows: Numbers,
    left_counts: Numbers,
    right_counts: Numbers,
) -> Float32Array:
    """Return `[P]` the least distance of each pair: of so many rows from one on, to so many others."""
    repeats = left_counts * right_counts
    begins = np.cumsum(repeats) - repeats
    within = np.arange(repeats.sum()) - np.repeat(begins, repeats)
    rows, columns = np.divmod(within, np.repeat(right_counts, repeats))
    distances = _row_distances(
        metric,
        source.values,
        target.values,
        np.repeat(left_rows, repeats) + rows,
        np.repeat(right_rows, repeats) + columns,
    )
    return np.asarray(np.minimum.reduceat(distances, begins))


def all_distances(metric: Metric, source: Float32Array, target: Float32Array) -> Float64Array:
    """Return `[N, M]` the distance of each of `source`, `[N, D]`, to each of `target`, `[M, D]`."""
    a, b = source.astype(np.float64), target.astype(np.float64)
    inner: Float64Array = a @ b.T
    if metric is Metric.INNER_PRODUCT:
        return -inner
    squares = np.einsum("nd,nd->n", a, a)[:, None] + np.einsum("md,md->m", b, b)[None]
    return np.asarray(np.maximum(squares - 2 * inner, 0.0))


def side_distances(metric: Metric, source: SideVectors, target: SideVectors) -> Float64Array:
    """Return `[N, M]` the distance of each side to each other; every side has a vector."""
    rows = all_distances(metric, source.values, target.values)
    if not rows.size:
        return np.empty((len(source.counts), len(target.counts)))
    nearest: Float64Array = np.minimum.reduceat(rows, source.starts[:-1], axis=0)
    return np.asarray(np.minimum.reduceat(nearest, target.starts[:-1], axis=1))


def _row_distances(
    metric: Metric, source: Float32Array, target: Float32Array, left: Numbers, right: Numbers
) -> Float32Array:
    found = np.empty(len(left), np.float32)
    step = max(1, _BLOCK // source.shape[1])
    # The square of a large component overflows to infinity, which is as far as can be.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(left), step):
            block = slice(start, start + step)
            a, b = source[left[block]], target[right[block]]
            if metric is Metric.INNER_PRODUCT:
                np.einsum("nd,nd->n", a, b, out=found[block])
            else:
                a -= b
                np.einsum("nd,nd->n", a, a, out=found[block])
    return -found if metric is Metric.INNER_PRODUCT else found
