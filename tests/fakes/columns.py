"""Items with attributes written by plain SQL, and what a table of columns must say of them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from twinset_server.catalog.columns.table import Columns
from twinset_server.catalog.store import attributes
from twinset_server.catalog.store.schema import open_writer
from twinset_server.domain import Attribute


class ItemsDatabase:
    """Writes items in commits of one change each, but within `commit`; `connection` is its writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection: sqlite3.Connection = open_writer(path)
        self.connection.execute("PRAGMA synchronous = OFF")
        self._made = 0

    def close(self) -> None:
        self.connection.close()

    @contextlib.contextmanager
    def commit(self) -> Iterator[None]:
        """Make all changes within the context in one transaction; as in the writer, its sequence comes last."""
        if self.connection.in_transaction:
            yield
            return
        self.connection.execute("BEGIN IMMEDIATE")
        self._made = 0
        yield
        self.connection.execute("UPDATE meta SET value = value + ? WHERE name = 'sequence'", (self._made,))
        self.connection.execute("COMMIT")

    def put(self, item_id: str, category: str, document: Mapping[str, object]) -> int:
        """Put an item with attributes as JSON has them; return its key."""
        with self.commit():
            [(key,)] = self.connection.execute(
                "INSERT INTO items (id, title, uri, category, attributes, etag, seq, created, updated, digest)"
                " VALUES (?, '', '', ?, ?, '', ?, 0, 0, x'') ON CONFLICT (id) DO UPDATE SET seq = excluded.seq,"
                " category = excluded.category, attributes = excluded.attributes RETURNING key",
                (item_id, category, json.dumps(document), self._next()),
            ).fetchall()
        return int(key)

    def delete(self, item_id: str) -> None:
        with self.commit():
            self._next()
            self.connection.execute("DELETE FROM items WHERE id = ?", (item_id,))

    def _next(self) -> int:
        [(sequence,)] = self.connection.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchall()
        self._made += 1
        return int(sequence) + self._made


def random_changes(items: ItemsDatabase, rng: np.random.Generator, count: int) -> None:
    """Make changes of every kind, now and then many in one transaction, as a feed does."""

    def document() -> dict[str, object]:
        whole: dict[str, object] = {
            "price": round(float(rng.random()) * 10, 1),
            "in_stock": bool(rng.random() < 0.5),
            "stock": int(rng.integers(3)),
            "color": str(rng.choice(["red", "green"])),
            "tags": [str(one) for one in rng.integers(0, 3, rng.integers(3))],
            "added": {"time": f"2026-01-{rng.integers(10, 13)}T00:00:00+00:00"},
            f"rare{rng.integers(8)}": 1,
        }
        return {name: value for name, value in whole.items() if rng.random() < 0.7}

    def change() -> None:
        item_id = f"{rng.integers(60)}"
        if rng.random() < 0.3:
            items.delete(item_id)
        else:
            items.put(item_id, str(rng.choice(["", "Mug", "Cup"])), document())

    with items.commit() if rng.random() < 0.3 else contextlib.nullcontext():
        for _ in range(count):
            change()


def assert_same(columns: Columns, items: ItemsDatabase) -> None:
    """Compare a table with the items in the database."""
    [(sequence,)] = items.connection.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchall()
    rows = items.connection.execute("SELECT key, category, attributes FROM items ORDER BY key").fetchall()
    assert columns.sequence == sequence
    assert (np.diff(columns.keys) > 0).all()
    assert columns.keys[columns.alive].tolist() == [key for key, *_ in rows]
    assert len(columns.alive) == columns.length
    places = columns.places(np.array([key for key, *_ in rows], np.int64)).tolist()
    codes = {name: column.codes for name, column in columns.fields.items()}
    for place, (_, category, encoded) in zip(places, rows, strict=True):
        expected: dict[str, Attribute] = {"category": category} if category else {}
        expected |= {f"attributes.{name}": value for name, value in attributes.decode(encoded).items()}
        found = {name: columns.fields[name].values.value(int(one[place])) for name, one in codes.items() if one[place]}
        assert found == expected
        assert all(type(found[name]) is type(value) or value == found[name] for name, value in expected.items())
