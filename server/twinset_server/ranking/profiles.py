"""What is known of a user: the ladder from stored factors down to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from twinset_server.domain import TASTE, VISUAL, Act, Float32Array, FoldInRows, Metric, Space
from twinset_server.ports import Catalog, CatalogState
from twinset_server.ranking.request import Rung


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A user as items are compared with them.

    Attributes:
        rung: the best of what is known.
        taste: the space of the factors; None where none were imported.
        factors: `[D]` float32 in it; None where there are none of this user.
        looks: `[V]` float32, the mean of the liked items' main pictures, of unit length; None without any.
        acts: all that the user did, in its order.
        acts_used: how many of them the rung stands on.
        liked_from: the least weight of a like.
    """

    rung: Rung
    taste: Space | None
    factors: Float32Array | None
    looks: Float32Array | None
    acts: Sequence[Act]
    acts_used: int
    liked_from: float | None


class Profiles:
    """Makes profiles from what is stored, or from a history."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def of_user(self, user_id: str, state: CatalogState) -> Profile:
        """Return the profile of a stored user, in the factors that serve in `state`; nothing of an unknown one."""
        taste = _taste(state)
        stored = await self._catalog.taste(user_id, None if taste is None else taste.generation)
        rows = stored.rows
        profile = _of_acts(state, taste, stored.acts, rows)
        newer = rows is not None and _has_newer(stored.acts, rows)
        # What was done since with items that have no factors says nothing against those stored.
        if stored.factors is not None and not (newer and profile.factors is not None):
            return replace(
                profile, rung=Rung.STORED_FACTORS, factors=stored.factors, acts_used=len(last_acts(stored.acts))
            )
        return profile

    async def of_history(self, history: Sequence[Act], state: CatalogState) -> Profile:
        """Return the profile of somebody who did all this; nothing of it is stored."""
        taste, rows = _taste(state), None
        if taste is not None and taste.generation is not None:
            rows = await self._catalog.fold_in(taste.generation, [act.item_id for act in last_acts(history)])
        return _of_acts(state, taste, history, rows)


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


def _of_acts(state: CatalogState, taste: Space | None, acts: Sequence[Act], rows: FoldInRows | None) -> Profile:
    last = last_acts(acts)
    looks, liked = _looks(state, last, rows)
    liked_from = rows.liked_from if rows else None
    used = [act for act in last if rows and act.item_id in rows.places]
    if rows is not None and used:
        likes = [rows.places[act.item_id] for act in used if act.is_like(liked_from)]
        known = [rows.places[act.item_id] for act in used if not act.is_like(liked_from)]
        factors = rows.fold_in.factors(np.array(likes, np.int64), np.array(known, np.int64))
        return Profile(Rung.FOLDED_IN, taste, factors, looks, acts, len(used), liked_from)
    if looks is not None:
        return Profile(Rung.VISUAL_PROFILE, taste, None, looks, acts, liked, liked_from)
    return Profile(Rung.POPULARITY, taste, None, None, acts, 0, liked_from)


def _looks(state: CatalogState, acts: Sequence[Act], rows: FoldInRows | None) -> tuple[Float32Array | None, int]:
    """Return the mean of the liked items' main pictures, of unit length, and of how many items it is."""
    likes = [act.item_id for act in acts if act.is_like(rows.liked_from if rows else None)]
    space = state.spaces.get(VISUAL)
    if not likes or space is None or space.metric is not Metric.COSINE:
        return None, 0
    found = state.vectors(VISUAL, likes)
    _, first = np.unique(found.owners, return_index=True)
    mean = found.values[first].astype(np.float64).sum(axis=0)
    length = float(np.sqrt(mean @ mean))
    if length == 0:
        return None, 0
    return (mean / length).astype(np.float32), len(first)
