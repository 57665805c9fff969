"""Items: as callers give them, ready to commit, and as they are stored."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twinset_server.domain.pictures import ItemVector, NewPicture, Picture, PictureDraft, Prediction
from twinset_server.domain.spaces import Vector
from twinset_server.domain.values import Attribute


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
