"""Which pairs of items are true."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.integer[Any]]


class Relation:
    """Directed true pairs among `count` items. A pair that isn't in it is unknown, and only probably false.

    Attributes:
        sources: `[E]` int32, by rising source, then target; each pair once.
        targets: `[E]` int32.
        count: N of the items.
    """

    def __init__(self, sources: Places, targets: Places, count: int) -> None:
        self.count = count
        self._keys = np.unique(sources.astype(np.int64) * count + targets)
        self.sources: NDArray[np.int32] = (self._keys // count).astype(np.int32)
        self.targets: NDArray[np.int32] = (self._keys % count).astype(np.int32)
        self._starts = np.searchsorted(self.sources, np.arange(count + 1))

    def __len__(self) -> int:
        return len(self._keys)

    def both_ways(self) -> Relation:
        """Return the relation with every pair's reverse in it."""
        return Relation(
            np.concatenate((self.sources, self.targets)), np.concatenate((self.targets, self.sources)), self.count
        )

    def holds(self, sources: Places, targets: Places) -> NDArray[np.bool_]:
        """Return whether each pair of `[B]` sources and `[B]` targets is true, `[B]`."""
        if not len(self._keys):
            return np.zeros(len(sources), bool)
        keys = sources.astype(np.int64) * self.count + targets
        found = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.asarray(self._keys[found] == keys)

    def block(self, sources: Places, targets: Places) -> NDArray[np.bool_]:
        """Return whether each of `[S]` sources is true with each of `[T]` targets, `[S, T]`; items may repeat."""
        lengths = self._starts[sources + 1] - self._starts[sources]
        rows = np.repeat(np.arange(len(sources)), lengths)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        partners = self.targets[np.repeat(self._starts[sources], lengths) + within]
        # Each target once: the table has room for one column of each item.
        distinct, column = np.unique(targets, return_inverse=True)
        place = np.searchsorted(distinct, partners)
        there = place < len(distinct)
        there[there] = distinct[place[there]] == partners[there]
        found = np.zeros((len(sources), len(distinct)), bool)
        found[rows[there], place[there]] = True
        return found[:, column]
