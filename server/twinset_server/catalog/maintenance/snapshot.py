"""One state of the database, read while others write."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twinset_server.catalog.store.schema import open_reader
from twinset_server.maintenance import Work

_PAGES = 256
"""Pages copied at a time, 2 MB: between them a cancelled copy ends."""

_INSTRUCTIONS = 10_000
"""Steps of SQLite's machine between two looks at whether a statement is to be given up."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much the catalogue holds, and its last change."""

    sequence: int
    items: int
    pictures: int
    vectors: int
    users: int
    interactions: int


class Snapshot:
    """The database as it is when the snapshot begins. One thread uses it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def counts(self) -> Counts:
        """Return how much there is. `pictures` are stored contents, each once."""
        [counts] = self.connection.execute(
            "SELECT (SELECT value FROM meta WHERE name = 'sequence'), (SELECT count(*) FROM items),"
            " (SELECT count(DISTINCT content) FROM pictures), (SELECT count(*) FROM vectors),"
            " (SELECT count(*) FROM users), (SELECT count(*) FROM interactions)"
        )
        return Counts(*counts)

    def pictures(self) -> Iterator[str]:
        """Yield the SHA-256 of every stored content, in their order."""
        question = "SELECT DISTINCT content FROM pictures WHERE content IS NOT NULL ORDER BY content"
        for (sha256,) in self.connection.execute(question):
            yield sha256

    def copy(self, target: Path, work: Work) -> None:
        """Write the database to a new file.

        SQLite starts a copy again when another process writes, unless the copy reads within a transaction that is
        open already: so each page is copied once, however many are written meanwhile.

        Raises:
            sqlite3.Error: it can't be read or written.
            OperationCancelled: it was cancelled; a part of the target is left.
        """
        with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copied:
            # Whoever made the snapshot syncs the file as a whole, and removes it where this doesn't get to its end.
            copied.execute("PRAGMA synchronous = OFF")

            def progress(_: int, remaining: int, total: int) -> None:
                if work.progress.total != total:
                    work.stage("copying the database", "pages", total)
                work.reach(total - remaining)

            self.connection.backup(copied, pages=_PAGES, progress=progress, sleep=0)
            # The log is none of the copy's: with it, the file alone would not be the database.
            copied.execute("PRAGMA journal_mode = DELETE")
            copied.execute("DELETE FROM dropped")


@contextlib.contextmanager
def snapshot(database: Path, work: Work) -> Iterator[Snapshot]:
    """Return the state of `database` at this moment. Statements on it end with the work.

    While it is open SQLite's log grows with what is written, and shrinks afterwards.

    Raises:
        sqlite3.Error: it can't be opened.
    """
    with contextlib.closing(open_reader(database)) as connection:
        connection.set_progress_handler(lambda: work.cancel_requested, _INSTRUCTIONS)
        connection.execute("BEGIN")
        # A transaction sees the state at its first read.
        connection.execute("SELECT value FROM meta LIMIT 1").fetchone()
        yield Snapshot(connection)
