"""What is read from the tables. Each function takes one connection, and sees one state of the catalogue."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twinset_server.catalog.store import attributes
from twinset_server.catalog.store.times import from_microseconds
from twinset_server.domain import (
    Float32Array,
    Interaction,
    Item,
    ItemVector,
    Picture,
    StoredInteraction,
    User,
    UserData,
)
from twinset_server.errors import ItemNotFound, NoVector, PictureNotFound, UserNotFound

# Lists travel as one JSON parameter: one statement to prepare, whatever their length.
_ITEMS_BY_ID = """
SELECT key, id, title, uri, category, attributes, etag, seq, created, updated, probability
FROM items LEFT JOIN predicted_categories ON item = key
WHERE id IN (SELECT value FROM json_each(?))
"""
_ITEMS_AFTER = """
SELECT key, id, title, uri, category, attributes, etag, seq, created, updated, probability
FROM items LEFT JOIN predicted_categories ON item = key
WHERE id > ? ORDER BY id LIMIT ?
"""
_PICTURES = """
SELECT item, id, media_type, width, height, sha256, size_bytes, content FROM pictures
WHERE item IN (SELECT value FROM json_each(?)) ORDER BY item, position
"""
_PICTURE = """
SELECT id, media_type, width, height, sha256, size_bytes, content FROM pictures
WHERE item = ?1 AND (?2 = '' OR id = ?2) ORDER BY position LIMIT 1
"""
_VECTORS = """
SELECT vectors.item, shown.name, picture, value, fingerprint
FROM vectors JOIN shown_spaces AS shown ON shown.key = vectors.space
WHERE vectors.item IN (SELECT value FROM json_each(?)) ORDER BY vectors.key
"""
_VECTOR = """
SELECT value FROM vectors JOIN spaces ON spaces.key = vectors.space
WHERE vectors.item = ?1 AND spaces.name = ?2
AND (picture = '' OR picture = (SELECT id FROM pictures WHERE item = ?1 ORDER BY position LIMIT 1))
ORDER BY picture LIMIT 1
"""

_PICTURE_VECTORS = """
SELECT items.id, iif(probability IS NULL, items.category, ''), pictures.sha256, shown.name, fingerprint, value
FROM items LEFT JOIN predicted_categories ON predicted_categories.item = items.key
JOIN pictures ON pictures.item = items.key
JOIN vectors ON vectors.item = items.key AND vectors.picture = pictures.id
JOIN shown_spaces AS shown ON shown.key = vectors.space
WHERE items.id IN (SELECT value FROM json_each(?)) AND pictures.sha256 IN (SELECT value FROM json_each(?))
"""
_COUNTS = """
SELECT (SELECT value FROM meta WHERE name = 'items'), (SELECT value FROM meta WHERE name = 'pictures'),
(SELECT value FROM meta WHERE name = 'users'), (SELECT value FROM meta WHERE name = 'interactions'),
(SELECT value FROM meta WHERE name = 'sequence')
"""
_USER_VECTORS = """
SELECT name, value, fingerprint FROM user_vectors JOIN shown_spaces ON key = space WHERE user = ? ORDER BY name
"""
_FACTOR_STATES = "SELECT state FROM factor_users JOIN factor_generations USING (space) WHERE id = ?"
_INTERACTIONS = """
SELECT seq, user, item, kind, weight, time, recommendation FROM interactions WHERE seq > ? ORDER BY seq LIMIT ?
"""

_ItemRow = tuple[int, str, str, str, str, str, str, int, int, int, float | None]


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of what there is, and the sequence of the last durable change."""

    items: int
    pictures: int
    users: int
    interactions: int
    sequence: int


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """What is known of a picture as it was put, and the SHA-256 of the file that is kept of it, None where none is."""

    picture: Picture
    content: str | None


def sequence(connection: sqlite3.Connection) -> int:
    """Return the sequence of the last durable change; 0 before the first."""
    (value,) = connection.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchone()
    return int(value)


def counts(connection: sqlite3.Connection) -> Counts:
    """Return how much there is, and the sequence of the last durable change; 0 before the first."""
    return Counts(*connection.execute(_COUNTS).fetchone())


def get(connection: sqlite3.Connection, item_ids: Sequence[str], with_vectors: bool) -> list[Item | None]:
    """Return the items in the order of `item_ids`, None for each that isn't there."""
    with _snapshot(connection):
        rows = connection.execute(_ITEMS_BY_ID, (json.dumps(list(item_ids)),)).fetchall()
        found = {item.id: item for item in _items(connection, rows, with_vectors)}
    return [found.get(item_id) for item_id in item_ids]


def keys(connection: sqlite3.Connection, item_ids: Sequence[str]) -> dict[str, int]:
    """Return the keys of those items that are there, by id."""
    statement = "SELECT id, key FROM items WHERE id IN (SELECT value FROM json_each(?))"
    return dict(connection.execute(statement, (json.dumps(list(item_ids)),)).fetchall())


def page(connection: sqlite3.Connection, after: str, limit: int, with_vectors: bool) -> list[Item]:
    """Return up to `limit` items with ids above `after`, by id."""
    with _snapshot(connection):
        rows = connection.execute(_ITEMS_AFTER, (after, limit)).fetchall()
        return _items(connection, rows, with_vectors)


def digests(connection: sqlite3.Connection, item_ids: Sequence[str]) -> dict[str, bytes]:
    """Return the digests of those items that are there, by id; empty where it is unknown what an item was made from."""
    statement = "SELECT id, digest FROM items WHERE id IN (SELECT value FROM json_each(?))"
    return dict(connection.execute(statement, (json.dumps(list(item_ids)),)).fetchall())


