"""Users, and what they did."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twinset_server.domain.pictures import ItemVector
from twinset_server.domain.spaces import Vector
from twinset_server.domain.values import Attribute


@dataclass(frozen=True, slots=True)
class UserDraft:
    """A user as a caller gave them."""

    id: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    vectors: Sequence[Vector] = ()
    etag: str = ""


@dataclass(frozen=True, slots=True)
class WritableUser:
    """A checked user, ready to commit; it replaces the one of its id as a whole."""

    id: str
    attributes: Mapping[str, Attribute]
    vectors: Sequence[ItemVector] = ()
    etag: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """A stored user."""

    id: str
    attributes: Mapping[str, Attribute]
    vectors: Sequence[ItemVector]
    etag: str
    sequence: int
    created: datetime.datetime
    updated: datetime.datetime


@dataclass(frozen=True, slots=True)
class UserDeletion:
    """The end of all that is stored of a user."""

    id: str


@dataclass(frozen=True, slots=True)
class UserData:
    """What is stored of a user.

    Attributes:
        user: as they were put; None where they never were.
        interactions: how many of their acts are stored.
        has_factors: whether the factors in use hold some of theirs.
    """

    user: User | None
    interactions: int
    has_factors: bool


@dataclass(frozen=True, slots=True)
class Interaction:
    """One user's act on one item, such as "like", "buy", "view" or "dislike". Neither needs to be stored.

    `recommendation_id` names the answer that the user acted upon; it may be empty.
    """

    user_id: str
    item_id: str
    kind: str
    weight: float
    time: datetime.datetime
    recommendation_id: str = ""

    @property
    def id(self) -> str:
        """What a repeated request knows it by. Its time isn't in it: where the caller gave none, it is the server's."""
        return interaction_id(self.user_id, self.item_id, self.kind)


def interaction_id(user_id: str, item_id: str, kind: str) -> str:
    """Return `Interaction.id` of one that may not be valid."""
    return f"{user_id}\n{item_id}\n{kind}"


@dataclass(frozen=True, slots=True)
class StoredInteraction:
    """A stored interaction and the change that stored it."""

    interaction: Interaction
    sequence: int
