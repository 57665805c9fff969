"""Generations of factors in the tables: staged, switched by one row, and forgotten in slices.

Each generation fills a space of its own, `taste@NUMBER`, which readers know as `taste` while it is active. So its index
is built before it serves, a switch moves no vector, and the one before can be had back at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np

from twinset.contract import Metric
from twinset_server.catalog.store.times import from_microseconds
from twinset_server.domain import (
    TASTE,
    FactorGeneration,
    FactorItems,
    FactorRows,
    FactorsHeader,
    FactorUsers,
    Float32Array,
)
from twinset_server.errors import FactorsConflict, GenerationNotFound, InvalidRequest

HIDDEN = f"{TASTE}@"
"""How the names of the generations' own spaces begin."""

KEPT = 1
"""So many generations beside the active one are kept, to go back to."""

_SLICE = 1000
"""Rows deleted in one transaction, while other writers wait."""

_LIST = """
SELECT number, fingerprint, dimension, items, users, liked_from, through, imported, state
FROM factor_generations JOIN spaces ON spaces.key = space
WHERE state <> 'staged' ORDER BY state <> 'active', switched DESC
"""
_ADVANCE = "UPDATE meta SET value = value + 1 WHERE name = 'sequence' RETURNING value"
_ADD_VECTORS = """
INSERT INTO vectors (item, space, picture, value)
SELECT items.key, space, '', value FROM factor_items JOIN items ON items.id = factor_items.id
WHERE space = ? AND factor_items.id = ?
"""


def space_name(number: int) -> str:
    """Return the name of a generation's own space."""
    return f"{HIDDEN}{number}"


def active(connection: sqlite3.Connection) -> int | None:
    """Return the number of the generation that serves, None where there is none."""
    found = connection.execute("SELECT number FROM factor_generations WHERE state = 'active'").fetchone()
    return None if found is None else int(found[0])


def switched(connection: sqlite3.Connection) -> int:
    """Return the change by which the generation that serves came to do so, 0 where there is none."""
    found = connection.execute("SELECT switched FROM factor_generations WHERE state = 'active'").fetchone()
    return 0 if found is None else int(found[0])


def listed(connection: sqlite3.Connection) -> list[FactorGeneration]:
    """Return the generations that can serve, the active one first, then those that served last."""
    return [
        FactorGeneration(
            number, fingerprint, dimension, items, users, liked_from, through, from_microseconds(at), state == "active"
        )
        for number, fingerprint, dimension, items, users, liked_from, through, at, state in connection.execute(_LIST)
    ]


def begin(connection: sqlite3.Connection, header: FactorsHeader, now_us: int) -> int:
    """Add an empty generation within a transaction, and return its number.

    Raises:
        FactorsConflict: callers or a model fill a space called `taste`.
    """
    found = connection.execute("SELECT fingerprint, model FROM spaces WHERE name = ?", (TASTE,)).fetchone()
    if found is not None:
        fingerprint, model = found
        raise FactorsConflict(TASTE, given=header.fingerprint, stored=fingerprint, filled_by=model or "callers")
    (last,) = connection.execute(
        "SELECT coalesce(max(CAST(substr(name, ?) AS INTEGER)), 0) FROM spaces WHERE name GLOB ?",
        (len(HIDDEN) + 1, f"{HIDDEN}*"),
    ).fetchone()
    number = int(last) + 1
    [(space,)] = connection.execute(
        "INSERT INTO spaces (name, dimension, metric, fingerprint) VALUES (?, ?, ?, ?) RETURNING key",
        (space_name(number), header.dimension, Metric.INNER_PRODUCT.value, header.fingerprint),
    ).fetchall()
    connection.execute(
        "INSERT INTO factor_generations VALUES (?, ?, 'staged', ?, ?, ?, ?, ?, ?, ?, 0)",
        (
            number,
            space,
            header.items,
            header.users,
            header.temperature,
            _bytes(header.start),
            header.liked_from,
            header.interactions_through,
            now_us,
        ),
    )
    return number


