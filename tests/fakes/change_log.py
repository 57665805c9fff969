"""A catalogue's database written by plain SQL: what the index is derived from, without the store's writer."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from twinset.contract import Metric
from twinset_server.catalog.store.schema import open_writer
from twinset_server.domain import Float32Array, Space

DIMENSION = 16
OWN = Space("own", DIMENSION, Metric.COSINE, "f" * 64)


def unit_vectors(rng: np.random.Generator, count: int, dimension: int) -> Float32Array:
    """Return `[count, dimension]` random rows of length 1."""
    rows = rng.standard_normal((count, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")


def some(numbers: range, seed: int = 0) -> dict[str, Float32Array]:
    """Return a vector for each number, under an id made of it."""
    vectors = unit_vectors(np.random.default_rng([seed, numbers.start]), len(numbers), DIMENSION)
    return {f"{number:05d}": vector for number, vector in zip(numbers, vectors, strict=True)}


class Database:
    """Writes items with vectors, and remembers what lives. Several may write to one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.living: dict[str, dict[str, list[tuple[str, Float32Array]]]] = {}
        self._connection = open_writer(path)
        self._connection.execute("PRAGMA busy_timeout = 10000")
        # The tests are about the log's content; that a commit is durable is tested elsewhere.
        self._connection.execute("PRAGMA synchronous = OFF")

    def close(self) -> None:
        self._connection.close()

    def add_space(self, space: Space) -> None:
        with self._transaction() as execute:
            execute.execute(
                "INSERT INTO spaces (name, dimension, metric, fingerprint, model) VALUES (?, ?, ?, ?, ?)",
                (space.name, space.dimension, space.metric.value, space.fingerprint, space.model),
            )

    def put(self, space: str, items: Mapping[str, Float32Array | Sequence[tuple[str, Float32Array]]]) -> int:
        """Put items in one commit; a vector, or several with the ids of their pictures. Return the last sequence."""
        with self._transaction() as connection:
            for item_id, given in items.items():
                vectors = [(item_id[-1], given)] if isinstance(given, np.ndarray) else list(given)
                sequence = self._next(connection)
                item = self._key(connection, item_id, sequence)
                self._end_vectors(connection, item, sequence)
                connection.executemany(
                    "INSERT INTO vectors (item, space, picture, value)"
                    " VALUES (?, (SELECT key FROM spaces WHERE name = ?), ?, ?)",
                    [(item, space, picture, values.astype("<f4").tobytes()) for picture, values in vectors],
                )
                for own in self.living.values():
                    own.pop(item_id, None)
                self.living.setdefault(space, {})[item_id] = vectors
        return sequence

    def add_vectors(self, space: str, items: Mapping[str, Float32Array]) -> None:
        """Give stored items one vector more each, in another space than that in which they are known to live."""
        with self._transaction() as connection:
            self._next(connection)
            connection.executemany(
                "INSERT INTO vectors (item, space, picture, value)"
                " VALUES ((SELECT key FROM items WHERE id = ?), (SELECT key FROM spaces WHERE name = ?), '', ?)",
                [(item_id, space, values.astype("<f4").tobytes()) for item_id, values in items.items()],
            )

    def set_attributes(self, documents: Mapping[str, Mapping[str, object]]) -> int:
        """Give items these attributes, and leave their vectors alone; return the last sequence."""
        with self._transaction() as connection:
            for item_id, document in documents.items():
                sequence = self._next(connection)
                connection.execute(
                    "UPDATE items SET attributes = ?, seq = ? WHERE id = ?", (json.dumps(document), sequence, item_id)
                )
        return sequence

    def delete(self, *item_ids: str) -> int:
        """Delete items in one commit; return the last sequence."""
        with self._transaction() as connection:
            for item_id in item_ids:
                sequence = self._next(connection)
                self._end_vectors(connection, self._key(connection, item_id, sequence), sequence)
                connection.execute("DELETE FROM items WHERE id = ?", (item_id,))
                for own in self.living.values():
                    own.pop(item_id, None)
        return sequence

    def skip(self, changes: int) -> None:
        """Let the sequence rise as by changes that touch no vector."""
        with self._transaction() as connection:
            connection.execute("UPDATE meta SET value = value + ? WHERE name = 'sequence'", (changes,))

    def cut_log(self, up_to: int) -> None:
        """Remove deaths as the pruning of the log does."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM dead WHERE seq <= ?", (up_to,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _next(self, connection: sqlite3.Connection) -> int:
        rows = connection.execute(
            "UPDATE meta SET value = value + 1 WHERE name = 'sequence' RETURNING value"
        ).fetchall()
        return int(rows[0][0])

    def _key(self, connection: sqlite3.Connection, item_id: str, sequence: int) -> int:
        connection.execute(
            "INSERT INTO items (id, title, uri, category, attributes, etag, seq, created, updated, digest)"
            " VALUES (?, '', '', '', '{}', '', ?, 0, 0, x'') ON CONFLICT (id) DO UPDATE SET seq = excluded.seq",
            (item_id, sequence),
        )
        return int(connection.execute("SELECT key FROM items WHERE id = ?", (item_id,)).fetchone()[0])

    def _end_vectors(self, connection: sqlite3.Connection, item: int, sequence: int) -> None:
        ended = connection.execute("DELETE FROM vectors WHERE item = ? RETURNING space, key", (item,)).fetchall()
        connection.executemany("INSERT INTO dead VALUES (?, ?, ?)", [(sequence, *one) for one in ended])
