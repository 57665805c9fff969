"""Fills the index from the tables at start: USearch is derived, and nothing of it is on disk."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import numpy as np

from twinset_server.catalog.index.rows import Rows
from twinset_server.catalog.index.views import CatalogIndex
from twinset_server.catalog.store import records
from twinset_server.errors import StartupError

_CHUNK = 4096


def load(connection: sqlite3.Connection, index: CatalogIndex, path: Path) -> None:
    """Put all spaces with their vectors into `index`.

    The rows go into the delta and are searched exactly until the first segment is built, so that the server answers at
    once and right.

    Raises:
        StartupError: a vector isn't of its space's dimension: the file is damaged.
    """
    spaces = records.spaces(connection)
    names = dict(connection.execute("SELECT key, name FROM spaces").fetchall())
    ids = dict(connection.execute("SELECT key, id FROM items").fetchall())
    rows = {name: Rows.empty(space.dimension) for name, space in spaces.items()}
    cursor = connection.execute("SELECT key, item, space, picture, value FROM vectors ORDER BY key")
    while chunk := cursor.fetchmany(_CHUNK):
        for space_key in {space for _, _, space, _, _ in chunk}:
            name = names[space_key]
            # Most pictures are called "0", "1", and so on: one string of each is enough.
            own = [
                (key, ids[item], sys.intern(label), value) for key, item, of, label, value in chunk if of == space_key
            ]
            if any(len(value) != 4 * spaces[name].dimension for *_, value in own):
                raise StartupError(
                    f"{path} is damaged: a vector of space {name!r} doesn't have {spaces[name].dimension} components; "
                    "restore the folder from a backup"
                )
            vectors = np.frombuffer(b"".join(value for *_, value in own), "<f4").reshape(-1, spaces[name].dimension)
            labels = [(item_id, label) for _, item_id, label, _ in own]
            keys = np.array([key for key, *_ in own], np.int64)
            rows[name] = rows[name].joined(Rows.of(keys, vectors.astype(np.float32, copy=False), labels))
    for name, space in spaces.items():
        index.add_space(space, rows[name])
