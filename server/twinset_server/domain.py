"""The words of the service as values: spaces, items, pictures, vectors, neighbours.

Nothing here does input or output, and nothing here knows gRPC, Triton, SQLite or USearch.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_server.errors import TwinsetError

__all__ = [
    "VISUAL",
    "Attribute",
    "CatalogStatus",
    "Change",
    "FeedSummary",
    "Float32Array",
    "Int32Array",
    "Interaction",
    "Item",
    "ItemDeletion",
    "ItemDraft",
    "ItemUpdate",
    "ItemUpdateDraft",
    "ItemVector",
    "MadeFor",
    "Metric",
    "Neighbour",
    "NewPicture",
    "Picture",
    "PictureDraft",
    "PictureVectors",
    "Prediction",
    "Prepared",
    "Receipt",
    "Refused",
    "SearchResult",
    "Space",
    "SpaceStatus",
    "StoredInteraction",
    "StoredPicture",
    "StoredVectors",
    "UInt8Array",
    "User",
    "UserDraft",
    "Vector",
    "WritableItem",
    "WritableUser",
    "Written",
    "attribute_bytes",
]

Float32Array = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]
Int32Array = NDArray[np.int32]

MAX_ATTRIBUTES = 64
MAX_ATTRIBUTES_BYTES = 64 << 10
"""What an item or a user may hold."""

Attribute = str | int | float | bool | tuple[str, ...] | datetime.datetime
"""A typed attribute: text, whole number, number, truth, several texts, or a time in UTC."""


def attribute_bytes(name: str, value: Attribute) -> int:
    """Return what an attribute counts against `MAX_ATTRIBUTES_BYTES`: its texts in UTF-8, and 8 for another value."""
    match value:
        case str():
            size = len(value.encode())
        case tuple():
            size = sum(len(text.encode()) for text in value)
        case _:
            size = 8
    return len(name.encode()) + size


VISUAL = "visual"
"""The space of look-alikes: what pictures are embedded into, and what is searched unless another is named."""


@dataclass(frozen=True, slots=True)
class Space:
    """A named vector space. Vectors compare only within one space and one fingerprint.

    `model` is the name of the model that fills it, None for an external space.
    """

    name: str
    dimension: int
    metric: Metric
    fingerprint: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector as a caller gave it: nothing is checked yet. `values` is `[D]` float32."""

    space: str
    values: Float32Array
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """A class, and the probability, 0 to 1, that a model gives it."""

    class_name: str
    probability: float


@dataclass(frozen=True, slots=True)
class PictureDraft:
    """A picture as a caller gave it."""

    id: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ItemDraft:
    """An item as a caller gave it.

    `guess` is a category that some server predicted, and that came with the item as it was read there; `category` is
    empty then.
    """

    id: str
    title: str = ""
    uri: str = ""
    category: str = ""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    pictures: Sequence[PictureDraft] = ()
    vectors: Sequence[Vector] = ()
    etag: str = ""
    guess: Prediction | None = None


@dataclass(frozen=True, slots=True)
class ItemUpdateDraft:
    """A change of some fields of an item as a caller gave it; a field that is None stays as it is.

    `changed_attributes` are single ones, None for each to take away.
    """

    id: str
    etag: str = ""
    title: str | None = None
    uri: str | None = None
    category: str | None = None
    attributes: Mapping[str, Attribute] | None = None
    changed_attributes: Mapping[str, Attribute | None] = field(default_factory=dict)
    pictures: Sequence[PictureDraft] | None = None
    vectors: Sequence[Vector] | None = None


@dataclass(frozen=True, slots=True)
class UserDraft:
    """A user as a caller gave them."""

    id: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    vectors: Sequence[Vector] = ()
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of an item's picture. `sha256` is the hexadecimal digest of its `size_bytes` bytes as put."""

    id: str
    media_type: str
    width: int
    height: int
    sha256: str
    size_bytes: int
    stored: bool = False


@dataclass(frozen=True, slots=True)
class NewPicture:
    """A checked picture on its way into the catalogue."""

    picture: Picture
    content: bytes


@dataclass(frozen=True, slots=True)
class ItemVector:
    """A vector of an item, ready to store: `[D]` float32, of unit length where the space's metric is cosine.

    `picture_id` names the picture that it was made from; it is empty for a vector that the caller brought.
    """

    space: str
    picture_id: str
    values: Float32Array


PictureVectors = Mapping[str, Mapping[str, Float32Array]]
"""Vectors made from pictures, each `[D]` float32: by the SHA-256 of the picture as put, then by space."""


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """Vectors that were made from an item's pictures, while `category` was the one that its caller gave it, if any."""

    category: str
    pictures: PictureVectors


