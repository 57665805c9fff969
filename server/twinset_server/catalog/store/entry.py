"""A change checked and turned into what the tables hold, before it enters the writer's queue."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twinset.contract import Metric
from twinset_server.catalog.store import attributes
from twinset_server.catalog.store.times import to_microseconds
from twinset_server.domain import (
    Change,
    Float32Array,
    Interaction,
    ItemDeletion,
    ItemUpdate,
    ItemVector,
    MadeFor,
    NewPicture,
    Prediction,
    Refused,
    Space,
    UserDeletion,
    WritableItem,
    WritableUser,
    length_of,
)
from twinset_server.errors import BadVector, ImportedSpace, InvalidRequest, ModelSwitched, SpaceNotFound

_SHA256 = re.compile(r"[0-9a-f]{64}")

_UNIT_TOLERANCE = 1e-3
"""Low precision leaves a scaled vector this close to unit length; more means that nobody scaled it."""

_NEAR_UNIT = 1e-6
"""What float32 leaves of it."""


@dataclass(frozen=True, slots=True)
class EntryVector:
    """A vector to store: `values` is `[D]` float32 of the entry's own, little-endian; else as in `ItemVector`."""

    space: str
    picture_id: str
    values: Float32Array
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An item to store. `attributes` is JSON text."""

    id: str
    etag: str
    title: str
    uri: str
    category: str
    attributes: str
    pictures: Sequence[NewPicture]
    vectors: Sequence[EntryVector]
    digest: bytes
    category_probability: float | None = None


@dataclass(frozen=True, slots=True)
class EntryUpdate:
    """Fields of an item to store, None for those that stay. `changed_attributes` is for `attributes.merged`."""

    id: str
    etag: str
    title: str | None
    uri: str | None
    category: str | None
    attributes: str | None
    changed_attributes: str | None
    pictures: Sequence[NewPicture] | None
    vectors: Sequence[EntryVector] | None
    prediction: Prediction | None = None
    made_for: MadeFor | None = None


@dataclass(frozen=True, slots=True)
class UserEntry:
    """A user to store. `attributes` is JSON text."""

    id: str
    etag: str
    attributes: str
    vectors: Sequence[EntryVector]


@dataclass(frozen=True, slots=True)
class InteractionEntry:
    """An interaction to store; `time` is microseconds since 1970."""

    user_id: str
    item_id: str
    kind: str
    weight: float
    time: int
    recommendation_id: str = ""


Checked = Entry | EntryUpdate | ItemDeletion | UserEntry | UserDeletion | InteractionEntry
"""A change ready to store."""


def checked(change: Change, spaces: Mapping[str, Space]) -> Checked:
    """Return `change` ready to store.

    Raises:
        TwinsetError: the error of a change that was refused before.
        InvalidRequest: text that isn't UTF-8, an attribute, a time, a weight or a SHA-256 that can't be stored.
        BadVector: a vector doesn't fit its space.
        SpaceNotFound: a vector's space doesn't exist.
        ModelSwitched: a vector's space is filled by another model than the vector's.
    """
    match change:
        case WritableItem():
            return entry(change, spaces)
        case ItemUpdate():
            return _update(change, spaces)
        case ItemDeletion():
            _check_texts(id=change.id, etag=change.etag)
            return change
        case WritableUser():
            return _user(change, spaces)
        case UserDeletion():
            _check_texts(id=change.id)
            return change
        case Interaction():
            return _interaction(change)
        case Refused():
            raise change.error


def entry(item: WritableItem, spaces: Mapping[str, Space]) -> Entry:
    """Return `item` ready to store; see `checked`."""
    _check_texts(id=item.id, etag=item.etag, title=item.title, uri=item.uri, category=item.category)
    return Entry(
        id=item.id,
        etag=item.etag,
        title=item.title,
        uri=item.uri,
        category=item.category,
        attributes=_encoded(attributes.encode(item.attributes)),
        pictures=_pictures(item.pictures),
        vectors=_vectors(item.vectors, spaces),
        digest=item.digest,
        category_probability=item.category_probability,
    )


def fitted(field: str, values: Float32Array, space: Space) -> Float32Array:
    """Return a copy of `values` that fits `space`: little-endian, and in a cosine space of unit length to the last bit.

    A model of low precision may be a thousandth off, and rows of different lengths would be found in a wrong order.

    Raises:
        BadVector: another dimension, a component that isn't finite, or not of unit length in a cosine space.
    """
    if values.shape != (space.dimension,):
        raise BadVector(
            field, f"has shape {list(values.shape)}, but space {space.name!r} has dimension {space.dimension}"
        )
    length = length_of(values)
    if not math.isfinite(length):
        raise BadVector(field, "has a component that is not finite")
    if space.metric is not Metric.COSINE:
        return np.array(values, dtype="<f4")
    if abs(length - 1) > _UNIT_TOLERANCE:
        raise BadVector(field, f"is not of unit length, as space {space.name!r} requires")
    return (values / np.float64(length)).astype("<f4")


def fitted_query(values: Float32Array, space: Space) -> Float32Array:
    """Return what `fitted` does for what is searched for; `values` themselves where one product tells that they fit.

    Raises:
        BadVector: as `fitted`.
    """
    if values.shape == (space.dimension,):
        length = length_of(values)
        # Rows of unequal lengths would be found in a wrong order; that of a query changes all distances alike.
        if abs(length - 1) <= _NEAR_UNIT if space.metric is Metric.COSINE else math.isfinite(length):
            return values
    return fitted("query", values, space)


def _update(update: ItemUpdate, spaces: Mapping[str, Space]) -> EntryUpdate:
    _check_texts(
        id=update.id, etag=update.etag, title=update.title or "", uri=update.uri or "", category=update.category or ""
    )
    changes = update.changed_attributes
    return EntryUpdate(
        id=update.id,
        etag=update.etag,
        title=update.title,
        uri=update.uri,
        category=update.category,
        attributes=None if update.attributes is None else _encoded(attributes.encode(update.attributes)),
        changed_attributes=_encoded(attributes.encode_changes(changes)) if changes else None,
        pictures=None if update.pictures is None else _pictures(update.pictures),
        vectors=None if update.vectors is None else _vectors(update.vectors, spaces),
        prediction=update.prediction,
        made_for=update.made_for,
    )


def _user(user: WritableUser, spaces: Mapping[str, Space]) -> UserEntry:
    _check_texts(id=user.id, etag=user.etag)
    vectors = _vectors(user.vectors, spaces)
    taken: set[str] = set()
    for place, vector in enumerate(vectors):
        if vector.space in taken:
            raise InvalidRequest(f"vectors[{place}].space", f"a user has one vector in space {vector.space!r}, not two")
        taken.add(vector.space)
    return UserEntry(user.id, user.etag, _encoded(attributes.encode(user.attributes)), vectors)


def _interaction(interaction: Interaction) -> InteractionEntry:
    _check_texts(
        user_id=interaction.user_id,
        item_id=interaction.item_id,
        kind=interaction.kind,
        recommendation_id=interaction.recommendation_id,
    )
    if not math.isfinite(interaction.weight):
        raise InvalidRequest("weight", f"{interaction.weight} is not a finite number")
    if interaction.time.tzinfo is None:
        raise InvalidRequest("time", "has no zone: give it in UTC")
    return InteractionEntry(
        interaction.user_id,
        interaction.item_id,
        interaction.kind,
        interaction.weight,
        to_microseconds(interaction.time.astimezone(datetime.UTC)),
        interaction.recommendation_id,
    )


def _pictures(pictures: Sequence[NewPicture]) -> tuple[NewPicture, ...]:
    for place, new in enumerate(pictures):
        _check_text(f"pictures[{place}].id", new.picture.id)
        # It becomes a file's name: nothing but digits may reach the file system.
        if not _SHA256.fullmatch(new.picture.sha256):
            raise InvalidRequest(f"pictures[{place}].sha256", "must be 64 hexadecimal digits")
    return tuple(pictures)


def _vectors(vectors: Sequence[ItemVector], spaces: Mapping[str, Space]) -> tuple[EntryVector, ...]:
    return tuple(_vector(f"vectors[{place}]", vector, spaces) for place, vector in enumerate(vectors))


def _vector(field: str, vector: ItemVector, spaces: Mapping[str, Space]) -> EntryVector:
    space = spaces.get(vector.space)
    expected = space.fingerprint if space else ""
    if vector.fingerprint and vector.fingerprint != expected:
        raise ModelSwitched(vector.space, given=vector.fingerprint, expected=expected)
    if space is None:
        raise SpaceNotFound(vector.space, spaces)
    if space.generation is not None:
        raise ImportedSpace(
            field,
            f"{field}: the space {space.name!r} holds imported factors of {space.fingerprint}, and takes no single "
            "vectors: import a folder of factors instead",
        )
    _check_text(f"{field}.picture_id", vector.picture_id)
    return EntryVector(vector.space, vector.picture_id, fitted(field, vector.values, space), vector.fingerprint)


def _encoded(text: str) -> str:
    _check_text("attributes", text)
    return text


def _check_texts(**texts: str) -> None:
    for field, text in texts.items():
        _check_text(field, text)


def _check_text(field: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(field, f"is not valid Unicode text: {error.reason}") from error
