"""In which order a user should see things."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, overload

import grpc

from twinset import wire
from twinset.items import Item, View
from twinset.status import error_from_call
from twinset.v1 import filter_pb2, ranking_pb2

Rung = Literal["stored_factors", "folded_in", "visual_profile", "popularity"]
"""What is known of a user, the best first."""

Basis = Literal["factors", "predicted_factors", "picture", "popularity"]
"""By what an item is compared with a user, the best first."""

_RUNGS: dict[int, Rung] = {
    ranking_pb2.USER_RUNG_STORED_FACTORS: "stored_factors",
    ranking_pb2.USER_RUNG_FOLDED_IN: "folded_in",
    ranking_pb2.USER_RUNG_VISUAL_PROFILE: "visual_profile",
    ranking_pb2.USER_RUNG_POPULARITY: "popularity",
}
_BASES: dict[int, Basis] = {
    ranking_pb2.ITEM_BASIS_FACTORS: "factors",
    ranking_pb2.ITEM_BASIS_PREDICTED_FACTORS: "predicted_factors",
    ranking_pb2.ITEM_BASIS_PICTURE: "picture",
    ranking_pb2.ITEM_BASIS_POPULARITY: "popularity",
}


@dataclass(frozen=True, slots=True)
class Act:
    """Something that somebody did, told in a call and stored nowhere."""

    item_id: str
    kind: str = "like"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class RankedItem:
    """An item in its place.

    Attributes:
        item: by the view asked for.
        score: higher is better; comparable within one ranking.
        basis: by what it was compared.
        taste: the inner product of factors, where that counted and an explanation was asked for.
        visual: the cosine to the user's visual profile, likewise.
        likes: how many it got, likewise.
        rerank: what the interaction model says of it, likewise; `taste` is then what brought it before that model.
    """

    item: Item
    score: float
    basis: Basis
    taste: float | None = None
    visual: float | None = None
    likes: int | None = None
    rerank: float | None = None


@dataclass(frozen=True, slots=True)
class Rerank:
    """A second look at the best candidates, by an interaction model on Triton.

    Attributes:
        model: its name; empty for the one that was trained on the factors that serve.
        candidates: how many of the best are scored again, 1 to 4,096; None for all that are given, and 500 of those
            searched for.
    """

    model: str = ""
    candidates: int | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Items in the order for a user, best first.

    Attributes:
        items: the order; the object itself can be iterated and indexed like it.
        rung: what is known of the user.
        factors_fingerprint: of the factors that served; empty where there are none.
        factors_generation: their number; 0 where there are none.
        acts_used: how many of the user's acts told anything.
        exact: True where every candidate was compared.
        candidates_examined: vectors compared with the user.
        sequence: every change up to it counts.
        recommendation_id: names this answer; an interaction that it led to may name it.
        rerank_model: the interaction model that scored items again; empty where none did.
        reranked_count: how many candidates it scored.
    """

    items: tuple[RankedItem, ...]
    rung: Rung
    factors_fingerprint: str
    factors_generation: int
    acts_used: int
    exact: bool
    candidates_examined: int
    sequence: int
    recommendation_id: str
    rerank_model: str = ""
    reranked_count: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[RankedItem]:
        return iter(self.items)

    @overload
    def __getitem__(self, rank: int) -> RankedItem: ...

    @overload
    def __getitem__(self, rank: slice) -> tuple[RankedItem, ...]: ...

    def __getitem__(self, rank: int | slice) -> RankedItem | tuple[RankedItem, ...]:
        return self.items[rank]


class Rankings:
    """The part of a client that ranks for users."""

    server: str
    timeout_s: float
    _recommender: Any

    def rank_for_user(
        self,
        user: str | Iterable[Act],
        candidates: Iterable[str] | None = None,
        *,
        k: int = 10,
        exclude: Iterable[str] = (),
        exclude_seen: Iterable[str] = (),
        filter: str | filter_pb2.Filter = "",  # noqa: A002 - its name in the proto, and everywhere
        exact: bool = False,
        target_recall: float | None = None,
        visual_weight: float = 0.0,
        rerank: bool | Rerank = False,
        view: View = "id",
        explain: bool = False,
    ) -> Ranking:
        """Return items in the order in which a user should see them.

        Args:
            user: a user's id, or the acts of somebody without an account, at most 1,000, in their order.
            candidates: ids to put in order, at most 4,096; None searches the whole catalogue for the best.
            k: how many, 1 to 1,000; to 4,096 where candidates are given.
            exclude: ids never to return, up to 1,000.
            exclude_seen: kinds of acts whose items aren't returned, such as `["buy"]`; `*` stands for all.
            filter: which items may be returned; see `recommend`.
            exact: compare every vector.
            target_recall: of a search; .98 by default.
            visual_weight: how much looks count beside taste, 0 to 1.
            rerank: let the best be scored again by an interaction model; True for the one of the factors that serve.
            view: how much of each item comes along.
            explain: tell of each item what its score is made of.

        Raises:
            ValueError: `exact` and `target_recall` are both given.
            InvalidArgument: a field is over its limit, or the filter is malformed.
            FailedPrecondition: there is no model to score again, or it was trained on other factors.
            Unavailable: Triton is away, or the model doesn't give its known answer.
        """
        if exact and target_recall is not None:
            raise ValueError("exact and target_recall are given: choose one")
        message = ranking_pb2.RankForUserRequest(
            k=k,
            exclude=exclude,
            exclude_seen=exclude_seen,
            visual_weight=visual_weight,
            view=wire.view_to_proto(view),
            explain=explain,
        )
        if isinstance(user, str):
            message.user_id = user
        else:
            acts = [ranking_pb2.HistoryAct(item_id=act.item_id, kind=act.kind, weight=act.weight) for act in user]
            message.history.CopyFrom(ranking_pb2.History(acts=acts))
        if candidates is not None:
            message.candidates.CopyFrom(ranking_pb2.RankCandidates(item_ids=candidates))
        if isinstance(filter, str):
            message.filter = filter
        else:
            message.filter_expression.CopyFrom(filter)
        if rerank:
            message.rerank.CopyFrom(_rerank(rerank))
        if exact:
            message.exact = True
        if target_recall is not None:
            message.target_recall = target_recall
        try:
            return _ranking(self._recommender.RankForUser(message, timeout=self.timeout_s))
        except grpc.RpcError as failure:
            raise error_from_call(failure, self.server) from failure


def _rerank(rerank: bool | Rerank) -> ranking_pb2.Rerank:
    asked = rerank if isinstance(rerank, Rerank) else Rerank()
    return ranking_pb2.Rerank(model=asked.model, candidates=asked.candidates)


def _ranking(response: ranking_pb2.RankForUserResponse) -> Ranking:
    return Ranking(
        tuple(map(_ranked, response.items)),
        _RUNGS[response.rung],
        response.factors_fingerprint,
        response.factors_generation,
        response.acts_used,
        response.exact,
        response.candidates_examined,
        response.sequence,
        response.recommendation_id,
        response.rerank_model,
        response.reranked_count,
    )


def _ranked(message: ranking_pb2.RankedItem) -> RankedItem:
    told = message.explanation
    return RankedItem(
        wire.item_from_proto(message.item),
        message.score,
        _BASES[message.basis],
        told.taste if told.HasField("taste") else None,
        told.visual if told.HasField("visual") else None,
        told.likes if told.HasField("likes") else None,
        told.rerank if told.HasField("rerank") else None,
    )
