"""What a feed has gathered so far, in a database of its own that is gone with the process.

Nothing of it is in the catalogue's tables, so that gathering a million items neither makes other writers wait nor
leaves anything behind: the file has no name, and the kernel frees it when it is closed, however the process ends.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twinset_server.catalog.store.entry import Entry, EntryVector
from twinset_server.domain import NewPicture, Picture

_TABLES = """
PRAGMA page_size = 8192;
PRAGMA journal_mode = MEMORY;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE items (id TEXT PRIMARY KEY COLLATE BINARY) WITHOUT ROWID;
CREATE TABLE staged (
    id TEXT PRIMARY KEY COLLATE BINARY,
    entry TEXT NOT NULL,
    digest BLOB NOT NULL,
    contents TEXT NOT NULL,
    vectors BLOB NOT NULL
);
CREATE TABLE contents (content TEXT PRIMARY KEY) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Staged:
    """An item for the commit, and the SHA-256 of the files kept of its pictures by that of the pictures."""

    entry: Entry
    contents: Mapping[str, str]


class Staging:
    """Items by id; one thread uses it at a time."""

    def __init__(self, folder: Path) -> None:
        """Begin with nothing, in a file in `folder`."""
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".sqlite") as file:
            self._connection = sqlite3.connect(file.name, isolation_level=None, check_same_thread=False)
            # SQLite opens the file at the first statement; after that it needs no name.
            self._connection.executescript(_TABLES)

    def note(self, item_ids: Sequence[str]) -> None:
        """Keep in mind that the feed has these items."""
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT OR IGNORE INTO items VALUES (?)", [(one,) for one in item_ids])

    def add(self, staged: Sequence[Staged]) -> None:
        """Keep items for the commit; a later one of an id replaces an earlier one."""
        self.note([one.entry.id for one in staged])
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany(
                "INSERT OR REPLACE INTO staged VALUES (?, ?, ?, ?, ?)", [_row(one) for one in staged]
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO contents VALUES (?)",
                [(name,) for one in staged for name in one.contents.values()],
            )

    def withdraw(self, item_ids: Sequence[str]) -> None:
        """Keep in mind that the feed has these items, and nothing else of them."""
        self.note(item_ids)
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany("DELETE FROM staged WHERE id = ?", [(one,) for one in item_ids])

    def has(self, item_ids: Sequence[str]) -> set[str]:
        """Return those of `item_ids` that the feed has."""
        statement = "SELECT id FROM items WHERE id IN (SELECT value FROM json_each(?))"
        return {item_id for (item_id,) in self._connection.execute(statement, (json.dumps(list(item_ids)),))}

    def staged(self) -> Iterator[Staged]:
        """Yield what was kept, by id."""
        statement = "SELECT id, entry, digest, contents, vectors FROM staged ORDER BY id"
        for item_id, entry, digest, contents, vectors in self._connection.execute(statement):
            yield Staged(_entry(item_id, json.loads(entry), digest, vectors), json.loads(contents))

    def contents(self) -> Iterator[str]:
        """Yield the SHA-256 of every file that was kept for the feed."""
        return (content for (content,) in self._connection.execute("SELECT content FROM contents"))

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()


def _row(staged: Staged) -> tuple[str, str, bytes, str, bytes]:
    entry = staged.entry
    document = {
        "title": entry.title,
        "uri": entry.uri,
        "category": entry.category,
        "attributes": entry.attributes,
        "pictures": [asdict(new.picture) for new in entry.pictures],
        "vectors": [[vector.space, vector.picture_id, vector.values.size] for vector in entry.vectors],
    }
    vectors = b"".join(vector.values.tobytes() for vector in entry.vectors)
    return entry.id, json.dumps(document), entry.digest, json.dumps(dict(staged.contents)), vectors


def _entry(item_id: str, document: Mapping[str, Any], digest: bytes, vectors: bytes) -> Entry:
    values = np.frombuffer(vectors, "<f4")
    parts: list[EntryVector] = []
    start = 0
    for space, picture_id, size in document["vectors"]:
        parts.append(EntryVector(space, picture_id, values[start : start + size]))
        start += size
    return Entry(
        id=item_id,
        etag="",
        title=document["title"],
        uri=document["uri"],
        category=document["category"],
        attributes=document["attributes"],
        # The contents themselves are in their files already.
        pictures=[NewPicture(Picture(**picture), b"") for picture in document["pictures"]],
        vectors=parts,
        digest=digest,
    )
