"""What one change does to the tables. Called by the writer's thread, within its transaction."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from twinset_server.catalog.index.rows import Row
from twinset_server.catalog.store.entry import Entry
from twinset_server.domain import Space
from twinset_server.errors import StartupError


@dataclass(slots=True)
class Change:
    """What a commit means for the index and for the pictures' files.

    `added` are rows by space, in the order of their keys; `removed` are keys of vectors by space; `dropped` are the
    SHA-256 of contents that lost a reference, and may have others.
    """

    added: dict[str, list[Row]] = field(default_factory=dict)
    removed: dict[str, list[int]] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    def merge(self, later: Change) -> None:
        """Add what a later change did."""
        for space, rows in later.added.items():
            self.added.setdefault(space, []).extend(rows)
        for space, keys in later.removed.items():
            self.removed.setdefault(space, []).extend(keys)
        self.dropped |= later.dropped


class Tables:
    """The tables, for writing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._space_keys: dict[str, int] = {}
        self._space_names: dict[int, str] = {}
        for key, name in connection.execute("SELECT key, name FROM spaces"):
            self._name_space(key, name)

    def add_space(self, space: Space, path: str) -> None:
        """Add a space, or accept the one that is there.

        Raises:
            StartupError: a space of this name is there, with another dimension, metric or fingerprint.
        """
        found = self._connection.execute(
            "SELECT dimension, metric, fingerprint FROM spaces WHERE name = ?", (space.name,)
        ).fetchone()
        if found is None:
            [(key,)] = self._connection.execute(
                "INSERT INTO spaces (name, dimension, metric, fingerprint, model) VALUES (?, ?, ?, ?, ?) RETURNING key",
                (space.name, space.dimension, space.metric.value, space.fingerprint, space.model),
            ).fetchall()
            self._name_space(key, space.name)
            return
        dimension, metric, fingerprint = found
        if (dimension, metric, fingerprint) != (space.dimension, space.metric.value, space.fingerprint):
            raise StartupError(
                f"the catalogue in {path} holds space {space.name!r} with dimension {dimension}, metric {metric}, "
                f"fingerprint {fingerprint}; the server was started for dimension {space.dimension}, metric "
                f"{space.metric.value}, fingerprint {space.fingerprint}: start it with what filled the space, or set "
                "store.path to a new folder and put the items again"
            )
        self._connection.execute("UPDATE spaces SET model = ? WHERE name = ?", (space.model, space.name))

    def put(self, entry: Entry, sequence: int, now_us: int, *, etag: str, stored: bool) -> Change:
        """Write an item, replacing what is under its id. `now_us` is microseconds since 1970."""
        execute = self._connection.execute
        change = Change()
        found = execute("SELECT key FROM items WHERE id = ?", (entry.id,)).fetchone()
        values = (entry.title, entry.uri, entry.category, entry.attributes, etag, sequence, now_us)
        if found is None:
            [(item,)] = execute(
                "INSERT INTO items (title, uri, category, attributes, etag, seq, updated, created, id)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING key",
                (*values, now_us, entry.id),
            ).fetchall()
        else:
            (item,) = found
            self._clear(item, change)
            execute(
                "UPDATE items SET title = ?, uri = ?, category = ?, attributes = ?, etag = ?, seq = ?, updated = ?"
                " WHERE key = ?",
                (*values, item),
            )
        for position, new in enumerate(entry.pictures):
            picture = new.picture
            execute(
                "INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    item,
                    position,
                    picture.id,
                    picture.media_type,
                    picture.width,
                    picture.height,
                    picture.sha256,
                    picture.size_bytes,
                    stored,
                ),
            )
        for vector in entry.vectors:
            [(key,)] = execute(
                "INSERT INTO vectors (item, space, picture, value) VALUES (?, ?, ?, ?) RETURNING key",
                (item, self._space_keys[vector.space], vector.picture_id, vector.values.data),
            ).fetchall()
            row = Row(key, (entry.id, vector.picture_id), vector.values)
            change.added.setdefault(vector.space, []).append(row)
        return change

    def delete(self, item_id: str, sequence: int) -> Change | None:
        """Delete an item; None where there is none."""
        found = self._connection.execute("SELECT key FROM items WHERE id = ?", (item_id,)).fetchone()
        if found is None:
            return None
        (item,) = found
        change = Change()
        self._clear(item, change)
        self._connection.execute("DELETE FROM items WHERE key = ?", (item,))
        self._connection.execute("INSERT INTO tombstones VALUES (?, ?)", (sequence, item))
        return change

    def set_sequence(self, sequence: int) -> None:
        """Keep the last sequence given, so that no restart gives it again."""
        self._connection.execute("UPDATE meta SET value = ? WHERE name = 'sequence'", (sequence,))

    def unused(self, contents: set[str]) -> list[str]:
        """Return those SHA-256 among `contents` that no picture refers to."""
        return [
            sha256
            for sha256 in contents
            if not self._connection.execute(
                "SELECT 1 FROM pictures WHERE sha256 = ? AND stored LIMIT 1", (sha256,)
            ).fetchone()
        ]

    def _clear(self, item: int, change: Change) -> None:
        execute = self._connection.execute
        # fetchall: a RETURNING statement that isn't read to its end holds the transaction open.
        for key, space in execute("DELETE FROM vectors WHERE item = ? RETURNING key, space", (item,)).fetchall():
            change.removed.setdefault(self._space_names[space], []).append(key)
        removed = execute("DELETE FROM pictures WHERE item = ? RETURNING sha256, stored", (item,)).fetchall()
        change.dropped.update(sha256 for sha256, stored in removed if stored)

    def _name_space(self, key: int, name: str) -> None:
        self._space_keys[name] = key
        self._space_names[key] = name
