"""A small catalogue on disk, written by SQL and by hand: what maintenance works on, without a server."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from twinset_server.catalog.index import manifest
from twinset_server.catalog.index.checksums import FileSum
from twinset_server.catalog.index.labels import Texts
from twinset_server.catalog.index.manifest import Generation
from twinset_server.catalog.index.segment_writer import SegmentWriter
from twinset_server.catalog.store.schema import open_writer
from twinset_server.domain import Metric, Space

DIMENSION = 4
SPACE = Space("visual", DIMENSION, Metric.COSINE, "ab" * 32)


class WrittenFolder:
    """Writes a catalogue into `path` as a server would; `connection` is its writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("pictures", "index"):
            (path / name).mkdir(parents=True)
        self.database = path / "catalog.sqlite"
        self.connection: sqlite3.Connection = open_writer(self.database)
        self.connection.execute("INSERT INTO spaces VALUES (1, 'visual', ?, 'cosine', ?, 'm')", (DIMENSION, "ab" * 32))

    def put(self, item_id: str, picture: bytes = b"", title: str = "") -> int:
        """Put a new item with one vector, and with one picture where it isn't empty; return the vector's key."""
        execute = self.connection.execute
        if picture:
            self.write_picture(picture)
        execute("BEGIN IMMEDIATE")
        sequence = self._next()
        [(item,)] = execute(
            "INSERT INTO items (id, title, uri, category, attributes, etag, seq, created, updated, digest)"
            " VALUES (?, ?, '', '', '{}', 'e', ?, 0, 0, x'') RETURNING key",
            (item_id, title, sequence),
        ).fetchall()
        if picture:
            sha256 = hashlib.sha256(picture).hexdigest()
            row = (item, 0, "0", "image/png", 1, 1, sha256, len(picture), sha256)
            execute("INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        [(key,)] = execute(
            "INSERT INTO vectors (item, space, picture, value) VALUES (?, 1, '0', ?) RETURNING key",
            (item, vector(sequence).tobytes()),
        ).fetchall()
        execute("COMMIT")
        return int(key)

    def delete(self, item_id: str) -> None:
        """Delete an item as a writer does, its picture's file left to the collector."""
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        sequence = self._next()
        [(item,)] = execute("SELECT key FROM items WHERE id = ?", (item_id,)).fetchall()
        for (key,) in execute("DELETE FROM vectors WHERE item = ? RETURNING key", (item,)).fetchall():
            execute("INSERT INTO dead VALUES (?, 1, ?)", (sequence, key))
        for (sha256,) in execute("DELETE FROM pictures WHERE item = ? RETURNING content", (item,)).fetchall():
            execute("INSERT OR IGNORE INTO dropped VALUES (?)", (sha256,))
        execute("DELETE FROM items WHERE key = ?", (item,))
        execute("COMMIT")

    def write_picture(self, content: bytes) -> Path:
        """Write a content under its name."""
        path = self.picture(content)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    def picture(self, content: bytes) -> Path:
        """Return the path of a content."""
        sha256 = hashlib.sha256(content).hexdigest()
        return self.path / "pictures" / sha256[:2] / sha256[2:]

    def publish(
        self,
        number: int,
        keys: Sequence[int],
        dead: Sequence[int] = (),
        *,
        text: str = "",
        sequence: int | None = None,
        vectors: Mapping[int, np.ndarray] | None = None,
    ) -> Path:
        """Write a generation of one segment with rows of `keys`, each with `text`, and return its manifest.

        It covers all changes up to `sequence`, up to now where that is None. `vectors` replace stored ones.
        """
        home = self.path / "index" / "1"
        home.mkdir(exist_ok=True)
        execute = self.connection.execute
        stored = {key: np.frombuffer(value, "<f4") for key, value in execute("SELECT key, value FROM vectors")}
        known = {**stored, **(vectors or {})}
        [(last_change,)] = execute("SELECT value FROM meta WHERE name = 'sequence'").fetchall()
        [(last,)] = execute("SELECT seq FROM sqlite_sequence WHERE name = 'vectors'").fetchall()
        sequence = last_change if sequence is None else sequence
        records = []
        if keys:
            with SegmentWriter(home, number, SPACE) as writer:
                values = np.stack([known.get(key, vector(key)) for key in keys]).astype(np.float32)
                items, texts = Texts.of([f"of {key}" for key in keys]), Texts.of([text] * len(keys))
                owners = dict(execute("SELECT key, item FROM vectors"))
                writer.add(
                    np.array(keys, np.int64), values, np.array([owners.get(key, 0) for key in keys]), items, texts
                )
                records.append(writer.finish())
        generation = Generation(number, SPACE, sequence, last, sequence, FileSum(0, ""), tuple(records))
        manifest.write(home, generation, np.array(sorted(dead), np.int64))
        return manifest.manifest_path(home, number)

    def _next(self) -> int:
        [(sequence,)] = self.connection.execute(
            "UPDATE meta SET value = value + 1 WHERE name = 'sequence' RETURNING value"
        ).fetchall()
        return int(sequence)


class FakeHandle:
    """Holds a folder. `starts` are errors that the ends of its next pauses raise, None for none."""

    def __init__(self, folder: WrittenFolder) -> None:
        self._written = folder
        self.folder = folder.path
        self.starts: list[Exception | None] = []
        self.paused_now = False
        self.rebuilt: list[tuple[str, bool]] = []

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        self._written.connection.close()
        self.paused_now = True
        try:
            yield
        finally:
            self.paused_now = False
        if self.starts and (error := self.starts.pop(0)):
            raise error
        self._written.connection = open_writer(self._written.database)

    async def rebuild(self, space: str, *, alone: bool = False) -> AsyncGenerator[float, None]:
        self.rebuilt.append((space, alone))
        yield 0.5
        keys = [key for (key,) in self._written.connection.execute("SELECT key FROM vectors ORDER BY key")]
        if alone:
            for old in (self.folder / "index" / "1").glob("*"):
                for file in old.iterdir() if old.is_dir() else ():
                    file.unlink()
                old.rmdir() if old.is_dir() else old.unlink()
        self._written.publish(100 + len(self.rebuilt), keys)
        yield 1.0


def vector(seed: int) -> np.ndarray:
    """Return `[4]` float32 of unit length."""
    values = np.random.default_rng(seed).normal(size=DIMENSION)
    return (values / np.linalg.norm(values)).astype("<f4")


def contents(path: Path) -> dict[str, object]:
    """Return all rows of a catalogue and all of its pictures, by table and by name."""
    with contextlib.closing(sqlite3.connect(path / "catalog.sqlite")) as connection:
        tables = ("meta", "spaces", "items", "pictures", "vectors", "dead", "users", "interactions", "requests")
        rows: dict[str, object] = {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables
        }
        named = [
            sha
            for (sha,) in connection.execute(
                "SELECT DISTINCT content FROM pictures WHERE content IS NOT NULL ORDER BY 1"
            )
        ]
    files = {sha: (path / "pictures" / sha[:2] / sha[2:]).read_bytes() for sha in named}
    assert all(hashlib.sha256(content).hexdigest() == sha for sha, content in files.items())
    return {**rows, "files": files}