@dataclass(frozen=True, slots=True)
class MadeFor:
    """What an item was when the vectors of a change were made; None for what they don't depend on.

    Attributes:
        category: the one that its caller gave it, empty where there was none.
        pictures: id and SHA-256 of each, in their order.
    """

    category: str | None = None
    pictures: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class WritableItem:
    """A checked item with all its vectors, ready to commit.

    Attributes:
        etag: where it is not empty, the stored item must have it.
        digest: SHA-256 of all that the item was made from, the models' fingerprints included; empty where it is
            unknown. Two items of one id and one digest are the same.
        category_probability: of a category that was predicted; None where the caller gave it, or there is none.
        category_unknown: whether its vectors are those of an unknown category, since the model doesn't know its own.
    """

    id: str
    title: str
    uri: str
    category: str
    attributes: Mapping[str, Attribute]
    pictures: Sequence[NewPicture]
    vectors: Sequence[ItemVector]
    etag: str = ""
    digest: bytes = b""
    category_probability: float | None = None
    category_unknown: bool = False


@dataclass(frozen=True, slots=True)
class ItemUpdate:
    """A change of some fields of a stored item; a field that is None stays as it is.

    Attributes:
        etag: where it is not empty, the stored item must have it.
        attributes: all attributes anew.
        changed_attributes: single attributes, applied after `attributes`; None takes one away.
        pictures: all pictures anew; `vectors` then holds those made from them.
        vectors: vectors anew of every space that one of them is of; those of other spaces stay.
        prediction: the category by the new pictures, for an item whose caller gives it none. Where that has a predicted
            one and gets new pictures, None takes it away.
        made_for: what the stored item must still be, since the vectors were made for that; None where they weren't.
        category_unknown: as in `WritableItem`.
    """

    id: str
    etag: str = ""
    title: str | None = None
    uri: str | None = None
    category: str | None = None
    attributes: Mapping[str, Attribute] | None = None
    changed_attributes: Mapping[str, Attribute | None] = field(default_factory=dict)
    pictures: Sequence[NewPicture] | None = None
    vectors: Sequence[ItemVector] | None = None
    prediction: Prediction | None = None
    made_for: MadeFor | None = None
    category_unknown: bool = False


@dataclass(frozen=True, slots=True)
class ItemDeletion:
    """The end of a stored item. Where `etag` is not empty, the item must have it."""

    id: str
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
class Interaction:
    """One user's act on one item, such as "like", "buy", "view" or "dislike". Neither needs to be stored."""

    user_id: str
    item_id: str
    kind: str
    weight: float
    time: datetime.datetime

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


Prepared = WritableItem | ItemUpdate | ItemDeletion | WritableUser | Interaction
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


@dataclass(frozen=True, slots=True)
class Item:
    """A stored item. `vectors` is None where the reader didn't ask for them.

    `category_probability` is that of a category which was predicted; None where the caller gave it, or there is none.
    """

    id: str
    title: str
    uri: str
    category: str
    attributes: Mapping[str, Attribute]
    pictures: Sequence[Picture]
    vectors: Sequence[ItemVector] | None
    etag: str
    sequence: int
    created: datetime.datetime
    updated: datetime.datetime
    category_probability: float | None = None

    @property
    def own_category(self) -> str:
        """The category that the caller gave the item; empty where there is none, or a predicted one."""
        return self.category if self.category_probability is None else ""


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture together with what is kept of its content, which may be a smaller copy.

    All of `picture` but its `sha256`, which is that of the content as it was put, describes the content at hand.
    """

    picture: Picture
    content: bytes


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A found item: its best picture (empty for a put vector) and that picture's distance, lower is better."""

    item_id: str
    picture_id: str
    distance: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Neighbours, nearest first; equal distances in the byte order of their ids.

    `exact` is True where every live vector was compared. `examined` counts the vectors compared. `sequence` is the
    last change that the search saw.
    """

    neighbours: Sequence[Neighbour]
    exact: bool
    examined: int
    sequence: int


@dataclass(frozen=True, slots=True)
class SpaceStatus:
    """A space and the state of its index."""

    space: Space
    vectors: int
    generation: int
    delta: int


@dataclass(frozen=True, slots=True)
class CatalogStatus:
    """Counts over the catalogue, its spaces by name, and the sequence of the last durable change."""

    items: int
    pictures: int
    spaces: Sequence[SpaceStatus]
    sequence: int
    users: int = 0
    interactions: int = 0
