"""A trained network folded into what serves: raw features and categories in, vectors to compare out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_exporter.training.compatibility.calibration import Platt
from twinset_exporter.training.compatibility.categories import UNKNOWN
from twinset_exporter.training.compatibility.network import OFFSET, SOURCE, TARGET, Floats, Network
from twinset_exporter.training.compatibility.whitening import Whitening

Numbers = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One side of an item, a linear function: `features @ known + category[number]`, or `alone` for `known` at 0.

    The last component is the bias of the item.

    Attributes:
        known: `[D, d + 1]` float32.
        alone: `[D, d + 1]` float32.
        category: `[C + 1, d + 1]` float32.
        ceiling: what the bias is cut off at where the metric needs that; above that of every training item.
    """

    known: Floats
    alone: Floats
    category: Floats
    ceiling: float

    def rows(self, features: Floats, categories: Numbers) -> Floats:
        """Return the side of items, bias behind, `[N, d + 1]` float32."""
        unknown = categories == UNKNOWN
        picture = np.empty((len(features), self.known.shape[1]), np.float32)
        picture[unknown] = features[unknown] @ self.alone
        picture[~unknown] = features[~unknown] @ self.known
        return picture + self.category[categories]


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Both sides, with vectors that compare by a metric alone.

    A vector carries its item's bias in two more components. By the inner product those are `(bias, 1)` at a source and
    `(1, bias)` at a target. By the Euclidean metric, which only takes away, they are `(sqrt(ceiling - bias), 0)` and
    `(0, sqrt(ceiling - bias))`, and the offset is higher by both ceilings.

    Attributes:
        metric: EUCLIDEAN or INNER_PRODUCT.
        source: of the pair.
        target: of the pair.
        offset: c, what is added to the similarity of two vectors.
        calibration: from those log odds to such of a sample of which half is true.
    """

    metric: Metric
    source: Side
    target: Side
    offset: float
    calibration: Platt

    @property
    def dimension(self) -> int:
        """Components of a vector."""
        return int(self.source.known.shape[1]) + 1

    def vectors(self, side: str, features: Floats, categories: Numbers) -> Floats:
        """Return the vectors of items, `[N, dimension]` float32.

        Args:
            side: SOURCE or TARGET.
            features: `[N, D]`.
            categories: `[N]`, 0 where unknown.
        """
        of = self.source if side == SOURCE else self.target
        rows = of.rows(features, categories)
        carried, constant = rows[:, -1:], np.ones((len(rows), 1), np.float32)
        if self.metric is Metric.EUCLIDEAN:
            carried, constant = np.sqrt(np.maximum(of.ceiling - carried, 0)), 0 * constant
        extra = (carried, constant) if side == SOURCE else (constant, carried)
        return np.hstack((rows[:, :-1], *extra)).astype(np.float32)

    def log_odds(self, sources: Floats, targets: Floats) -> NDArray[np.float64]:
        """Return the calibrated log odds of `[N]` pairs of vectors where half of all pairs are true."""
        if self.metric is Metric.EUCLIDEAN:
            near = -np.square(sources - targets, dtype=np.float64).sum(axis=1)
        else:
            near = np.multiply(sources, targets, dtype=np.float64).sum(axis=1)
        return self.calibration.apply(near + self.offset)


def fold(
    network: Network,
    weights: Mapping[str, Floats],
    whitening: Whitening,
    metric: Metric,
    known: Platt,
    alone: Platt,
    features: Floats,
    categories: Numbers,
) -> Sides:
    """Return what serves.

    Sides without a category are stretched and shifted so that one calibration, that of pairs whose categories are
    known, is right for pairs of them too; a pair of one such and one other lies between.

    Args:
        network: the form of what was trained.
        weights: its weights.
        whitening: from features to what it was trained on.
        metric: EUCLIDEAN or INNER_PRODUCT.
        known: calibration of pairs whose categories are known.
        alone: calibration of pairs without categories.
        features: `[N, D]` of the training items, of which no bias is cut off.
        categories: `[N]` of them.
    """
    offset = float(weights[OFFSET][0])
    stretch = math.sqrt(alone.scale / known.scale)
    shift = 0.5 * ((stretch**2 - 1) * offset + (alone.shift - known.shift) / known.scale)
    sides = {}
    for side in (SOURCE, TARGET):
        of_known, of_alone = network.picture_weights(weights, side)
        category = network.category_rows(weights, side)
        scale = np.full(category.shape[1], stretch, np.float32)
        scale[-1] = stretch**2
        mean = whitening.mean @ whitening.matrix
        category -= mean @ of_known
        category[UNKNOWN] += mean @ (of_known - of_alone)
        category[UNKNOWN] *= scale
        category[UNKNOWN, -1] += np.float32(shift)
        folded = Side(whitening.matrix @ of_known, (whitening.matrix @ of_alone) * scale, category, 0.0)
        if metric is Metric.EUCLIDEAN:
            unknown = np.zeros_like(categories)
            highest = max(float(folded.rows(features, given)[:, -1].max()) for given in (categories, unknown))
            folded = Side(folded.known, folded.alone, folded.category, highest)
        offset += folded.ceiling
        sides[side] = folded
    return Sides(metric, sides[SOURCE], sides[TARGET], offset, known)
