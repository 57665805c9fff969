"""A trained network as it serves: features and categories in, vectors to compare out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_exporter.training.compatibility.calibration import Platt
from twinset_exporter.training.compatibility.categories import UNKNOWN
from twinset_exporter.training.compatibility.encoding import Encoding
from twinset_exporter.training.compatibility.network import OFFSET, SOURCE, TARGET, Floats, Network

Numbers = NDArray[np.integer[Any]]

SMALLEST_SQUARE = 0.01
"""What is left below a square root where a bias is the highest: the root of nothing but a rounding error of 1e-7 would
be 3e-4, more than a served model may be apart from its original; with this it is below 1e-6."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One side of an item: `row @ known + category[number]`, or with `alone` for `known` where that number is 0.

    The last component is the bias of the item.

    Attributes:
        known: `[K, d + 1]` float32, K being that of encoded rows.
        alone: `[K, d + 1]` float32.
        category: `[C + 1, d + 1]` float32.
        ceiling: what the bias is taken from where the metric needs that: `SMALLEST_SQUARE` above the highest of a
            training item, where it is cut off.
    """

    known: Floats
    alone: Floats
    category: Floats
    ceiling: float = 0.0

    def of(self, rows: Floats, categories: Numbers) -> Floats:
        """Return the side of items, bias behind, `[N, d + 1]` float32; `rows` are encoded, `[N, K]`."""
        unknown = categories == UNKNOWN
        picture = np.empty((len(rows), self.known.shape[1]), np.float32)
        picture[unknown] = rows[unknown] @ self.alone
        picture[~unknown] = rows[~unknown] @ self.known
        return picture + self.category[categories]


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Both sides, with vectors that compare by a metric alone.

    A vector carries its item's bias in two more components. By the inner product those are `(bias, 1)` at a source and
    `(1, bias)` at a target. By the Euclidean metric, which only takes away, they are `(sqrt(ceiling - bias), 0)` and
    `(0, sqrt(ceiling - bias))`, and the offset is higher by both ceilings.

    Attributes:
        metric: EUCLIDEAN or INNER_PRODUCT.
        encoding: of features.
        source: of the pair.
        target: of the pair.
        offset: c, what is added to the similarity of two vectors.
        calibration: from those log odds to such of a sample of which half is true.
    """

    metric: Metric
    encoding: Encoding
    source: Side
    target: Side
    offset: float
    calibration: Platt

    @property
    def dimension(self) -> int:
        """Components of a vector."""
        return int(self.source.known.shape[1]) + 1

    def vectors(self, features: Floats, categories: Numbers) -> tuple[Floats, Floats]:
        """Return the vectors of items as sources and as targets, `[N, dimension]` float32 each.

        Args:
            features: `[N, D]`.
            categories: `[N]`, 0 where unknown.
        """
        rows = self.encoding.rows(features)
        source, target = self.source.of(rows, categories), self.target.of(rows, categories)
        carried = [source[:, -1:], target[:, -1:]]
        constant = np.ones_like(carried[0])
        if self.metric is Metric.EUCLIDEAN:
            ceilings = self.source.ceiling, self.target.ceiling
            squares = [high - bias for high, bias in zip(ceilings, carried, strict=True)]
            carried = [np.sqrt(np.maximum(square, SMALLEST_SQUARE)) for square in squares]
            constant = np.zeros_like(constant)
        return (
            np.hstack((source[:, :-1], carried[0], constant)).astype(np.float32),
            np.hstack((target[:, :-1], constant, carried[1])).astype(np.float32),
        )

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
    encoding: Encoding,
    metric: Metric,
    known: Platt,
    alone: Platt,
    rows: Floats,
    categories: Numbers,
) -> Sides:
    """Return what serves.

    Sides without a category are stretched and shifted so that one calibration, that of pairs whose categories are
    known, is right for pairs of them too; a pair of one such and one other lies between.

    Args:
        network: the form of what was trained.
        weights: its weights.
        encoding: from features to what it was trained on.
        metric: EUCLIDEAN or INNER_PRODUCT.
        known: calibration of pairs whose categories are known.
        alone: calibration of pairs without categories.
        rows: `[N, K]` encoded, of the training items, of which no bias is cut off.
        categories: `[N]` of them.
    """
    offset = float(weights[OFFSET][0])
    stretch = math.sqrt(alone.scale / known.scale)
    shift = 0.5 * ((stretch**2 - 1) * offset + (alone.shift - known.shift) / known.scale)
    sides = {}
    for name in (SOURCE, TARGET):
        of_known, of_alone = network.picture_weights(weights, name)
        category = network.category_rows(weights, name)
        scale = np.full(category.shape[1], stretch, np.float32)
        scale[-1] = stretch**2
        category[UNKNOWN] *= scale
        category[UNKNOWN, -1] += np.float32(shift)
        side = Side(of_known, of_alone * scale, category)
        if metric is Metric.EUCLIDEAN:
            unknown = np.full_like(categories, UNKNOWN)
            highest = max(float(side.of(rows, given)[:, -1].max()) for given in (categories, unknown))
            side = replace(side, ceiling=highest + SMALLEST_SQUARE)
        offset += side.ceiling
        sides[name] = side
    return Sides(metric, encoding, sides[SOURCE], sides[TARGET], offset, known)
