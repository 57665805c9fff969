"""A second look at the best candidates, by a model that reads a user's and an item's factors together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twinset.factors import predicted_space
from twinset_server.domain import Float32Array, InteractionScores, ItemRows
from twinset_server.errors import NoInteractionModel
from twinset_server.ports import CatalogState, Interactions
from twinset_server.ranking.profiles import Profile
from twinset_server.ranking.request import RankRequest
from twinset_server.ranking.scores import BASES, BY_FACTORS, Compared, Order, ordered

_BEHIND = 1.0
"""How far behind the last item that was scored again the best of the others stands."""


@dataclass(frozen=True, slots=True, eq=False)
class Reranked:
    """An order after the second look: by `model`, empty where nobody was asked, at `count` of the candidates."""

    order: Order
    model: str = ""
    count: int = 0


class NoInteractions:
    """Stands where no Triton is asked: no model is served."""

    async def scores(
        self, factors: str, user: Float32Array, items: Float32Array, *, model: str, timeout_s: float
    ) -> InteractionScores:
        """See `Interactions`; always raises NoInteractionModel."""
        raise NoInteractionModel("rerank", f"rerank: no model is served here that ranks by factors of {factors}")


NO_INTERACTIONS: Interactions = NoInteractions()


class Reranker:
    """Scores the best candidates again; one for all calls of a process."""

    def __init__(self, interactions: Interactions) -> None:
        self._interactions = interactions

    async def rerank(
        self,
        request: RankRequest,
        compared: Compared,
        order: Order,
        profile: Profile,
        state: CatalogState,
        *,
        timeout_s: float,
    ) -> Reranked:
        """Return `order` with those of the best that have factors first, by the model's scores.

        Raises:
            NoInteractionModel, InteractionMismatch, InvalidRequest, EmbedderUnavailable, DeadlineExceeded: the model
                can't be asked; see `Interactions`.
        """
        taste, user, asked = profile.taste, profile.factors, request.rerank
        if asked is None:
            return Reranked(order)
        if taste is None:
            raise NoInteractionModel(
                "rerank", "rerank: no factors are imported that a model could rank by: import some"
            )
        best = [place for place in order.places if BASES[order.basis[place]] in BY_FACTORS][: request.reranked]
        if user is None or not best:
            return Reranked(order)
        item_ids = [compared.item_ids[place] for place in best]
        rows = _factors(item_ids, user, taste.name, predicted_space(taste.fingerprint), state)
        scored = await self._interactions.scores(taste.fingerprint, user, rows, model=asked.model, timeout_s=timeout_s)
        return Reranked(_in_front(best, scored.values, compared, order, request.visual_weight), scored.model, len(best))


def _in_front(
    best: Sequence[int], values: Float32Array, compared: Compared, order: Order, visual_weight: float
) -> Order:
    """Return `order` with the candidates at the places `best`, by their new scores, before all others."""
    first = ordered(compared.rescored(best, values), visual_weight)
    scores, again = order.scores.copy(), np.full(len(order.scores), np.nan)
    scores[best], again[best] = first.scores, values
    known = set(best)
    rest = [place for place in order.places if place not in known]
    if rest:
        scores[rest] += float(first.scores.min()) - _BEHIND - order.scores[rest[0]]
    return Order([*(best[place] for place in first.places), *rest], scores, order.basis, again)


def _factors(
    item_ids: Sequence[str], user: Float32Array, imported: str, predicted: str, state: CatalogState
) -> Float32Array:
    """Return `[N, D]` float32, the factors of each item: its imported ones, else the best predicted of its pictures."""
    found = np.empty((len(item_ids), len(user)), np.float32)
    for space in (predicted, imported):
        if space in state.spaces:
            _write_best(found, state.vectors(space, item_ids), user)
    return found


def _write_best(found: Float32Array, rows: ItemRows, user: Float32Array) -> None:
    # The last write of an item counts, and that is its best row.
    order = np.argsort(rows.values.astype(np.float64) @ user.astype(np.float64), kind="stable")
    found[rows.owners[order]] = rows.values[order]
