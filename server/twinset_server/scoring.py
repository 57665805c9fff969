"""Distances to scores, and callers' vectors into spaces: the one place that knows what a metric means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twinset_server.domain import Float32Array, Metric, Space, Vector, length_of
from twinset_server.errors import BadVector, FingerprintMismatch


def score_of(metric: Metric, distance: float) -> float:
    """Return the score, higher is better, of a `distance`, lower is better."""
    return 1.0 - distance if metric is Metric.COSINE else -distance


def scores_of(metric: Metric, distances: Sequence[float]) -> list[float]:
    """Return the score of each distance."""
    return [1.0 - one for one in distances] if metric is Metric.COSINE else [-one for one in distances]


def distance_of(metric: Metric, score: float) -> float:
    """Return the distance that has this score."""
    return 1.0 - score if metric is Metric.COSINE else -score


def admit(vector: Vector, space: Space, field: str) -> Float32Array:
    """Return the vector's values, `[D]` float32, ready for `space`: of unit length where its metric is cosine.

    Raises:
        BadVector: the dimension is wrong, a component isn't finite, or the length is 0 in a cosine space.
        FingerprintMismatch: the vector names another fingerprint than the space's.
    """
    if vector.fingerprint is None and (space.model is not None or space.generation is not None):
        filled_by = "a model" if space.generation is None else "imported factors"
        raise BadVector(
            f"{field}.fingerprint",
            f"is missing: the space {space.name!r} is filled by {filled_by}, so a vector must name {space.fingerprint}",
        )
    if vector.fingerprint is not None and vector.fingerprint != space.fingerprint:
        raise FingerprintMismatch(
            f"{field}.fingerprint", given=vector.fingerprint, expected=space.fingerprint, space=space.name
        )
    values = vector.values
    if values.shape != (space.dimension,):
        raise BadVector(
            f"{field}.values", f"has {values.size} components, the space {space.name!r} has {space.dimension}"
        )
    length = length_of(values)
    if not math.isfinite(length):
        raise BadVector(f"{field}.values", f"component {int(np.argmin(np.isfinite(values)))} is not a finite number")
    if space.metric is not Metric.COSINE:
        return values
    if length == 0:
        raise BadVector(f"{field}.values", f"has length 0, which has no direction in the cosine space {space.name!r}")
    return (values / np.float64(length)).astype(np.float32)


def similarities(vectors: Float32Array, queries: Float32Array, metric: Metric) -> NDArray[np.float64]:
    """Return `[R, Q]` float64, how similar each vector is to each query: `score_of` the catalogue's distance.

    Args:
        vectors: `[R, D]` float32, of unit length where the metric is cosine.
        queries: `[Q, D]` float32, likewise.
        metric: the space's.
    """
    rows, columns = vectors.astype(np.float64), queries.astype(np.float64)
    products: NDArray[np.float64] = rows @ columns.T
    if metric is Metric.INNER_PRODUCT:
        return products
    apart = np.einsum("rd,rd->r", rows, rows)[:, None] + np.einsum("qd,qd->q", columns, columns) - 2 * products
    # As the catalogue has it: for unit vectors 1 - cos is half the squared distance, and 0 between equal ones.
    np.maximum(apart, 0, out=apart)
    found: NDArray[np.float64] = 1 - np.minimum(apart / 2, 2) if metric is Metric.COSINE else -apart
    return found
