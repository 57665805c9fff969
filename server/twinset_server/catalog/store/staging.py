"""What a feed has gathered so far, in a database of its own that is gone with the process.

Nothing of it is in the catalogue's tables, so that gathering a million items neither makes other writers wait nor
leaves anything behind: the file has no name, and the kernel frees it when it is closed, however the process ends.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twinset_server.catalog.store.entry import Entry
from twinset_server.catalog.store.schema import BUSY_S

# Pragmas name their database: without a name, some hold for every one that is attached later, the catalogue too.
_TABLES = """
PRAGMA main.page_size = 8192;
PRAGMA main.journal_mode = MEMORY;
PRAGMA main.synchronous = OFF;
PRAGMA main.locking_mode = EXCLUSIVE;
CREATE TABLE ids (id TEXT PRIMARY KEY COLLATE BINARY) WITHOUT ROWID;
CREATE TABLE staged (
    id TEXT PRIMARY KEY COLLATE BINARY,
    title TEXT NOT NULL,
    uri TEXT NOT NULL,
    category TEXT NOT NULL,
    attributes TEXT NOT NULL,
    digest BLOB NOT NULL,
    probability REAL
);
CREATE TABLE staged_pictures (
    id TEXT NOT NULL COLLATE BINARY,
    position INTEGER NOT NULL,
    picture TEXT NOT NULL COLLATE BINARY,
    media_type TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    content TEXT,
    PRIMARY KEY (id, position)
) WITHOUT ROWID;
CREATE TABLE staged_vectors (
    id TEXT NOT NULL COLLATE BINARY,
    place INTEGER NOT NULL,
    space TEXT NOT NULL,
    picture TEXT NOT NULL COLLATE BINARY,
    value BLOB NOT NULL,
    PRIMARY KEY (id, place)
);
CREATE TABLE contents (content TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_PARTS = ("staged", "staged_pictures", "staged_vectors")


@dataclass(frozen=True, slots=True)
class Staged:
    """An item for the commit, and the SHA-256 of the files kept of its pictures by that of the pictures."""

    entry: Entry
    contents: Mapping[str, str]


class Staging:
    """Items by id; one thread uses it at a time.

    Attributes:
        sqlite: the connection, for the commit.
    """

    def __init__(self, folder: Path) -> None:
        """Begin with nothing, in a file in `folder`."""
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".sqlite") as file:
            self.sqlite = sqlite3.connect(
                file.name, timeout=BUSY_S, isolation_level=None, check_same_thread=False, uri=True
            )
            # SQLite opens the file at the first statement; after that it needs no name.
            self.sqlite.executescript(_TABLES)

    def note(self, item_ids: Sequence[str]) -> None:
        """Keep in mind that the feed has these items."""
        with self._transaction():
            self._note(item_ids)

    def add(self, staged: Sequence[Staged]) -> None:
        """Keep items for the commit; a later one of an id replaces an earlier one."""
        latest = {one.entry.id: one for one in staged}
        execute = self.sqlite.executemany
        with self._transaction():
            self._note(list(latest))
            self._forget(list(latest))
            execute("INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, ?)", [_item(one.entry) for one in latest.values()])
            execute(
                "INSERT INTO staged_pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [row for one in latest.values() for row in _pictures(one)],
            )
            execute(
                "INSERT INTO staged_vectors VALUES (?, ?, ?, ?, ?)",
                [row for one in latest.values() for row in _vectors(one.entry)],
            )
            # Also of those that a later one of the same id replaces: their files are written.
            names = [(name,) for one in staged for name in one.contents.values()]
            execute("INSERT OR IGNORE INTO contents VALUES (?)", names)

    def withdraw(self, item_ids: Sequence[str]) -> None:
        """Keep in mind that the feed has these items, and nothing else of them."""
        with self._transaction():
            self._note(item_ids)
            self._forget(item_ids)

    def contents(self) -> Iterator[str]:
        """Yield the SHA-256 of every file that was kept for the feed."""
        return (content for (content,) in self.sqlite.execute("SELECT content FROM contents"))

    def close(self) -> None:
        """Forget everything."""
        self.sqlite.close()

    def _note(self, item_ids: Sequence[str]) -> None:
        self.sqlite.executemany("INSERT OR IGNORE INTO ids VALUES (?)", [(one,) for one in item_ids])

    def _forget(self, item_ids: Sequence[str]) -> None:
        for table in _PARTS:
            self.sqlite.executemany(f"DELETE FROM {table} WHERE id = ?", [(one,) for one in item_ids])  # noqa: S608

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self.sqlite:
            self.sqlite.execute("BEGIN")
            yield


def _item(entry: Entry) -> tuple[object, ...]:
    return (
        entry.id,
        entry.title,
        entry.uri,
        entry.category,
        entry.attributes,
        entry.digest,
        entry.category_probability,
    )


def _pictures(staged: Staged) -> Iterator[tuple[object, ...]]:
    for position, new in enumerate(staged.entry.pictures):
        one = new.picture
        yield (
            staged.entry.id,
            position,
            one.id,
            one.media_type,
            one.width,
            one.height,
            one.sha256,
            one.size_bytes,
            staged.contents.get(one.sha256),
        )


def _vectors(entry: Entry) -> Iterator[tuple[object, ...]]:
    for place, vector in enumerate(entry.vectors):
        yield entry.id, place, vector.space, vector.picture_id, vector.values.data
