"""What changes do to the tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from twinset_server.catalog.store import attributes, generations, spaces
from twinset_server.catalog.store.entry import Checked, Entry, EntryUpdate, EntryVector, InteractionEntry, UserEntry
from twinset_server.domain import ItemDeletion, MadeFor, NewPicture, Receipt, UserDeletion
from twinset_server.errors import ItemChanged, ItemNotFound, ModelSwitched, StaleEtag, UserNotFound

_OF_USER = (
    "DELETE FROM users WHERE id = ?",
    "DELETE FROM interactions WHERE user = ?",
    "DELETE FROM factor_users WHERE id = ?",
)
"""All that is stored by a user's id."""


class _Vector(NamedTuple):
    space: int
    picture_id: str
    value: bytes


class _StoredVector(NamedTuple):
    key: int
    vector: _Vector


class Changes:
    """The changes of one transaction, each with the next sequence.

    Attributes:
        sequence: of the last change.
    """

    def __init__(self, connection: sqlite3.Connection, now_us: int) -> None:
        """Begin after the last change; `now_us` is the time of all changes, microseconds since 1970."""
        self._connection = connection
        self._now_us = now_us
        found = connection.execute("SELECT name, key, fingerprint FROM shown_spaces").fetchall()
        self._spaces = {name: key for name, key, _ in found}
        self._fingerprints = {name: fingerprint for name, _, fingerprint in found}
        all_spaces = spaces.keyed(connection).items()
        self._factor_spaces = {key for name, (key, _) in all_spaces if name.startswith(generations.HIDDEN)}
        (self.sequence,) = connection.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchone()

    def apply(self, change: Checked, contents: Mapping[str, str]) -> Receipt:
        """Make a change. Where it raises, whoever calls undoes what was done of it.

        Args:
            change: what to do.
            contents: the SHA-256 of the file that is kept of a picture, by that of the picture; where it has none,
                nothing is.

        Raises:
            ItemNotFound: an update or a deletion of an item that isn't there.
            UserNotFound: a deletion of a user of whom nothing is stored.
            StaleEtag: what is stored has another etag.
            ModelSwitched: its vectors were made by a model that doesn't fill their space any more.
        """
        if isinstance(change, Entry | EntryUpdate | UserEntry):
            self._check_fingerprints(change.vectors or ())
        sequence = self.sequence + 1
        etag = f"{sequence:x}"
        match change:
            case Entry():
                self._put(change, sequence, etag, contents)
            case EntryUpdate():
                self._update(change, sequence, etag, contents)
            case ItemDeletion():
                self._delete(change, sequence)
                etag = ""
            case UserEntry():
                self._put_user(change, sequence, etag)
            case UserDeletion():
                self._delete_user(change.id)
                etag = ""
            case InteractionEntry():
                self._connection.execute(
                    "INSERT INTO interactions (seq, user, item, kind, weight, time, recommendation)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        sequence,
                        change.user_id,
                        change.item_id,
                        change.kind,
                        change.weight,
                        change.time,
                        change.recommendation_id,
                    ),
                )
                etag = ""
        self.sequence = sequence
        return Receipt(etag, sequence)

    def drop(self, contents: Iterable[str]) -> None:
        """Have the collector look whether `contents`, SHA-256 of files, are still used."""
        self._connection.executemany("INSERT OR IGNORE INTO dropped VALUES (?)", ((content,) for content in contents))

    def finish(self) -> None:
        """Keep the last sequence given, so that it is never given again."""
        self._connection.execute("UPDATE meta SET value = ? WHERE name = 'sequence'", (self.sequence,))

    def _put(self, entry: Entry, sequence: int, etag: str, contents: Mapping[str, str]) -> None:
        execute = self._connection.execute
        found = execute("SELECT key, etag FROM items WHERE id = ?", (entry.id,)).fetchone()
        _check_etag("item", entry.id, entry.etag, found[1] if found else "")
        values = (entry.title, entry.uri, entry.category, entry.attributes, etag, sequence, self._now_us, entry.digest)
        if found is None:
            [(item,)] = execute(
                "INSERT INTO items (title, uri, category, attributes, etag, seq, updated, digest, created, id)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING key",
                (*values, self._now_us, entry.id),
            ).fetchall()
        else:
            (item, _) = found
            self._clear_pictures(item)
            execute(
                "UPDATE items SET title = ?, uri = ?, category = ?, attributes = ?, etag = ?, seq = ?, updated = ?,"
                " digest = ? WHERE key = ?",
                (*values, item),
            )
        self._add_pictures(item, entry.pictures, contents)
        if found is not None or entry.category_probability is not None:
            self._set_probability(item, entry.category_probability)
        # Factors are no part of what a caller puts.
        old = [] if found is None else [one for one in self._stored_vectors(item) if not self._is_factor(one)]
        self._replace_vectors(item, old, entry.vectors, sequence)

    def _update(self, update: EntryUpdate, sequence: int, etag: str, contents: Mapping[str, str]) -> None:
        execute = self._connection.execute
        found = execute(
            "SELECT key, etag, attributes, category, probability FROM items"
            " LEFT JOIN predicted_categories ON item = key WHERE id = ?",
            (update.id,),
        ).fetchone()
        if found is None:
            raise ItemNotFound(update.id)
        item, stored_etag, encoded, category, probability = found
        _check_etag("item", update.id, update.etag, stored_etag)
        if update.made_for is not None:
            self._check_made_for(item, update.id, update.made_for, category if probability is None else "")
        if update.category is not None:
            category, probability = update.category, None
        if update.pictures is not None and (not category or probability is not None):
            # What was predicted is of pictures that are gone.
            new = update.prediction
            category, probability = ("", None) if new is None else (new.class_name, new.probability)
        if update.attributes is not None:
            encoded = update.attributes
        if update.changed_attributes is not None:
            encoded = attributes.merged(encoded, update.changed_attributes)
        # No digest any more: the item isn't made from what it once was made from.
        execute(
            "UPDATE items SET title = coalesce(?, title), uri = coalesce(?, uri), category = ?,"
            " attributes = ?, etag = ?, seq = ?, updated = ?, digest = x'' WHERE key = ?",
            (update.title, update.uri, category, encoded, etag, sequence, self._now_us, item),
        )
        self._set_probability(item, probability)
        if update.pictures is not None:
            self._clear_pictures(item)
            self._add_pictures(item, update.pictures, contents)
        if update.pictures is not None or update.vectors is not None:
            brought = update.vectors or ()
            anew = {self._spaces[vector.space] for vector in brought}
            old = [
                stored
                for stored in self._stored_vectors(item)
                if stored.vector.space in anew or (stored.vector.picture_id and update.pictures is not None)
            ]
            self._replace_vectors(item, old, brought, sequence)

    def _delete(self, deletion: ItemDeletion, sequence: int) -> None:
        execute = self._connection.execute
        found = execute("SELECT key, etag FROM items WHERE id = ?", (deletion.id,)).fetchone()
        if found is None:
            raise ItemNotFound(deletion.id)
        item, etag = found
        _check_etag("item", deletion.id, deletion.etag, etag)
        self._replace_vectors(item, self._stored_vectors(item), (), sequence)
        self._clear_pictures(item)
        execute("DELETE FROM items WHERE key = ?", (item,))

    def _put_user(self, user: UserEntry, sequence: int, etag: str) -> None:
        execute = self._connection.execute
        found = execute("SELECT key, etag FROM users WHERE id = ?", (user.id,)).fetchone()
        _check_etag("user", user.id, user.etag, found[1] if found else "")
        values = (user.attributes, etag, sequence, self._now_us)
        if found is None:
            [(key,)] = execute(
                "INSERT INTO users (attributes, etag, seq, updated, created, id)"
                " VALUES (?, ?, ?, ?, ?, ?) RETURNING key",
                (*values, self._now_us, user.id),
            ).fetchall()
        else:
            (key, _) = found
            execute("DELETE FROM user_vectors WHERE user = ?", (key,))
            execute("UPDATE users SET attributes = ?, etag = ?, seq = ?, updated = ? WHERE key = ?", (*values, key))
        self._connection.executemany(
            "INSERT INTO user_vectors VALUES (?, ?, ?)",
            [(key, self._spaces[vector.space], vector.values.data) for vector in user.vectors],
        )

    def _delete_user(self, user_id: str) -> None:
        execute = self._connection.execute
        execute("DELETE FROM user_vectors WHERE user = (SELECT key FROM users WHERE id = ?)", (user_id,))
        deleted = sum(execute(statement, (user_id,)).rowcount for statement in _OF_USER)
        if not deleted:
            raise UserNotFound(user_id)

    def _check_fingerprints(self, vectors: Iterable[EntryVector]) -> None:
        for vector in vectors:
            expected = self._fingerprints.get(vector.space, "")
            if vector.fingerprint and vector.fingerprint != expected:
                raise ModelSwitched(vector.space, given=vector.fingerprint, expected=expected)

    def _check_made_for(self, item: int, item_id: str, made_for: MadeFor, category: str) -> None:
        if made_for.category not in (None, category):
            raise _changed(item_id, "another category")
        if made_for.pictures is not None:
            statement = "SELECT id, sha256 FROM pictures WHERE item = ? ORDER BY position"
            if tuple(self._connection.execute(statement, (item,)).fetchall()) != made_for.pictures:
                raise _changed(item_id, "other pictures")

    def _set_probability(self, item: int, probability: float | None) -> None:
        if probability is None:
            self._connection.execute("DELETE FROM predicted_categories WHERE item = ?", (item,))
        else:
            self._connection.execute("INSERT OR REPLACE INTO predicted_categories VALUES (?, ?)", (item, probability))

    def _is_factor(self, stored: _StoredVector) -> bool:
        return stored.vector.space in self._factor_spaces

    def _stored_vectors(self, item: int) -> list[_StoredVector]:
        found = self._connection.execute("SELECT key, space, picture, value FROM vectors WHERE item = ?", (item,))
        return [_StoredVector(key, _Vector(*vector)) for key, *vector in found.fetchall()]

    def _replace_vectors(
        self, item: int, old: Iterable[_StoredVector], new: Iterable[EntryVector], sequence: int
    ) -> None:
        """Put `new` in the place of `old`. What is the same stays as it is: the index takes no notice of it."""
        ended = list(old)
        added: list[_Vector] = []
        for vector in new:
            wanted = _Vector(self._spaces[vector.space], vector.picture_id, vector.values.tobytes())
            same = next((stored for stored in ended if stored.vector == wanted), None)
            if same is None:
                added.append(wanted)
            else:
                ended.remove(same)
        self._connection.executemany("DELETE FROM vectors WHERE key = ?", [(one.key,) for one in ended])
        self._connection.executemany(
            "INSERT INTO dead VALUES (?, ?, ?)", [(sequence, one.vector.space, one.key) for one in ended]
        )
        self._connection.executemany(
            "INSERT INTO vectors (item, space, picture, value) VALUES (?, ?, ?, ?)", [(item, *one) for one in added]
        )

    def _clear_pictures(self, item: int) -> None:
        removed = self._connection.execute("DELETE FROM pictures WHERE item = ? RETURNING content", (item,)).fetchall()
        self.drop({content for (content,) in removed if content is not None})

    def _add_pictures(self, item: int, pictures: Sequence[NewPicture], contents: Mapping[str, str]) -> None:
        self._connection.executemany(
            "INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    item,
                    position,
                    new.picture.id,
                    new.picture.media_type,
                    new.picture.width,
                    new.picture.height,
                    new.picture.sha256,
                    new.picture.size_bytes,
                    contents.get(new.picture.sha256),
                )
                for position, new in enumerate(pictures)
            ],
        )


def _check_etag(kind: str, name: str, given: str, stored: str) -> None:
    if given and given != stored:
        raise StaleEtag(kind, name, given=given, stored=stored)


def _changed(item_id: str, what: str) -> ItemChanged:
    return ItemChanged(f"item {item_id!r} got {what} while this change was made ready: send the change again")
