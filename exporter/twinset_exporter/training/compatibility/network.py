"""The two sides of an item: what it asks of a partner, and what it offers as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.training.adam import Arrays
from twinset_exporter.training.compatibility.categories import UNKNOWN

SOURCE, TARGET = "source", "target"
OFFSET = "offset"

Floats = NDArray[np.float32]
Numbers = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """How the sides of an item follow from its encoded features and its category; its weights lie outside.

    A side is `features @ picture + category`, a vector with the bias of the item as its last component. Pictures have
    weights of their own for items without a category: there they must say too what the category would.

    Attributes:
        features: K of the encoded rows.
        descriptors: `[C + 1, Q]` float32, what the weights of each category are made of, 0 being the unknown.
        dimension: of a side, without its bias.
        tied: whether both sides are one, so that no pair differs from its reverse.
    """

    features: int
    descriptors: Floats
    dimension: int
    tied: bool = False

    def initial(self, deviation: float, rng: np.random.Generator) -> Arrays:
        """Return weights drawn from a normal distribution around 0; biases begin at 0."""
        weights: Arrays = {OFFSET: np.zeros(1, np.float32)}
        for side in (SOURCE,) if self.tied else (SOURCE, TARGET):
            for name, inputs in (("known", self.features), ("alone", self.features), ("category", self._descriptors)):
                drawn = rng.standard_normal((inputs, self.dimension + 1), dtype=np.float32) * np.float32(deviation)
                drawn[:, -1] = 0
                weights[self._name(side, name)] = drawn
        return weights

    def side(self, weights: Mapping[str, Floats], side: str, rows: Floats, categories: Numbers) -> Floats:
        """Return one side of items, `[N, dimension + 1]` float32.

        Args:
            weights: as `initial` returns them.
            side: SOURCE or TARGET.
            rows: `[N, K]` encoded features.
            categories: `[N]`, 0 where unknown.
        """
        known, alone = self.picture_weights(weights, side)
        unknown = categories == UNKNOWN
        answer = self.category_rows(weights, side)[categories]
        answer[~unknown] += rows[~unknown] @ known
        answer[unknown] += rows[unknown] @ alone
        return answer

    def gradients(self, side: str, rows: Floats, categories: Numbers, slopes: Floats) -> Arrays:
        """Return the gradients of one side's weights.

        Args:
            side: SOURCE or TARGET.
            rows: `[N, K]` encoded features.
            categories: `[N]`.
            slopes: `[N, dimension + 1]`, the gradient of what `side` returned for them.
        """
        unknown = categories == UNKNOWN
        of_category = summed(slopes, categories, len(self.descriptors))
        return {
            self._name(side, "known"): rows[~unknown].T @ slopes[~unknown],
            self._name(side, "alone"): rows[unknown].T @ slopes[unknown],
            self._name(side, "category"): self.descriptors.T @ of_category,
        }

    def picture_weights(self, weights: Mapping[str, Floats], side: str) -> tuple[Floats, Floats]:
        """Return those of items with a category and those of items without, `[K, dimension + 1]` each."""
        return weights[self._name(side, "known")], weights[self._name(side, "alone")]

    def category_rows(self, weights: Mapping[str, Floats], side: str) -> Floats:
        """Return what each category adds to a side, `[C + 1, dimension + 1]`, first that of the unknown."""
        return np.asarray(self.descriptors @ weights[self._name(side, "category")])

    @property
    def _descriptors(self) -> int:
        return int(self.descriptors.shape[1])

    def _name(self, side: str, name: str) -> str:
        return f"{SOURCE if self.tied else side}/{name}"


def summed(rows: Floats, places: Numbers, count: int) -> Floats:
    """Return `[count, W]` float32: at each place the sum of the `[N, W]` rows that belong there."""
    total = np.zeros((count, rows.shape[1]), np.float32)
    if len(places):
        order = np.argsort(places, kind="stable")
        starts = np.flatnonzero(np.diff(places[order], prepend=-1))
        total[places[order[starts]]] = np.add.reduceat(rows[order], starts, axis=0)
    return total
