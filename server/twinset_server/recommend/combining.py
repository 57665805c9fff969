"""Several examples of one space as one search.

With weights w and examples e, an item's vector v has the score sum(w s(e, v)) / W, where W = sum(|w|). The similarity s
is the cosine, the inner product, or the negative squared distance. In the first two it is linear in v: the score is
that of the one vector sum(w e). In the third, with A = sum(w) above 0, b = sum(w e) and C = sum(w |e|^2),

    sum(-w |e - v|^2) = -A |v - b / A|^2 + |b|^2 / A - C

so that the nearest to the centroid b / A are the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinset_server.domain import Float32Array, Metric
from twinset_server.errors import InvalidRequest
from twinset_server.scoring import distance_of, score_of

_CANCELLED = 1e-6
"""Of the weights' sum: a shorter vector is what rounding leaves of examples that cancel each other out."""


class Combined(NamedTuple):
    """The search for the best items by several examples of one space.

    Attributes:
        query: `[D]` float32, of unit length where the metric is cosine.
        metric: the space's.
        factor: what a similarity to the query counts in the score; above 0.
        constant: what the score is besides.
    """

    query: Float32Array
    metric: Metric
    factor: float = 1.0
    constant: float = 0.0

    def score(self, distance: float) -> float:
        """Return the score of what lies at `distance` from the query."""
        return self.factor * score_of(self.metric, distance) + self.constant

    def distance(self, score: float) -> float:
        """Return how far what has this score is from the query."""
        return distance_of(self.metric, (score - self.constant) / self.factor)


def combine(vectors: Sequence[Float32Array], weights: Sequence[float], metric: Metric) -> Combined | None:
    """Return the one search for several examples; None where no search finds the best items.

    That is so in a Euclidean space whose weights add up to 0 or less: the best are far away then.

    Args:
        vectors: one or more, `[D]` float32, of unit length where the metric is cosine.
        weights: as many, finite, none of them 0.
        metric: the space's.
    Raises:
        InvalidRequest: the examples cancel each other out, so that every item has the same score.
    """
    # In float64, and with weights of sum 1: neither huge weights nor huge vectors overflow.
    stacked = np.asarray(vectors, np.float64)
    shares = shares_of(weights)
    point = shares @ stacked
    match metric:
        case Metric.COSINE:
            length = float(np.linalg.norm(point))
            if length <= _CANCELLED:
                raise InvalidRequest(
                    "examples", "cancel each other out: their weighted directions add up to nothing to search for"
                )
            return Combined((point / length).astype(np.float32), metric, length)
        case Metric.INNER_PRODUCT:
            return Combined(point.astype(np.float32), metric)
        case Metric.EUCLIDEAN:
            total = float(shares.sum())
            if total <= _CANCELLED:
                return None
            squares = float(shares @ np.einsum("nd,nd->n", stacked, stacked))
            return Combined((point / total).astype(np.float32), metric, total, float(point @ point) / total - squares)


def shares_of(weights: Sequence[float]) -> NDArray[np.float64]:
    """Return `[N]` what the similarity to each example counts in the score: its weight over the sum of all sizes."""
    # By the largest first: the sum of huge ones isn't finite.
    scaled = np.asarray(weights, np.float64) / max(abs(weight) for weight in weights)
    shares: NDArray[np.float64] = scaled / np.abs(scaled).sum()
    return shares
