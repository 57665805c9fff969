"""Spaces in the tables: declared before a server serves, and never changed while it does."""

from __future__ import annotations

import sqlite3

from twinset.contract import Metric
from twinset_server.domain import Space
from twinset_server.errors import StartupError


def keyed(connection: sqlite3.Connection) -> dict[str, tuple[int, Space]]:
    """Return the spaces by name, each with its key."""
    found = connection.execute("SELECT key, name, dimension, metric, fingerprint, model FROM spaces ORDER BY name")
    return {
        name: (key, Space(name, dimension, Metric(metric), fingerprint, model))
        for key, name, dimension, metric, fingerprint, model in found
    }


def declare(connection: sqlite3.Connection, space: Space, path: str) -> None:
    """Add a space within a transaction, or accept the one that is there, giving it the name of its model.

    Raises:
        StartupError: a space of this name is there, with another dimension, metric or fingerprint.
    """
    found = connection.execute(
        "SELECT dimension, metric, fingerprint FROM spaces WHERE name = ?", (space.name,)
    ).fetchone()
    if found is None:
        connection.execute(
            "INSERT INTO spaces (name, dimension, metric, fingerprint, model) VALUES (?, ?, ?, ?, ?)",
            (space.name, space.dimension, space.metric.value, space.fingerprint, space.model),
        )
        return
    dimension, metric, fingerprint = found
    if (dimension, metric, fingerprint) != (space.dimension, space.metric.value, space.fingerprint):
        raise StartupError(
            f"the catalogue in {path} holds space {space.name!r} with dimension {dimension}, metric {metric}, "
            f"fingerprint {fingerprint}; the server was started for dimension {space.dimension}, metric "
            f"{space.metric.value}, fingerprint {space.fingerprint}: start it with what filled the space, or set "
            "store.path to a new folder and put the items again"
        )
    connection.execute("UPDATE spaces SET model = ? WHERE name = ?", (space.model, space.name))
