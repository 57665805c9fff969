"""Batches of true pairs, and pairs to tell them from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.training.compatibility.categories import UNKNOWN
from twinset_exporter.training.compatibility.relation import Relation

Places = NDArray[np.integer[Any]]

_FEWEST_STEPS = 12


class CategoryIndex:
    """The items of each category, to draw one like another.

    Args:
        categories: `[N]`, 0 where unknown.
        among: places of the items that may be drawn.
    """

    def __init__(self, categories: Places, among: Places) -> None:
        self._categories = categories
        self._items = among[np.argsort(categories[among], kind="stable")]
        self._starts = np.searchsorted(categories[self._items], np.arange(int(categories.max(initial=0)) + 2))

    def draw(self, like: Places, rng: np.random.Generator) -> NDArray[np.int32]:
        """Return an item of the category of each of `[B]` items, `[B]` int32.

        That is the item itself where it has no category, or where nothing else of it may be drawn.
        """
        category = self._categories[like]
        first, last = self._starts[category], self._starts[category + 1]
        alone = (category == UNKNOWN) | (last <= first)
        place = first + (rng.random(len(like)) * (last - first)).astype(np.int64)
        return np.where(alone, like, self._items[np.where(alone, 0, place)]).astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """True pairs, and what to tell them from.

    Attributes:
        sources: `[B]` of true pairs.
        targets: `[B]` of true pairs.
        alike: `[B]`, an item of each target's category.
        other_sources: `[R]`, drawn uniformly.
        other_targets: `[R]`, drawn uniformly.
    """

    sources: Places
    targets: Places
    alike: Places
    other_sources: Places
    other_targets: Places


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws the batches of epochs.

    Attributes:
        pairs: the true ones.
        items: `[N]` places of the items that negatives are drawn from.
        index: of their categories.
        batch: B, true pairs at a time, at most.
        others: R, items of either side that are drawn beside them.
    """

    pairs: Relation
    items: Places
    index: CategoryIndex
    batch: int
    others: int

    @property
    def steps(self) -> int:
        """Batches in an epoch; each true pair is in one. A few pairs make more and smaller batches."""
        return max(min(_FEWEST_STEPS, len(self.pairs)), -(-len(self.pairs) // self.batch))

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        for chosen in np.array_split(rng.permutation(len(self.pairs)), self.steps):
            targets = self.pairs.targets[chosen]
            yield Batch(
                self.pairs.sources[chosen],
                targets,
                self.index.draw(targets, rng),
                self._others(rng),
                self._others(rng),
            )

    def _others(self, rng: np.random.Generator) -> Places:
        if self.others >= len(self.items):
            return self.items
        return self.items[rng.integers(len(self.items), size=self.others)]
