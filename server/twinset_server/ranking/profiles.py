"""What is known of a user: the ladder from stored factors down to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from twinset_server.domain import TASTE, VISUAL, Act, Float32Array, FoldInRows, Metric, Space
from twinset_server.ports import Catalog, CatalogState
from twinset_server.ranking.request import Rung


@dataclass(frozen=True, eq=False)
class Profile:
    """A user as items are compared with them.

    Attributes:
        rung: the best of what is known.
        taste: the space of the factors; None where none were imported.
        factors: `[D]` float32 in it; None where there are none of this user.
        acts: all that the user did, in its order.
        acts_used: how many of them the rung stands on.
        liked_from: the least weight of a like.
        liked: the items that the user likes.
        state: what their pictures are read from.
    """

    rung: Rung
    taste: Space | None
    factors: Float32Array | None
    acts: Sequence[Act]
    acts_used: int
    liked_from: float | None
    liked: Sequence[str]
    state: CatalogState

    @property
    def looks(self) -> Float32Array | None:
        """`[V]` float32, the mean of the liked items' main pictures, of unit length; None without any."""
        return self.seen[0]

    @cached_property
    def seen(self) -> tuple[Float32Array | None, int]:
        """`looks`, and of how many items it is; read when first asked for, since most rankings do without."""
        return _looks(self.state, self.liked)


class Profiles:
    """Makes profiles from what is stored, or from a history."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def of_user(self, user_id: str, state: CatalogState) -> Profile:
        """Return the profile of a stored user, in the factors that serve in `state`; nothing of an unknown one."""
        taste = _taste(state)
        stored = await self._catalog.taste(user_id, None if taste is None else taste.generation)
        rows, last = stored.rows, last_acts(stored.acts)
        if stored.factors is not None and rows is not None:
            # What was done since with items that have no factors says nothing against those stored.
            newer = _has_newer(stored.acts, rows) and any(act.item_id in rows.places for act in last)
            if not newer:
                return Profile(
                    Rung.STORED_FACTORS,
                    taste,
                    stored.factors,
                    stored.acts,
                    len(last),
                    rows.liked_from,
                    _liked(last, rows.liked_from),
                    state,
                )
        return _of_acts(state, taste, stored.acts, last, rows)

    async def of_history(self, history: Sequence[Act], state: CatalogState) -> Profile:
        """Return the profile of somebody who did all this; nothing of it is stored."""
        taste, last, rows = _taste(state), last_acts(history), None
        if taste is not None and taste.generation is not None:
            rows = await self._catalog.fold_in(taste.generation, [act.item_id for act in last])
        return _of_acts(state, taste, history, last, rows)


def last_acts(acts: Sequence[Act]) -> list[Act]:
    """Return the last act on each item, in their order, as training does."""
    last: dict[str, Act] = {}
    for act in acts:
        last.pop(act.item_id, None)
        last[act.item_id] = act
    return list(last.values())


def _taste(state: CatalogState) -> Space | None:
    space = state.spaces.get(TASTE)
    return space if space is not None and space.generation is not None else None


def _has_newer(acts: Sequence[Act], rows: FoldInRows) -> bool:
    return any(act.sequence > rows.interactions_through for act in acts)


def _of_acts(
    state: CatalogState, taste: Space | None, acts: Sequence[Act], last: Sequence[Act], rows: FoldInRows | None
) -> Profile:
    liked_from = rows.liked_from if rows else None
    liked = _liked(last, liked_from)
    used = [act for act in last if rows and act.item_id in rows.places]
    if rows is not None and used:
        likes = [rows.places[act.item_id] for act in used if act.is_like(liked_from)]
        known = [rows.places[act.item_id] for act in used if not act.is_like(liked_from)]
        factors = rows.fold_in.factors(np.array(likes, np.int64), np.array(known, np.int64))
        return Profile(Rung.FOLDED_IN, taste, factors, acts, len(used), liked_from, liked, state)
    profile = Profile(Rung.VISUAL_PROFILE, taste, None, acts, 0, liked_from, liked, state)
    looks, count = profile.seen
    return replace(profile, rung=Rung.POPULARITY if looks is None else Rung.VISUAL_PROFILE, acts_used=count)


def _liked(last: Sequence[Act], liked_from: float | None) -> list[str]:
    return [act.item_id for act in last if act.is_like(liked_from)]


def _looks(state: CatalogState, liked: Sequence[str]) -> tuple[Float32Array | None, int]:
    """Return the mean of the liked items' main pictures, of unit length, and of how many items it is."""
    space = state.spaces.get(VISUAL)
    if not liked or space is None or space.metric is not Metric.COSINE:
        return None, 0
    found = state.vectors(VISUAL, liked)
    _, first = np.unique(found.owners, return_index=True)
    mean = found.values[first].astype(np.float64).sum(axis=0)
    length = float(np.sqrt(mean @ mean))
    if length == 0:
        return None, 0
    return (mean / length).astype(np.float32), len(first)
