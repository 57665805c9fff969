"""What callers change, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twinset_server.domain.items import ItemDeletion, ItemUpdate, WritableItem
from twinset_server.domain.users import Interaction, UserDeletion, WritableUser
from twinset_server.errors import TwinsetError

Prepared = WritableItem | ItemUpdate | ItemDeletion | WritableUser | UserDeletion | Interaction
"""What a caller changes, checked and ready to commit."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A change that failed before it came to the catalogue, and keeps its place among the others of its request.

    A repeated request is known by the kinds and ids of its changes and by what was sent: it may need a model that
    answered the first time and is away now, or the other way round. What was made the first time is answered with the
    receipt of then.
    """

    kind: type[Prepared]
    id: str
    error: TwinsetError


Change = Prepared | Refused
"""One thing that a caller changes; it happens as a whole or not at all."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of a durable write. `etag` is empty where there is nothing left to have one, or never was."""

    etag: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Written:
    """What became of several changes: in their order a receipt, or the error of one that left no trace.

    `slowed_s` is for how long the answer was held back, because vectors come faster than they can be indexed.
    """

    outcomes: Sequence[Receipt | TwinsetError]
    slowed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FeedSummary:
    """What a committed feed did to the catalogue, in items, and its last change."""

    created: int
    replaced: int
    unchanged: int
    deleted: int
    sequence: int
