"""A few threads that read the tables, each through a connection of its own."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from twinset_server.catalog.store.failures import from_sqlite
from twinset_server.catalog.store.schema import open_reader

_log = logging.getLogger(__name__)

_THREADS = 4

P = ParamSpec("P")
T = TypeVar("T")


class Readers:
    """Threads that read the database at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._at_once: sqlite3.Connection | None = None
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="catalog-reader")

    async def read(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what `function` reads through a connection.

        Raises:
            StoreUnavailable: the database failed.
        """

        def call() -> T:
            return self._told(lambda: function(self._connection(), *args, **kwargs))

        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def read_at_once(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T | None], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Return what `function` reads on the calling thread, None where another process holds the database just now.

        For the event loop, and a few rows by their keys: to ask a thread for these costs more than to read them.

        Raises:
            StoreUnavailable: the database failed.
        """

        def call() -> T | None:
            if self._at_once is None:
                self._at_once = open_reader(self._path)
                self._at_once.execute("PRAGMA busy_timeout = 0")
                self._connections.append(self._at_once)
            try:
                return function(self._at_once, *args, **kwargs)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                    return None
                raise

        return self._told(call)

    def close(self) -> None:
        """Let what is under way end, and close the connections."""
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()

    def _told(self, read: Callable[[], T]) -> T:
        """Return what `read` does, with errors of SQLite as ours."""
        try:
            return read()
        except sqlite3.Error as error:
            _log.exception("the catalogue could not be read")
            raise from_sqlite(error) from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_reader(self._path)
            self._connections.append(connection)
        return connection
