"""Reads on threads and on the event loop."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinset_server.catalog.store.readers import Readers
from twinset_server.errors import StoreUnavailable


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE facts (value)")
        connection.execute("INSERT INTO facts VALUES (7)")
        yield connection


@pytest.fixture
def readers(database: sqlite3.Connection, tmp_path: Path) -> Iterator[Readers]:
    with contextlib.closing(Readers(tmp_path / "catalog.sqlite")) as readers:
        yield readers


def value(connection: sqlite3.Connection, table: str = "facts") -> int | None:
    (found,) = connection.execute(f"SELECT value FROM {table}").fetchone()
    return int(found)


async def test_what_is_there_is_read_either_way(readers: Readers) -> None:
    assert await readers.read(value) == readers.read_at_once(value) == 7


async def test_nobody_waits_for_a_lock_on_the_loop(readers: Readers, database: sqlite3.Connection) -> None:
    database.execute("BEGIN EXCLUSIVE")
    assert readers.read_at_once(value) is None
    database.execute("COMMIT")
    assert readers.read_at_once(value) == 7


async def test_a_failure_of_the_database_is_told_as_one_of_the_store(readers: Readers) -> None:
    with pytest.raises(StoreUnavailable, match="nothing"):
        readers.read_at_once(value, "nothing")
    with pytest.raises(StoreUnavailable, match="nothing"):
        await readers.read(value, "nothing")