def add(connection: sqlite3.Connection, number: int, rows: FactorRows) -> None:
    """Add rows to a staged generation within a transaction; items that are stored get their vectors.

    Raises:
        InvalidRequest: an id was there before.
    """
    space = _space(connection, number)
    if isinstance(rows, FactorItems):
        added = connection.executemany(
            "INSERT OR IGNORE INTO factor_items VALUES (?, ?, ?, ?, ?)",
            zip([space] * len(rows.ids), rows.ids, *map(_blobs, (rows.factors, rows.liked, rows.known)), strict=True),
        ).rowcount
        connection.executemany(_ADD_VECTORS, [(space, item_id) for item_id in rows.ids])
        connection.execute(_ADVANCE).fetchall()
    else:
        added = connection.executemany(
            "INSERT OR IGNORE INTO factor_users VALUES (?, ?, ?)",
            zip([space] * len(rows.ids), rows.ids, _blobs(rows.factors), strict=True),
        ).rowcount
    if added != len(rows.ids):
        noun = "users" if isinstance(rows, FactorUsers) else "items"
        raise InvalidRequest(f"{noun}.ids", "holds an id that came before: each has factors once")


def activate(connection: sqlite3.Connection, number: int) -> FactorGeneration:
    """Let a generation serve, within a transaction; the one that did is kept.

    Raises:
        GenerationNotFound: there is no such generation, or it is not whole.
    """
    (sequence,) = connection.execute(_ADVANCE).fetchall()[0]
    if not connection.execute("SELECT 1 FROM factor_generations WHERE number = ?", (number,)).fetchone():
        raise GenerationNotFound(str(number), [one.number for one in listed(connection)])
    connection.execute("UPDATE factor_generations SET state = 'kept' WHERE state = 'active' AND number <> ?", (number,))
    connection.execute(
        "UPDATE factor_generations SET state = 'active', switched = ? WHERE number = ?", (sequence, number)
    )
    return listed(connection)[0]


def former(connection: sqlite3.Connection) -> int:
    """Return the number of the generation that served before the active one.

    Raises:
        GenerationNotFound: none is kept.
    """
    kept = [one.number for one in listed(connection) if not one.active]
    if not kept:
        raise GenerationNotFound("", [one.number for one in listed(connection)])
    return kept[0]


def superfluous(connection: sqlite3.Connection) -> list[int]:
    """Return the numbers of generations that nobody will go back to: staged ones, and those that served long ago."""
    staged = connection.execute("SELECT number FROM factor_generations WHERE state = 'staged'").fetchall()
    kept = [one.number for one in listed(connection) if not one.active]
    return [number for (number,) in staged] + kept[KEPT:]


def forget_vectors(connection: sqlite3.Connection, number: int, after: int) -> int | None:
    """Delete some of a generation's vectors, those of keys above `after`, within a transaction.

    Return the last key that was deleted, None where there are no more.
    """
    space = _space(connection, number)
    found = connection.execute(
        "SELECT key FROM vectors WHERE key > ? AND space = ? ORDER BY key LIMIT ?", (after, space, _SLICE)
    ).fetchall()
    if not found:
        return None
    (sequence,) = connection.execute(_ADVANCE).fetchall()[0]
    connection.executemany("INSERT INTO dead VALUES (?, ?, ?)", [(sequence, space, key) for (key,) in found])
    connection.executemany("DELETE FROM vectors WHERE key = ?", found)
    return int(found[-1][0])


def forget_rows(connection: sqlite3.Connection, number: int) -> bool:
    """Delete some of a generation's factors within a transaction; at last the generation. Return whether it is gone.

    Its space stays, empty and hidden: a number that named something is never given again.
    """
    space = _space(connection, number)
    for table in ("factor_items", "factor_users"):
        deleted = connection.execute(
            f"DELETE FROM {table} WHERE (space, id) IN (SELECT space, id FROM {table} WHERE space = ? LIMIT ?)",  # noqa: S608
            (space, _SLICE),
        ).rowcount
        if deleted:
            return False
    connection.execute("DELETE FROM factor_generations WHERE number = ?", (number,))
    return True


def counted(connection: sqlite3.Connection, number: int) -> tuple[int, int]:
    """Return of how many items and users a generation holds factors."""
    space = _space(connection, number)
    items, users = (
        connection.execute(f"SELECT count(*) FROM {table} WHERE space = ?", (space,)).fetchone()[0]  # noqa: S608
        for table in ("factor_items", "factor_users")
    )
    return items, users


def _space(connection: sqlite3.Connection, number: int) -> int:
    found = connection.execute("SELECT space FROM factor_generations WHERE number = ?", (number,)).fetchone()
    if found is None:
        raise GenerationNotFound(str(number), [one.number for one in listed(connection)])
    return int(found[0])


def _bytes(values: Float32Array) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()


def _blobs(rows: Float32Array) -> Sequence[memoryview]:
    return [row.data for row in np.ascontiguousarray(rows, "<f4")]
