"""What a catalogue must hold and answer: a dict, and an exact search in float64. Told of every change that was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fakes import filters
from fakes.catalog import distance
from twinset_server.domain import (
    Attribute,
    Change,
    Expression,
    Float32Array,
    Interaction,
    Item,
    ItemDeletion,
    ItemUpdate,
    ItemVector,
    NewPicture,
    Receipt,
    Space,
    WritableItem,
    WritableUser,
)
from twinset_server.errors import ItemNotFound, StaleEtag, TwinsetError

Vectors = dict[tuple[str, str], tuple[float, ...]]


@dataclass(slots=True)
class Model:
    """The expected state. Items are as they would be put, with the etag that the catalogue gave them."""

    spaces: Mapping[str, Space]
    items: dict[str, WritableItem] = field(default_factory=dict)
    users: dict[str, WritableUser] = field(default_factory=dict)
    interactions: list[tuple[int, Interaction]] = field(default_factory=list)
    sequence: int = 0

    def refusal(self, change: Change) -> type[TwinsetError] | None:
        """Return the error that a change must meet now, None where it must be made."""
        match change:
            case ItemUpdate() | ItemDeletion() if change.id not in self.items:
                return ItemNotFound
            case WritableItem() | ItemUpdate() | ItemDeletion():
                stored = self.items[change.id].etag if change.id in self.items else ""
            case WritableUser():
                stored = self.users[change.id].etag if change.id in self.users else ""
            case Interaction():
                return None
        return StaleEtag if change.etag and change.etag != stored else None

    def make(self, change: Change, receipt: Receipt) -> None:
        """Take in a change that was made; its sequence must be above every earlier one's."""
        assert receipt.sequence > self.sequence, f"sequence {receipt.sequence} after {self.sequence}"
        self.sequence = receipt.sequence
        match change:
            case WritableItem():
                self.items[change.id] = replace(change, etag=receipt.etag)
            case ItemUpdate():
                self.items[change.id] = replace(_updated(self.items[change.id], change), etag=receipt.etag)
            case ItemDeletion():
                del self.items[change.id]
            case WritableUser():
                self.users[change.id] = replace(change, etag=receipt.etag)
            case Interaction():
                self.interactions.append((receipt.sequence, change))

    def search(
        self, space: str, query: Float32Array, k: int, exclude: frozenset[str], expression: Expression | None = None
    ) -> list[tuple[str, float]]:
        """Return the nearest items that match with their distances, each by its best vector."""
        found = []
        for item in self.matching(expression):
            own = [vector.values for vector in item.vectors if vector.space == space]
            if own and item.id not in exclude:
                found.append((item.id, min(distance(query, values, self.spaces[space].metric) for values in own)))
        return sorted(found, key=lambda one: (round(one[1], 9), one[0].encode()))[:k]

    def matching(self, expression: Expression | None) -> list[WritableItem]:
        """Return the items that a filter leaves."""
        items = self.items.values()
        return [item for item in items if expression is None or filters.matches(filters.fields_of(item), expression)]

    def counts(self) -> tuple[int, int, int, int, dict[str, int]]:
        """Return the numbers of items, pictures, users, interactions, and vectors by space."""
        vectors = [vector.space for item in self.items.values() for vector in item.vectors]
        return (
            len(self.items),
            sum(len(item.pictures) for item in self.items.values()),
            len(self.users),
            len(self.interactions),
            {space: vectors.count(space) for space in self.spaces},
        )


def differences(stored: Item, expected: WritableItem) -> list[str]:
    """Return in what a stored item isn't the one that was put."""
    found = [
        f"{ours} is not {theirs}" for ours, theirs in zip(_seen(stored), _seen(expected), strict=True) if ours != theirs
    ]
    return found + vector_differences(stored.vectors or (), expected.vectors)


def vector_differences(stored: Sequence[ItemVector], expected: Sequence[ItemVector]) -> list[str]:
    """Return in what stored vectors aren't those that were put; the store scales some, which may move a last bit."""
    ours, theirs = vectors_of(stored), vectors_of(expected)
    if ours.keys() != theirs.keys():
        return [f"vectors {sorted(ours)}, not {sorted(theirs)}"]
    return [f"vector {name} is another" for name in ours if not np.allclose(ours[name], theirs[name], atol=1e-6)]


def _seen(item: Item | WritableItem) -> tuple[object, ...]:
    return (
        item.id,
        item.title,
        item.uri,
        item.category,
        dict(item.attributes),
        [_picture(one) for one in item.pictures],
        item.etag,
    )


def vectors_of(vectors: Sequence[ItemVector]) -> Vectors:
    return {(one.space, one.picture_id): tuple(np.asarray(one.values).tolist()) for one in vectors}


def _picture(picture: object) -> tuple[str, str, int]:
    inner = picture.picture if isinstance(picture, NewPicture) else picture
    return inner.id, inner.sha256, inner.size_bytes  # type: ignore[attr-defined]


def _updated(item: WritableItem, update: ItemUpdate) -> WritableItem:
    attributes: dict[str, Attribute] = dict(item.attributes if update.attributes is None else update.attributes)
    for name, value in update.changed_attributes.items():
        if value is None:
            attributes.pop(name, None)
        else:
            attributes[name] = value
    vectors = list(item.vectors)
    if update.pictures is not None:
        vectors = [vector for vector in vectors if not vector.picture_id]
    if update.vectors is not None:
        anew = {vector.space for vector in update.vectors}
        vectors = [vector for vector in vectors if vector.space not in anew] + list(update.vectors)
    return replace(
        item,
        title=item.title if update.title is None else update.title,
        uri=item.uri if update.uri is None else update.uri,
        category=item.category if update.category is None else update.category,
        attributes=attributes,
        pictures=item.pictures if update.pictures is None else update.pictures,
        vectors=vectors,
        digest=b"",
    )
