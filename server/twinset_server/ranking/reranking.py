"""A second look at the best candidates, by a model that reads a user's and an item's factors together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from twinset.factors import predicted_space
from twinset_server.domain import Float32Array, InteractionScores, ItemRows
from twinset_server.errors import NoInteractionModel
from twinset_server.ports import CatalogState, Interactions
from twinset_server.ranking.profiles import Profile
from twinset_server.ranking.request import RankedItem, RankRequest
from twinset_server.ranking.scores import BY_FACTORS, Compared, ordered

_BEHIND = 1.0
"""How far behind the last item that was scored again the best of the others stands."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """An order after the second look: by `model`, empty where nobody was asked, at `count` of the candidates."""

    items: Sequence[RankedItem]
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
        profile: Profile,
        state: CatalogState,
        *,
        timeout_s: float,
    ) -> Reranked:
        """Return the order of the candidates, those of the best that have factors first, by the model's scores.

        Raises:
            NoInteractionModel, InteractionMismatch, InvalidRequest, EmbedderUnavailable, DeadlineExceeded: the model
                can't be asked; see `Interactions`.
        """
        taste, user, asked = profile.taste, profile.factors, request.rerank
        order = ordered(compared, request.visual_weight, len(compared.item_ids))
        if asked is None:
            return Reranked(order)
        if taste is None:
            raise NoInteractionModel(
                "rerank", "rerank: no factors are imported that a model could rank by: import some"
            )
        best = [one for one in order if one.basis in BY_FACTORS][: request.reranked]
        if user is None or not best:
            return Reranked(order)
        item_ids = [one.item_id for one in best]
        rows = _factors(item_ids, user, taste.name, predicted_space(taste.fingerprint), state)
        scored = await self._interactions.scores(taste.fingerprint, user, rows, model=asked.model, timeout_s=timeout_s)
        again = compared.rescored(item_ids, scored.values)
        first = {one.item_id: one for one in best}
        items = [
            replace(one, rerank=one.taste, taste=first[one.item_id].taste)
            for one in ordered(again, request.visual_weight, len(best))
        ]
        rest = [one for one in order if one.item_id not in first]
        if rest:
            shift = items[-1].score - _BEHIND - rest[0].score
            items += [replace(one, score=one.score + shift) for one in rest]
        return Reranked(items, scored.model, len(best))


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
