"""What is asked of a ranking, and what comes of it."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinset_server import limits
from twinset_server.domain import DEFAULT_TARGET_RECALL, Act, Expression, Item, Space
from twinset_server.errors import InvalidRequest

ANY_KIND = "*"

_RERANKED = 500
"""So many of those searched for are scored again where the request doesn't say."""


class Rung(enum.Enum):
    """What is known of a user, the best first."""

    STORED_FACTORS = enum.auto()
    FOLDED_IN = enum.auto()
    VISUAL_PROFILE = enum.auto()
    POPULARITY = enum.auto()


class Basis(enum.Enum):
    """By what an item is compared with a user, the best first."""

    FACTORS = enum.auto()
    PREDICTED_FACTORS = enum.auto()
    PICTURE = enum.auto()
    POPULARITY = enum.auto()


@dataclass(frozen=True, slots=True)
class Rerank:
    """A second look at the best: by `model`, empty for the one of the factors that serve, at so many `candidates`."""

    model: str = ""
    candidates: int | None = None


@dataclass(frozen=True, slots=True)
class RankRequest:
    """What is wanted of a ranking.

    Attributes:
        user: the id of a stored user, or the acts of somebody, in their order.
        candidates: what to put in order; None for the whole catalogue.
        k: how many items.
        exclude: items never to return.
        exclude_seen: kinds of acts whose items aren't returned either; `*` stands for all.
        target_recall: of a search; 1 means that all is compared.
        expression: which items may be returned; None for all.
        visual_weight: how much looks count beside taste, 0 to 1.
        rerank: by what the best are scored again; None where they aren't.
        with_items: whether the stored items come along, and with `with_vectors` their vectors too.
    """

    user: str | Sequence[Act]
    candidates: Sequence[str] | None = None
    k: int = limits.DEFAULT_K
    exclude: Sequence[str] = ()
    exclude_seen: Sequence[str] = ()
    target_recall: float = DEFAULT_TARGET_RECALL
    expression: Expression | None = None
    visual_weight: float = 0.0
    rerank: Rerank | None = None
    with_items: bool = False
    with_vectors: bool = False

    def check(self) -> None:
        """Do nothing where all is within its limits.

        Raises:
            InvalidRequest: a field isn't.
        """
        if isinstance(self.user, str):
            limits.check_id("user_id", self.user)
        else:
            limits.check_count("history.acts", self.user, limits.MAX_HISTORY)
            for place, act in enumerate(self.user):
                limits.check_act(f"history.acts[{place}]", act)
        most = limits.MAX_K
        if self.candidates is not None:
            limits.check_count("candidates.item_ids", self.candidates, limits.MAX_RANKED, least=1)
            limits.check_ids("candidates.item_ids", self.candidates)
            most = limits.MAX_RANKED
        if not 1 <= self.k <= most:
            raise InvalidRequest("k", f"is {self.k}, 1 to {most} allowed")
        limits.check_count("exclude", self.exclude, limits.MAX_EXCLUDE)
        limits.check_texts("exclude", self.exclude, limits.MAX_ID_BYTES)
        limits.check_count("exclude_seen", self.exclude_seen, limits.MAX_SEEN_KINDS)
        limits.check_texts("exclude_seen", self.exclude_seen, limits.MAX_KIND_BYTES)
        limits.check_target_recall(self.target_recall)
        if not (math.isfinite(self.visual_weight) and 0 <= self.visual_weight <= 1):
            raise InvalidRequest("visual_weight", f"is {self.visual_weight}, 0 to 1 allowed")
        if self.rerank is not None:
            if self.rerank.model:
                limits.check_id("rerank.model", self.rerank.model)
            if self.rerank.candidates is not None and not 1 <= self.rerank.candidates <= limits.MAX_RANKED:
                raise InvalidRequest(
                    "rerank.candidates", f"is {self.rerank.candidates}, 1 to {limits.MAX_RANKED} allowed"
                )

    @property
    def reranked(self) -> int:
        """How many of the best are scored again, at most."""
        if self.rerank is None:
            return 0
        if self.rerank.candidates is not None:
            return self.rerank.candidates
        return _RERANKED if self.candidates is None else len(self.candidates)


@dataclass(frozen=True, slots=True)
class RankedItem:
    """An item in its place.

    `taste`, `visual`, `likes` and `rerank`, which an interaction model gave, are what its score is made of, None where
    it counts not.
    """

    item_id: str
    score: float
    basis: Basis
    taste: float | None = None
    visual: float | None = None
    likes: int | None = None
    rerank: float | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Items in the order for a user, best first.

    Attributes:
        items: the order.
        rung: what is known of the user.
        taste: the space of the factors that served; None where there are none.
        acts_used: how many of the user's acts told anything.
        exact: whether every candidate was compared.
        examined: how many vectors were.
        sequence: the last change that was seen.
        stored: the items themselves by id; None where nobody asked.
        rerank_model: what scored items again; empty where nothing did.
        reranked: how many it scored.
    """

    items: Sequence[RankedItem]
    rung: Rung
    taste: Space | None
    acts_used: int
    exact: bool
    examined: int
    sequence: int
    stored: Mapping[str, Item] | None = None
    rerank_model: str = ""
    reranked: int = 0
