"""Recommendations by brute force, as the manual's formulas say: the oracle of every expectation about scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twinset.contract import Metric

Catalogue = Mapping[str, Mapping[str, Sequence[np.ndarray]]]
"""The vectors of items by id, then by space."""


@dataclass(frozen=True)
class Wish:
    """An example: the space that it is compared in, its vector there, and its weight."""

    space: str
    vector: np.ndarray
    weight: float


def similarity(metric: Metric, a: np.ndarray, b: np.ndarray) -> float:
    """Return the cosine, the negative squared distance, or the inner product."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    match metric:
        case Metric.COSINE:
            return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))
        case Metric.EUCLIDEAN:
            return -float(((a - b) ** 2).sum())
        case Metric.INNER_PRODUCT:
            return float(a @ b)


def percentile(x: float, background: Sequence[float]) -> float:
    """Return the share of `background` that is less than `x`, by the rules of `Percentiles`."""
    if not background:
        return 0.5
    n, points = len(background), sorted(set(background))
    shares = [np.mean([j + 1 for j, value in enumerate(sorted(background)) if value == p]) / (n + 1) for p in points]
    middle = float(np.interp(0.5, shares, points))
    if x > points[-1]:
        scale = points[-1] - middle or 1.0
        return float(1 - (1 - shares[-1]) / (1 + (x - points[-1]) / scale))
    if x < points[0]:
        scale = middle - points[0] or 1.0
        return float(shares[0] / (1 + (points[0] - x) / scale))
    return float(np.interp(x, points, shares))


def scores(catalogue: Catalogue, metrics: Mapping[str, Metric], wishes: Sequence[Wish]) -> dict[str, float]:
    """Return the score of every item that has a vector in one of the spaces."""
    total = sum(abs(wish.weight) for wish in wishes)
    spaces = list(dict.fromkeys(wish.space for wish in wishes))
    found = {}
    for item_id, vectors in catalogue.items():
        if not any(vectors.get(space) for space in spaces):
            continue
        score = 0.0
        for space in spaces:
            here = [wish for wish in wishes if wish.space == space]
            if not vectors.get(space):
                score += sum(wish.weight * 0.5 for wish in here)
                continue
            score += max(
                sum(wish.weight * _counted(catalogue, metrics, wish, vector, len(spaces) > 1) for wish in here)
                for vector in vectors[space]
            )
        found[item_id] = score / total
    return found


def _counted(
    catalogue: Catalogue, metrics: Mapping[str, Metric], wish: Wish, vector: np.ndarray, several: bool
) -> float:
    metric = metrics[wish.space]
    own = similarity(metric, wish.vector, vector)
    if not several:
        return own
    everything = [one for vectors in catalogue.values() for one in vectors.get(wish.space, ())]
    return percentile(own, [similarity(metric, wish.vector, one) for one in everything])
