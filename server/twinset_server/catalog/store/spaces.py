"""Spaces in the tables: declared before a server serves, and never changed while it does."""

from __future__ import annotations

import sqlite3

from twinset.contract import Metric
from twinset_server.domain import TASTE, Space
from twinset_server.errors import SpaceConflict


def keyed(connection: sqlite3.Connection) -> dict[str, tuple[int, Space]]:
    """Return the spaces by name, each with its key."""
    found = connection.execute("SELECT key, name, dimension, metric, fingerprint, model FROM spaces ORDER BY name")
    return {
        name: (key, Space(name, dimension, Metric(metric), fingerprint, model))
        for key, name, dimension, metric, fingerprint, model in found
    }


def check_no_factors(connection: sqlite3.Connection, space: Space, path: str) -> None:
    """Do nothing where no imported factors fill a space of this name.

    Raises:
        StartupError: they do.
    """
    if space.name != TASTE:
        return
    statement = "SELECT fingerprint FROM factor_generations JOIN spaces ON spaces.key = space WHERE state = 'active'"
    found = connection.execute(statement).fetchone()
    if found is not None:
        raise SpaceConflict(
            f"the catalogue in {path} holds imported factors of fingerprint {found[0]} in the space {TASTE!r}; the "
            f"server was started to fill it with {space.fingerprint}: start it without a model or a setting that does, "
            "or set store.path to a new folder"
        )


def declare(connection: sqlite3.Connection, space: Space, path: str) -> None:
    """Add a space that clients fill, within a transaction, or accept the one that is there.

    Raises:
        SpaceConflict: a space of this name is there, with another dimension, metric or fingerprint.
    """
    check_no_factors(connection, space, path)
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
        raise SpaceConflict(
            f"the catalogue in {path} holds space {space.name!r} with dimension {dimension}, metric {metric}, "
            f"fingerprint {fingerprint}; the server was started for dimension {space.dimension}, metric "
            f"{space.metric.value}, fingerprint {space.fingerprint}: start it with what filled the space, or set "
            "store.path to a new folder and put the items again"
        )
