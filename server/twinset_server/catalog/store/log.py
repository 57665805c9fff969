"""The tables as a log of changes to vectors: what an index reads to catch up.

An index that knows all up to a `Position` is brought up to date by the vectors with later keys and by the keys that
died in later changes; see `schema`.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog.store import askers, generations, models, spaces
from twinset_server.catalog.store.schema import open_reader
from twinset_server.domain import Float32Array, Space
from twinset_server.errors import StoreUnavailable

Int64Array = NDArray[np.int64]

# CROSS JOIN: SQLite shall walk along the keys, whatever its statistics say.
_ADDED = """
SELECT vectors.space, vectors.key, vectors.item, items.id, vectors.picture, vectors.value
FROM vectors CROSS JOIN items ON items.key = vectors.item WHERE vectors.key > ? ORDER BY vectors.key
"""
_ADDED_TO_SPACE = """
SELECT vectors.space, vectors.key, vectors.item, items.id, vectors.picture, vectors.value
FROM vectors CROSS JOIN items ON items.key = vectors.item WHERE vectors.key > ? AND vectors.space = ?
ORDER BY vectors.key
"""

_ITEM_CHANGES = """
SELECT (SELECT count(*) FROM items WHERE seq > :after) + (SELECT count(*) FROM deleted WHERE seq > :after)
"""
_CHANGED = "SELECT key, category, attributes FROM items WHERE seq > ? ORDER BY seq"


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Vectors of one space, by rising key.

    Attributes:
        space: its name.
        keys: `[N]` int64.
        vectors: `[N, D]` float32.
        owners: `[N]` int64, the key of each vector's item.
        labels: the ids of each vector's item and picture.
    """

    space: str
    keys: Int64Array
    vectors: Float32Array
    owners: Int64Array
    labels: list[tuple[str, str]]


ItemRow = tuple[int, str, str]
"""An item's key, its category, and its attributes as JSON text."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log: the last change, and the last key that a vector got."""

    sequence: int
    key: int


@dataclass(frozen=True, slots=True)
class Served:
    """What decides which spaces callers see.

    Attributes:
        spaces: the stored name of each, and the space as callers see it; those of factors aside.
        models: of all generations of models, that of the one that serves first.
        factors: the number of the generation of factors that serves, None where there is none.
        factors_switched: the change by which it came to serve.
    """

    spaces: tuple[tuple[str, Space], ...] = ()
    models: tuple[str, ...] = ()
    factors: int | None = None
    factors_switched: int = 0

    @property
    def stored(self) -> set[str]:
        """The names that all of them are stored under."""
        found = {stored for stored, _ in self.spaces}
        return found if self.factors is None else found | {generations.space_name(self.factors)}


