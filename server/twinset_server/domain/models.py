"""Generations of models: which one fills the spaces of pictures, and which one may."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinset_server.domain.pictures import ItemVector


class ModelState(enum.Enum):
    """What a generation is: one that serves, one to go back to, or one whose vectors are still being made."""

    ACTIVE = "active"
    KEPT = "kept"
    FILLING = "filling"


@dataclass(frozen=True, slots=True)
class ModelGeneration:
    """A model with the spaces that it fills.

    Attributes:
        number: rises with each.
        model: its name in the repository.
        state: see `ModelState`.
        fingerprints: of its spaces, by the names that callers know.
        own: which of these spaces no other generation fills.
        pending: how many items have changed since its vectors were made; 0 of the active one.
    """

    number: int
    model: str
    state: ModelState
    fingerprints: Mapping[str, str]
    own: frozenset[str] = frozenset()
    pending: int = 0


@dataclass(frozen=True, slots=True)
class PendingItem:
    """An item whose vectors a generation lacks.

    Attributes:
        key: the store's.
        id: the item's.
        sequence: the change that put it last.
        category: the one that its caller gave it, empty where there is none.
        picture_ids: of its pictures whose content is kept.
        made: those of them of which the generation has vectors already, in all of its spaces.
    """

    key: int
    id: str
    sequence: int
    category: str
    picture_ids: Sequence[str]
    made: frozenset[str]


@dataclass(frozen=True, slots=True)
class Recomputed:
    """An item with its vectors in the spaces of a generation, by the names that callers know."""

    item: PendingItem
    vectors: Sequence[ItemVector]


@dataclass(frozen=True, slots=True)
class Lost:
    """What a switch would take from the spaces that are searched: vectors that no picture brings back.

    Attributes:
        item_ids: of items without a vector in the new space where they have one in the old, the first of them.
        items: how many there are.
        users: how many users have vectors in spaces that are to be replaced.
    """

    item_ids: Sequence[str] = ()
    items: int = 0
    users: int = 0

    def __bool__(self) -> bool:
        return bool(self.items or self.users)


@dataclass(frozen=True, slots=True)
class Switched:
    """A switch that was made.

    Attributes:
        generation: the one that serves now.
        former: the model that served before.
        lost: what has no vectors any more.
        sequence: the change by which it was made.
    """

    generation: ModelGeneration
    former: str
    lost: Lost
    sequence: int
