"""What users did, as taste models see it: likes, and acts that say less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.datasets.interactions import Interactions


@dataclass(frozen=True, slots=True, eq=False)
class Feedback:
    """Acts, sorted by user, each user and item at most once.

    Attributes:
        starts: `[U + 1]` int64: those of user `u` are the rows `starts[u]` to `starts[u + 1]`.
        items: `[N]` int32, numbers of items.
        liked: `[N]` bool; where it is false the act tells only that the user knows the item, such as a low rating.
        item_count: I.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    liked: NDArray[np.bool_]
    item_count: int

    @classmethod
    def of(cls, interactions: Interactions, liked_from: float) -> Feedback:
        """Return the feedback in interactions without duplicates; a value of at least `liked_from` is a like."""
        return cls.of_acts(
            interactions.users,
            interactions.items,
            interactions.values >= liked_from,
            len(interactions.user_ids),
            len(interactions.item_ids),
        )

    @classmethod
    def of_acts(
        cls, users: NDArray[Any], items: NDArray[Any], liked: NDArray[np.bool_], user_count: int, item_count: int
    ) -> Feedback:
        """Return the feedback in acts in any order, `[N]` each."""
        order = np.argsort(users, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=user_count))])
        return cls(starts.astype(np.int64), items[order].astype(np.int32), liked[order], item_count)

    @property
    def user_count(self) -> int:
        """U."""
        return len(self.starts) - 1

    def users(self) -> NDArray[np.int64]:
        """Return the user of each row, `[N]` int64."""
        return np.repeat(np.arange(self.user_count), np.diff(self.starts))

    def acts(self, liked: bool | None = None) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return users and items of all rows, or of those that are likes, or that are none."""
        chosen = np.ones(len(self.items), bool) if liked is None else self.liked == liked
        return self.users()[chosen], self.items[chosen]

    def only(self, kept: NDArray[np.bool_]) -> Feedback:
        """Return the rows of a mask, `[N]`; users and items keep their numbers."""
        return self.of_acts(self.users()[kept], self.items[kept], self.liked[kept], self.user_count, self.item_count)

    def rows_of(self, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for all rows of the `users`, `[B]`, the place of their user in `[B]`, and the row; both int64."""
        counts = self.starts[users + 1] - self.starts[users]
        place = np.repeat(np.arange(len(users)), counts)
        within = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
        return place, self.starts[users][place] + within
