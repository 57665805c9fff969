"""A connection that writes, in turn with the connections of other processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.store.schema import open_writer


class WritingConnection:
    """One connection to the truth and its place in the queue of writers. One thread uses it at a time.

    Attributes:
        sqlite: the connection; statements that write belong into `transaction`.
    """

    def __init__(self, folder: Folder) -> None:
        """Open the database in `folder`, made where it doesn't exist.

        Raises:
            StartupError: see `open_writer`.
        """
        self._lock = folder.write_lock()
        try:
            # Whoever comes second must find all tables.
            with self._lock.held():
                self.sqlite = open_writer(folder.database)
        except BaseException:
            self._lock.close()
            raise

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Let what is within happen as a whole, or not at all where it raises; it is durable afterwards.

        Raises:
            sqlite3.Error: the commit failed, and nothing happened.
        """
        with self.alone():
            self.sqlite.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.sqlite.execute("COMMIT")
            except BaseException:
                # SQLite has already rolled back after some errors.
                if self.sqlite.in_transaction:
                    self.sqlite.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other writer out meanwhile, for a transaction through another connection; wait for the turn."""
        with self._lock.held():
            yield

    def close(self) -> None:
        """Close the connection; the last one of all processes writes the log back into the database."""
        self.sqlite.close()
        self._lock.close()
