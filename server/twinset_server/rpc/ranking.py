"""The RPC that ranks for a user: protos to domain and back."""

from __future__ import annotations

from collections.abc import Mapping

from twinset.v1 import catalog_pb2, ranking_pb2
from twinset_server import limits
from twinset_server.domain import DEFAULT_TARGET_RECALL, Act, Space
from twinset_server.errors import InvalidRequest
from twinset_server.ports import Catalog, Interactions
from twinset_server.ranking import Basis, RankedItem, Ranker, Ranking, RankRequest, Rerank, Rung
from twinset_server.rpc import convert, filters
from twinset_server.rpc.answers import check_size
from twinset_server.rpc.recommendation_ids import new_recommendation_id

_RUNGS = {
    Rung.STORED_FACTORS: ranking_pb2.USER_RUNG_STORED_FACTORS,
    Rung.FOLDED_IN: ranking_pb2.USER_RUNG_FOLDED_IN,
    Rung.VISUAL_PROFILE: ranking_pb2.USER_RUNG_VISUAL_PROFILE,
    Rung.POPULARITY: ranking_pb2.USER_RUNG_POPULARITY,
}

_BASES = {
    Basis.FACTORS: ranking_pb2.ITEM_BASIS_FACTORS,
    Basis.PREDICTED_FACTORS: ranking_pb2.ITEM_BASIS_PREDICTED_FACTORS,
    Basis.PICTURE: ranking_pb2.ITEM_BASIS_PICTURE,
    Basis.POPULARITY: ranking_pb2.ITEM_BASIS_POPULARITY,
}

_DEFAULT_KIND = "like"


class RankingCalls:
    """Answers requests to rank for a user."""

    def __init__(self, catalog: Catalog, interactions: Interactions) -> None:
        self._catalog = catalog
        self._ranker = Ranker(catalog, interactions)

    async def rank(self, message: ranking_pb2.RankForUserRequest, timeout_s: float) -> ranking_pb2.RankForUserResponse:
        """Answer `RankForUser`."""
        view = convert.known_view(message.view, catalog_pb2.ITEM_VIEW_ID)
        ranking = await self._ranker.rank(_request(message, view), timeout_s=timeout_s)
        response = _response(ranking, view, self._catalog.spaces(), explain=message.explain)
        check_size("k", response)
        return response


def _request(message: ranking_pb2.RankForUserRequest, view: catalog_pb2.ItemView) -> RankRequest:
    k = message.k if message.HasField("k") else limits.DEFAULT_K
    convert.check_view(view, k, "k")
    return RankRequest(
        user=_user(message),
        candidates=message.candidates.item_ids if message.HasField("candidates") else None,
        k=k,
        exclude=message.exclude,
        exclude_seen=message.exclude_seen,
        target_recall=_target_recall(message),
        expression=filters.expression(message),
        visual_weight=message.visual_weight,
        rerank=_rerank(message.rerank) if message.HasField("rerank") else None,
        with_items=view != catalog_pb2.ITEM_VIEW_ID,
        with_vectors=view == catalog_pb2.ITEM_VIEW_FULL,
    )


def _user(message: ranking_pb2.RankForUserRequest) -> str | list[Act]:
    match message.WhichOneof("user"):
        case "user_id":
            return message.user_id
        case "history":
            return [
                Act(act.item_id, act.kind or _DEFAULT_KIND, act.weight if act.HasField("weight") else 1.0)
                for act in message.history.acts
            ]
        case _:
            raise InvalidRequest("user", "is empty: set user_id or history")


def _rerank(message: ranking_pb2.Rerank) -> Rerank:
    return Rerank(message.model, message.candidates if message.HasField("candidates") else None)


def _target_recall(message: ranking_pb2.RankForUserRequest) -> float:
    match message.WhichOneof("accuracy"):
        case "exact" if message.exact:
            return 1.0
        case "target_recall":
            return message.target_recall
        case _:
            return DEFAULT_TARGET_RECALL


def _response(
    ranking: Ranking, view: catalog_pb2.ItemView, spaces: Mapping[str, Space], *, explain: bool
) -> ranking_pb2.RankForUserResponse:
    taste = ranking.taste
    message = ranking_pb2.RankForUserResponse(
        rung=_RUNGS[ranking.rung],
        factors_fingerprint="" if taste is None else taste.fingerprint,
        factors_generation=0 if taste is None else taste.generation,
        acts_used=ranking.acts_used,
        exact=ranking.exact,
        candidates_examined=ranking.examined,
        sequence=ranking.sequence,
        recommendation_id=new_recommendation_id(),
        rerank_model=ranking.rerank_model,
        reranked_count=ranking.reranked,
    )
    add = message.items.add
    for found in ranking.items:
        one = add(score=found.score, basis=_BASES[found.basis])
        if ranking.stored is None:
            one.item.id = found.item_id
        else:
            one.item.CopyFrom(convert.item(ranking.stored[found.item_id], view, spaces))
        if explain:
            one.explanation.CopyFrom(_explanation(found))
    return message


def _explanation(found: RankedItem) -> ranking_pb2.RankExplanation:
    return ranking_pb2.RankExplanation(taste=found.taste, visual=found.visual, likes=found.likes, rerank=found.rerank)
