"""The change log as it is read by other processes: rows of `vectors` by key, and rows of `dead` by sequence."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_server.catalog.store.schema import open_reader
from twinset_server.domain import Float32Array, Space

Int64Array = NDArray[np.int64]

_ADDED = """
SELECT vectors.key, spaces.name, items.id, picture, value FROM vectors
JOIN items ON items.key = vectors.item JOIN spaces ON spaces.key = vectors.space
WHERE vectors.key > ?1 AND (?2 IS NULL OR spaces.name = ?2) ORDER BY vectors.key
"""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Vectors of one space by rising keys: `[N]`, `[N, D]` float32, and the ids of their items and pictures."""

    space: str
    keys: Int64Array
    vectors: Float32Array
    labels: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Position:
    """The last change, and the last key of a vector that was given."""

    sequence: int
    key: int


class Snapshot:
    """The log as it was at `position`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        (sequence,) = connection.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchone()
        found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'vectors'").fetchone()
        self.position = Position(sequence, found[0] if found else 0)

    def added(self, after_key: int, space: str | None, chunk: int) -> Iterator[LogChunk]:
        """Return the vectors with keys above `after_key`, up to `chunk` at a time."""
        cursor = self._connection.execute(_ADDED, (after_key, space))
        while rows := cursor.fetchmany(chunk):
            for name in dict.fromkeys(row[1] for row in rows):
                own = [row for row in rows if row[1] == name]
                vectors = np.frombuffer(b"".join(row[4] for row in own), "<f4").reshape(len(own), -1)
                keys = np.array([row[0] for row in own], np.int64)
                yield LogChunk(name, keys, vectors, [(row[2], row[3]) for row in own])

    def dead(self, after_sequence: int) -> dict[str, Int64Array]:
        """Return by space the keys of vectors that changes after `after_sequence` ended."""
        rows = self._connection.execute(
            "SELECT spaces.name, dead.key FROM dead JOIN spaces ON spaces.key = dead.space WHERE seq > ?",
            (after_sequence,),
        )
        keys: dict[str, list[int]] = {}
        for name, key in rows:
            keys.setdefault(name, []).append(key)
        return {name: np.array(sorted(own), np.int64) for name, own in keys.items()}

    def live(self, space: str) -> int:
        """Return how many vectors a space holds."""
        (count,) = self._connection.execute(
            "SELECT count(*) FROM vectors JOIN spaces ON spaces.key = vectors.space WHERE name = ?", (space,)
        ).fetchone()
        return int(count)


class ChangeLog:
    """Reads the log of the database at `path`, through a connection of its own; from one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._connection = open_reader(path)
        self._version = -1

    def changed(self) -> bool:
        """Return whether anything was committed since this was asked for the last time."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        before, self._version = self._version, version
        return bool(before != version)

    def spaces(self) -> dict[str, tuple[int, Space]]:
        """Return the spaces by name, each with its key."""
        rows = self._connection.execute(
            "SELECT key, name, dimension, metric, fingerprint, model FROM spaces"
        ).fetchall()
        return {
            name: (key, Space(name, dimension, Metric(metric), fingerprint, model))
            for key, name, dimension, metric, fingerprint, model in rows
        }

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Return one state of the log, for as long as the context lasts."""
        self._connection.execute("BEGIN")
        try:
            yield Snapshot(self._connection)
        finally:
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
