"""An item checked and turned into what the tables hold, before it enters the writer's queue."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twinset.contract import Metric
from twinset_server.catalog.store import attributes
from twinset_server.domain import Float32Array, ItemVector, NewPicture, Space, WritableItem
from twinset_server.errors import BadVector, InvalidRequest, SpaceNotFound

_SHA256 = re.compile(r"[0-9a-f]{64}")

_UNIT_TOLERANCE = 1e-3
"""Low precision leaves a scaled vector this close to unit length; more means that nobody scaled it."""


@dataclass(frozen=True, slots=True)
class EntryVector:
    """A vector to store: `values` is `[D]` float32 of the entry's own, little-endian."""

    space: str
    picture_id: str
    values: Float32Array


@dataclass(frozen=True, slots=True)
class Entry:
    """An item to store."""

    id: str
    title: str
    uri: str
    category: str
    attributes: str
    pictures: Sequence[NewPicture]
    vectors: Sequence[EntryVector]


def entry(item: WritableItem, spaces: Mapping[str, Space]) -> Entry:
    """Return `item` ready to store.

    Raises:
        InvalidRequest: text that isn't UTF-8, an attribute or a SHA-256 that can't be stored.
        BadVector: a vector doesn't fit its space.
        SpaceNotFound: a vector's space doesn't exist.
    """
    for name, text in (("id", item.id), ("title", item.title), ("uri", item.uri), ("category", item.category)):
        _check_text(name, text)
    encoded = attributes.encode(item.attributes)
    _check_text("attributes", encoded)
    for place, new in enumerate(item.pictures):
        _check_text(f"pictures[{place}].id", new.picture.id)
        # It becomes a file's name: nothing but digits may reach the file system.
        if not _SHA256.fullmatch(new.picture.sha256):
            raise InvalidRequest(f"pictures[{place}].sha256", "must be 64 hexadecimal digits")
    vectors = tuple(_vector(place, vector, spaces) for place, vector in enumerate(item.vectors))
    return Entry(item.id, item.title, item.uri, item.category, encoded, tuple(item.pictures), vectors)


def _vector(place: int, vector: ItemVector, spaces: Mapping[str, Space]) -> EntryVector:
    field = f"vectors[{place}]"
    space = spaces.get(vector.space)
    if space is None:
        raise SpaceNotFound(vector.space)
    _check_text(f"{field}.picture_id", vector.picture_id)
    return EntryVector(vector.space, vector.picture_id, fitted(field, vector.values, space))


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
    if not np.isfinite(values).all():
        raise BadVector(field, "has a component that is not finite")
    if space.metric is not Metric.COSINE:
        return np.array(values, dtype="<f4")
    length = float(np.linalg.norm(values.astype(np.float64)))
    if abs(length - 1) > _UNIT_TOLERANCE:
        raise BadVector(field, f"is not of unit length, as space {space.name!r} requires")
    return (values / length).astype("<f4")


def _check_text(field: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(field, f"is not valid Unicode text: {error.reason}") from error
