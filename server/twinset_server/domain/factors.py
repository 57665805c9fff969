"""Generations of taste factors: users and items of one training."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from twinset.factors import FoldIn
from twinset_server.domain.values import Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class FactorsHeader:
    """What comes before the rows of factors.

    Attributes:
        fingerprint: of the items' factors and of how users get theirs, 64 hexadecimal digits.
        dimension: D, 2 or more.
        items: how many items have factors.
        users: how many users do.
        temperature: that a user's cosines are divided by, above 0; see `twinset.factors.FoldIn`.
        start: `[D - 1]` float32, a user who did nothing.
        liked_from: an act of a lower weight is no like; None where every act is one.
        interactions_through: the last interaction, by its change, that the factors were trained on.
    """

    fingerprint: str
    dimension: int
    items: int
    users: int
    temperature: float
    start: Float32Array
    liked_from: float | None = None
    interactions_through: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class FactorItems:
    """Factors of some items.

    Attributes:
        ids: `n` of them, each once in a generation.
        factors: `[n, D]` float32, the last component an item's bias.
        liked: `[n, D - 1]` float32, what a like adds to its user.
        known: `[n, D - 1]` float32, what an act adds that is no like.
    """

    ids: Sequence[str]
    factors: Float32Array
    liked: Float32Array
    known: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class FactorUsers:
    """Factors of some users: `ids`, each once in a generation, and `factors`, `[n, D]` float32."""

    ids: Sequence[str]
    factors: Float32Array


FactorRows = FactorItems | FactorUsers


@dataclass(frozen=True, slots=True)
class FactorGeneration:
    """Imported factors that are kept.

    Attributes:
        number: rises with each import.
        fingerprint: see `FactorsHeader`, as for the next five.
        dimension: D.
        items: how many have factors, in the catalogue or not.
        users: how many have factors.
        liked_from: the least weight of a like.
        interactions_through: the last interaction that is in them.
        imported: when.
        active: whether it fills the space `taste` now.
    """

    number: int
    fingerprint: str
    dimension: int
    items: int
    users: int
    liked_from: float | None
    interactions_through: int
    imported: datetime.datetime
    active: bool


class Act(NamedTuple):
    """What a user did with an item; `sequence` is the change that stored it, 0 where none did."""

    item_id: str
    kind: str
    weight: float
    sequence: int = 0

    def is_like(self, liked_from: float | None) -> bool:
        """Return whether it speaks for the item; `liked_from` is the least weight that does, None for any."""
        return self.kind != "dislike" and (liked_from is None or self.weight >= liked_from)


@dataclass(frozen=True, slots=True, eq=False)
class UserTaste:
    """What is stored of a user's taste.

    Attributes:
        factors: `[D]` float32, those of a generation; None where it has none.
        acts: in the order of their changes.
        rows: what makes factors of the acts; None where no generation was asked for. Without rows of any item where
            the stored factors know all acts.
    """

    factors: Float32Array | None
    acts: Sequence[Act]
    rows: FoldInRows | None


@dataclass(frozen=True, slots=True, eq=False)
class FoldInRows:
    """What makes a user's factors of acts on some items.

    Attributes:
        fold_in: with a row for each item that has factors.
        places: the row of each of them, by id.
        liked_from: see `FactorsHeader`, as for the next.
        interactions_through: the last interaction that stored factors know.
    """

    fold_in: FoldIn
    places: Mapping[str, int]
    liked_from: float | None
    interactions_through: int


@dataclass(frozen=True, slots=True)
class LikeCounts:
    """How many likes items got, those without any left out, and the last change that is counted."""

    counts: Mapping[str, int]
    sequence: int


@dataclass(frozen=True, slots=True, eq=False)
class InteractionScores:
    """What the interaction model called `model` says of items: `values`, `[N]` float32, higher being better."""

    model: str
    values: Float32Array