def picture_vectors(
    connection: sqlite3.Connection, wanted: Mapping[str, Collection[str]]
) -> Iterator[tuple[str, str, str, str, str, bytes]]:
    """Yield the vectors made from pictures of items.

    Item, the category that its caller gave it, SHA-256 of the picture, space, its fingerprint, little-endian float32.

    Args:
        connection: to the tables.
        wanted: by item the SHA-256 of pictures.
    """
    digests = sorted({sha256 for ones in wanted.values() for sha256 in ones})
    found = connection.execute(_PICTURE_VECTORS, (json.dumps(list(wanted)), json.dumps(digests)))
    return (row for row in found if row[2] in wanted[row[0]])


def user(connection: sqlite3.Connection, user_id: str) -> User:
    """Return a user.

    Raises:
        UserNotFound: no user has this id.
    """
    with _snapshot(connection):
        found = _user(connection, user_id)
    if found is None:
        raise UserNotFound(user_id)
    return found


def user_data(connection: sqlite3.Connection, user_id: str) -> UserData:
    """Return what is stored of a user.

    Raises:
        UserNotFound: nothing is.
    """
    with _snapshot(connection):
        found = _user(connection, user_id)
        (acts,) = connection.execute("SELECT count(*) FROM interactions WHERE user = ?", (user_id,)).fetchone()
        states = {state for (state,) in connection.execute(_FACTOR_STATES, (user_id,))}
    if found is None and not acts and not states:
        raise UserNotFound(user_id)
    return UserData(found, acts, has_factors="active" in states)


def _user(connection: sqlite3.Connection, user_id: str) -> User | None:
    statement = "SELECT key, attributes, etag, seq, created, updated FROM users WHERE id = ?"
    found = connection.execute(statement, (user_id,)).fetchone()
    if found is None:
        return None
    key, encoded, etag, sequence, created, updated = found
    vectors = [
        ItemVector(space, "", _values(value), fingerprint)
        for space, value, fingerprint in connection.execute(_USER_VECTORS, (key,)).fetchall()
    ]
    return User(
        id=user_id,
        attributes=attributes.decode(encoded),
        vectors=tuple(vectors),
        etag=etag,
        sequence=sequence,
        created=from_microseconds(created),
        updated=from_microseconds(updated),
    )


def interactions(connection: sqlite3.Connection, after: int, limit: int) -> list[StoredInteraction]:
    """Return up to `limit` interactions stored by changes above `after`, in the order of their changes."""
    return [
        StoredInteraction(Interaction(user_id, item_id, kind, weight, from_microseconds(time), answer), sequence)
        for sequence, user_id, item_id, kind, weight, time, answer in connection.execute(_INTERACTIONS, (after, limit))
    ]


def picture(connection: sqlite3.Connection, item_id: str, picture_id: str) -> KeptPicture:
    """Return what is known of an item's picture, of the main one where `picture_id` is empty.

    Raises:
        ItemNotFound, PictureNotFound: no such item, or it has no such picture.
    """
    with _snapshot(connection):
        item = _key(connection, item_id)
        found = connection.execute(_PICTURE, (item, picture_id)).fetchone()
    if found is None:
        name = f"{picture_id!r}" if picture_id else "at all"
        raise PictureNotFound(picture_id, f"item {item_id!r} has no picture {name}")
    return KeptPicture(_picture(found), found[-1])


def vector_of(connection: sqlite3.Connection, item_id: str, space: str) -> Float32Array:
    """Return the item's vector in `space`: the caller's own, else the main picture's.

    Raises:
        ItemNotFound: no item has this id.
        NoVector: the item has none in this space.
    """
    with _snapshot(connection):
        item = _key(connection, item_id)
        found = connection.execute(_VECTOR, (item, space)).fetchone()
    if found is None:
        raise NoVector(item_id, f"item {item_id!r} has no vector in space {space!r}: put it with a picture or a vector")
    return _values(found[0])


def _key(connection: sqlite3.Connection, item_id: str) -> int:
    found = connection.execute("SELECT key FROM items WHERE id = ?", (item_id,)).fetchone()
    if found is None:
        raise ItemNotFound(item_id)
    return int(found[0])


def _items(connection: sqlite3.Connection, rows: Sequence[_ItemRow], with_vectors: bool) -> list[Item]:
    pictures: dict[int, list[Picture]] = {row[0]: [] for row in rows}
    vectors: dict[int, list[ItemVector]] = {row[0]: [] for row in rows}
    keys = json.dumps([row[0] for row in rows])
    for item, *columns in connection.execute(_PICTURES, (keys,)):
        pictures[item].append(_picture(columns))
    if with_vectors:
        for item, space, picture_id, value, fingerprint in connection.execute(_VECTORS, (keys,)):
            vectors[item].append(ItemVector(space, picture_id, _values(value), fingerprint))
    return [
        Item(
            id=item_id,
            title=title,
            uri=uri,
            category=category,
            attributes=attributes.decode(encoded),
            pictures=tuple(pictures[key]),
            vectors=tuple(vectors[key]) if with_vectors else None,
            etag=etag,
            sequence=seq,
            created=from_microseconds(created),
            updated=from_microseconds(updated),
            category_probability=probability,
        )
        for key, item_id, title, uri, category, encoded, etag, seq, created, updated, probability in rows
    ]


def _picture(columns: Sequence[Any]) -> Picture:
    picture_id, media_type, width, height, sha256, size_bytes, content = columns
    return Picture(picture_id, media_type, width, height, sha256, size_bytes, stored=content is not None)


def _values(blob: bytes) -> Float32Array:
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)


@contextlib.contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Let the statements within see one state, whatever commits meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")