class Snapshot:
    """One state of the catalogue; `ChangeLog.snapshot` makes it.

    Attributes:
        position: the state's place in the log.
        items: how many items there are.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        numbers = dict(connection.execute("SELECT name, value FROM meta WHERE name IN ('sequence', 'items')"))
        # The last key given, not the last that lives. Before the first there is no row.
        found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'vectors'").fetchone()
        self.position = Position(numbers["sequence"], found[0] if found else 0)
        self.items: int = numbers["items"]
        self._spaces = spaces.keyed(connection)
        self._names = {key: name for name, (key, _) in self._spaces.items()}

    def served(self) -> Served:
        """Return what decides which spaces callers see."""
        connection = self._connection
        return Served(
            tuple(models.stored_and_shown(connection)),
            models.names(connection),
            generations.active(connection),
            generations.switched(connection),
        )

    def added(self, after_key: int, space: str | None, chunk: int) -> Iterator[LogChunk]:
        """Yield the vectors with keys above `after_key` that live, by rising key.

        Args:
            after_key: the last key that is known.
            space: a space's name; None means all spaces, whose chunks then come in turn.
            chunk: how many vectors are read at a time.

        Raises:
            StoreUnavailable: a vector isn't of its space's dimension: the file is damaged.
        """
        if space is None:
            cursor = self._connection.execute(_ADDED, (after_key,))
        else:
            cursor = self._connection.execute(_ADDED_TO_SPACE, (after_key, self._spaces[space][0]))
        while rows := cursor.fetchmany(chunk):
            rows.sort(key=lambda row: row[0])  # stable, so keys still rise within a space
            for key, group in itertools.groupby(rows, key=lambda row: row[0]):
                yield self._chunk(self._names[key], list(group))

    def dead(self, after_sequence: int) -> dict[str, Int64Array]:
        """Return the keys of vectors that changes above `after_sequence` ended, sorted, by space."""
        # Never a list: a feed may end a million at once.
        found = self._connection.execute("SELECT space, key FROM dead WHERE seq > ?", (after_sequence,))
        rows = np.fromiter(found, np.dtype([("space", np.int64), ("key", np.int64)]))
        return {
            self._names[space]: np.sort(rows["key"][rows["space"] == space])
            for space in np.unique(rows["space"]).tolist()
        }

    def changed_items(self, after_sequence: int, chunk: int) -> Iterator[list[ItemRow]]:
        """Yield the items that changes above `after_sequence` put or updated, in their order, `chunk` at a time."""
        cursor = self._connection.execute(_CHANGED, (after_sequence,))
        while rows := cursor.fetchmany(chunk):
            yield rows

    def item_keys(self, after_sequence: int) -> Int64Array:
        """Return the keys of these items, sorted."""
        found = self._connection.execute("SELECT key FROM items WHERE seq > ?", (after_sequence,))
        return np.sort(np.fromiter((key for (key,) in found), np.int64))

    def deleted_items(self, after_sequence: int) -> Int64Array:
        """Return the keys of items that changes above `after_sequence` deleted, sorted; the oldest are forgotten."""
        found = self._connection.execute("SELECT item FROM deleted WHERE seq > ?", (after_sequence,))
        return np.sort(np.fromiter((key for (key,) in found), np.int64))

    def count_item_changes(self, after_sequence: int) -> int:
        """Return how many items changes above `after_sequence` put, updated or deleted, each counted once."""
        (count,) = self._connection.execute(_ITEM_CHANGES, {"after": after_sequence}).fetchone()
        return int(count)

    def count_added(self, after_key: int, space: str) -> int:
        """Return how many of the space's vectors have keys above `after_key`."""
        key, _ = self._spaces[space]
        statement = "SELECT count(*) FROM vectors WHERE key > ? AND space = ?"
        (count,) = self._connection.execute(statement, (after_key, key)).fetchone()
        return int(count)

    def has_more(self, space: str, after_key: int, count: int) -> bool:
        """Return whether more than `count` of the space's vectors have keys above `after_key`."""
        key, _ = self._spaces[space]
        statement = "SELECT 1 FROM vectors WHERE key > ? AND space = ? LIMIT 1 OFFSET ?"
        return self._connection.execute(statement, (after_key, key, count)).fetchone() is not None

    def askers(self, space: str, items: Sequence[int], most: int) -> Float32Array:
        """Return `[A, D]`, vectors of those who search a space that holds none of them; see `askers.sampled`."""
        key, described = self._spaces[space]
        return askers.sampled(self._connection, key, described, items, most)

    def live(self, space: str) -> int:
        """Return how many vectors the space has."""
        key, _ = self._spaces[space]
        (count,) = self._connection.execute("SELECT count(*) FROM vectors WHERE space = ?", (key,)).fetchone()
        return int(count)

    def _chunk(self, name: str, rows: list[tuple[int, int, int, str, str, bytes]]) -> LogChunk:
        dimension = self._spaces[name][1].dimension
        keys = np.fromiter((row[1] for row in rows), np.int64, len(rows))
        owners = np.fromiter((row[2] for row in rows), np.int64, len(rows))
        for _, key, *_, value in rows:
            if len(value) != 4 * dimension:
                raise StoreUnavailable(
                    f"the catalogue's database is damaged: vector {key} of space {name!r} doesn't have {dimension} "
                    "components; restore the folder from a backup"
                )
        vectors = np.frombuffer(b"".join([row[5] for row in rows]), "<f4").reshape(-1, dimension)
        labels = [(row[3], row[4]) for row in rows]
        return LogChunk(name, keys, vectors.astype(np.float32, copy=False), owners, labels)


class ChangeLog:
    """The log of the database at `path`, read through one connection by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._connection = open_reader(path)
        self._version: int | None = None

    def changed(self) -> bool:
        """Return whether anything may have been committed since the last snapshot that was read to its end began.

        True where there was none. Takes about 3 us.
        """
        return self._data_version() != self._version

    def spaces(self) -> dict[str, tuple[int, Space]]:
        """Return the spaces by name, each with its key."""
        return spaces.keyed(self._connection)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Return one state of the catalogue, to be read within the context."""
        # Read first: what commits between the two is in the snapshot, and called a change once more.
        version = self._data_version()
        self._connection.execute("BEGIN")
        try:
            yield Snapshot(self._connection)
            self._version = version
        finally:
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _data_version(self) -> int:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)
