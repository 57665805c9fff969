"""What a compatibility head is trained on: items, and which of them go together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.datasets.groups import Groups
from twinset_exporter.datasets.pairs import Pairs
from twinset_exporter.training.compatibility.judging import Judge, Sample
from twinset_exporter.training.compatibility.network import Floats
from twinset_exporter.training.compatibility.relation import Relation
from twinset_exporter.training.compatibility.sampling import CategoryIndex

Places = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """All items that have features.

    Attributes:
        ids: N of them.
        features: `[N, D]` float32, which may be mapped from a file.
        categories: `[N]` int32, counting `names` from 1, 0 where unknown.
        names: C names of categories.
        looks: `[N]`: items of one number have the same picture.
    """

    ids: tuple[str, ...]
    features: Floats
    categories: NDArray[np.int32]
    names: tuple[str, ...]
    looks: Places


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """True pairs to train on, and pairs that judge, of which training knows nothing.

    Attributes:
        true: what is trained on.
        items: `[M]`, those that other pairs are drawn from: the items of the training part.
        validation: pairs that judge, in the direction or directions that count; None where nothing is held back.
    """

    true: Relation
    items: NDArray[np.int64]
    validation: Sample | None


def same_looks(features: Floats) -> NDArray[np.int64]:
    """Return a number for each row, `[N]` int64: equal rows, which equal pictures have, have one number."""
    # Digests, as sorting rows of 16 KB each would take as much memory again as the features.
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(hashlib.sha256(row.tobytes()).digest(), len(seen)) for row in features], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Rooms:
    """Groups of items that go together in both directions, such as rooms; its pairs are of different categories.

    Attributes:
        groups: their items numbered as those of `items`.
        items: all of them.
    """

    groups: Groups
    items: Items

    def judge(self) -> Judge:
        """Return what pairs may judge: none that any group shows together counts as false."""
        pairs = self.groups.pairs()
        known = Relation(pairs.left, pairs.right, len(self.items.ids)).both_ways()
        return Judge(known, self.items.categories, self.items.looks, across=True)

    def part(self, train: Places, held_out: Places, *, seed: int) -> Examples:
        """Return the pairs of some groups to train on, and those of others, new ones only, to validate with.

        Args:
            train: places of groups.
            held_out: places of groups; none for no validation.
            seed: of the pairs that are drawn.
        """
        true = self.true(train)
        validation = None
        if len(held_out):
            validation = self.sample(true, held_out, seed=seed).both_ways()
        return Examples(true, self._items(train), validation)

    def true(self, train: Places) -> Relation:
        """Return the pairs of groups, both ways, of those that count."""
        pairs = self.groups.of(train).pairs()
        counted = self.judge().counts(pairs.left, pairs.right)
        return Relation(pairs.left[counted], pairs.right[counted], len(self.items.ids)).both_ways()

    def sample(self, known: Relation, held_out: Places, *, seed: int, same_categories: bool = False) -> Sample:
        """Return the pairs of held-out groups that `known` doesn't hold, and as many others among their items.

        Args:
            known: what is trained on.
            held_out: places of groups.
            seed: of the others.
            same_categories: whether the others have the two categories of a true pair each.

        Raises:
            ValueError: the groups show nothing new, or nothing but what goes together.
        """
        judge, pairs = self.judge(), self.groups.of(held_out).pairs()
        new = judge.counts(pairs.left, pairs.right) & ~known.holds(pairs.left, pairs.right)
        if not new.any():
            raise ValueError(f"the {len(held_out)} groups held out show no pair that training doesn't know")
        draw = judge.of_the_same_categories if same_categories else judge.at_random
        return draw(pairs.left[new], pairs.right[new], self._items(held_out), seed=seed)

    def _items(self, groups: Places) -> NDArray[np.int64]:
        return np.unique(self.groups.of(groups).items).astype(np.int64)


def of_pairs(
    train: Pairs, validation: Pairs | None, items: Items, *, seed: int, same_category: bool = False
) -> Examples:
    """Return directed pairs to train on, and others to validate with, each with an item in place of its target.

    Args:
        train: numbered as `items`.
        validation: numbered as `items`; None for no validation.
        items: all of them.
        seed: of the items in place of targets.
        same_category: whether such an item is of the target's category, and not any.
    """
    true = Relation(train.left, train.right, len(items.ids))
    among = np.unique(np.concatenate((train.left, train.right))).astype(np.int64)
    if validation is None:
        return Examples(true, among, None)
    rng = np.random.default_rng(seed)
    every = np.arange(len(items.ids))
    others = (
        CategoryIndex(items.categories, every).draw(validation.right, rng)
        if same_category
        else rng.integers(len(every), size=len(validation)).astype(np.int32)
    )
    known = Relation(
        np.concatenate((train.left, validation.left)), np.concatenate((train.right, validation.right)), len(items.ids)
    )
    kept = ~known.holds(validation.left, others) & (others != validation.left)
    sample = Sample(
        np.tile(validation.left[kept], 2),
        np.concatenate((validation.right[kept], others[kept])),
        np.repeat((True, False), int(kept.sum())),
    )
    return Examples(true, among, sample)


def named(categories: Sequence[str]) -> tuple[str, ...]:
    """Return the names among `categories`, each once, sorted; the empty one means unknown."""
    return tuple(sorted(set(categories) - {""}))
