"""Pairs that judge: true ones that training never saw, and as many others.

Pairs of groups, such as rooms, count where their items are of different categories and look different. What isn't
listed is unknown, not false, as nobody said that two items of different rooms clash; here it is taken for false.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.training.compatibility.categories import UNKNOWN
from twinset_exporter.training.compatibility.relation import Relation

Places = NDArray[np.integer[Any]]

_TRIES = 200


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Pairs, as a rule half of them true.

    Attributes:
        sources: `[N]` int32.
        targets: `[N]` int32.
        truths: `[N]` bool.
    """

    sources: NDArray[np.int32]
    targets: NDArray[np.int32]
    truths: NDArray[np.bool_]

    def both_ways(self) -> Sample:
        """Return the pairs, then the pairs reversed."""
        return Sample(
            np.concatenate((self.sources, self.targets)),
            np.concatenate((self.targets, self.sources)),
            np.tile(self.truths, 2),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """What pairs may judge, and what is known of them.

    Attributes:
        true: all pairs known to be true, in training or not, both ways where the relation has no direction.
        categories: `[N]` of all items, 0 where unknown.
        looks: `[N]`: items of one number have the same picture.
        across: whether only pairs of different categories count.
    """

    true: Relation
    categories: Places
    looks: Places
    across: bool

    def counts(self, sources: Places, targets: Places) -> NDArray[np.bool_]:
        """Return which pairs count at all, `[B]`."""
        counted = self.looks[sources] != self.looks[targets]
        if self.across:
            first, second = self.categories[sources], self.categories[targets]
            counted &= (first != second) | (first == UNKNOWN)
        return np.asarray(counted)

    def at_random(self, sources: Places, targets: Places, items: Places, *, seed: int) -> Sample:
        """Return true pairs, and as many of two items drawn uniformly.

        Args:
            sources: `[P]` of true pairs, those that don't count left out.
            targets: `[P]`.
            items: what is drawn from.
            seed: of the draws.

        Raises:
            ValueError: hardly any pair of the items counts and isn't true.
        """
        rng = np.random.default_rng(seed)
        wanted, drawn = len(sources), [np.empty((2, 0), np.int32)]
        for _ in range(_TRIES):
            first, second = rng.choice(items, (2, wanted))
            fit = self.counts(first, second) & ~self.true.holds(first, second)
            drawn.append(np.stack((first[fit], second[fit])))
            if sum(part.shape[1] for part in drawn) >= wanted:
                return _sample(sources, targets, *np.concatenate(drawn, axis=1)[:, :wanted])
        raise ValueError(f"of {len(items)} items hardly two count and aren't true: nothing to tell true pairs from")

    def of_the_same_categories(self, sources: Places, targets: Places, items: Places, *, seed: int) -> Sample:
        """Return true pairs, and for each one of the same two categories; those that have no such pair are left out.

        Args:
            sources: `[P]` of true pairs.
            targets: `[P]`.
            items: what is drawn from.
            seed: of the draws.
        """
        rng = np.random.default_rng(seed)
        of_category: dict[int, list[int]] = defaultdict(list)
        for item in items.tolist():
            of_category[int(self.categories[item])].append(item)
        kept, drawn = [], []
        for place, (source, target) in enumerate(zip(sources.tolist(), targets.tolist(), strict=True)):
            like_source, like_target = (
                np.array(of_category[int(self.categories[item])] or [item]) for item in (source, target)
            )
            first = np.repeat(like_source, len(like_target))
            second = np.tile(like_target, len(like_source))
            fit = np.flatnonzero(self.counts(first, second) & ~self.true.holds(first, second) & (first != second))
            if len(fit):
                chosen = rng.choice(fit)
                kept.append(place)
                drawn.append((first[chosen], second[chosen]))
        others = np.array(drawn, np.int32).reshape(-1, 2).T
        return _sample(sources[kept], targets[kept], others[0], others[1])


def _sample(sources: Places, targets: Places, other_sources: Places, other_targets: Places) -> Sample:
    return Sample(
        np.concatenate((sources, other_sources)).astype(np.int32),
        np.concatenate((targets, other_targets)).astype(np.int32),
        np.repeat((True, False), (len(sources), len(other_sources))),
    )
