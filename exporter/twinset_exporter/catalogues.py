"""Which models the catalogues of servers use.

The store is the server's own. What is read here are its tables that name models, as `catalog/store/schema.py` documents
them: `spaces (name, fingerprint, model)`, and where models were switched, `model_generations` and `model_spaces`.
Opened read-only; one that can't be read is an error, never "uses none".
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from twinset_exporter.errors import ExportError, UsageError

_DATABASE = "catalog.sqlite"
_APPLICATION_ID = 0x7457_5331
_VERSION = 2
_PATIENCE_S = 5.0

_SPACES = "SELECT name, fingerprint, model FROM spaces ORDER BY name"
# The model that serves, the one that can be gone back to, and one whose vectors are being made.
_SPACES_OF_GENERATIONS = """
SELECT model_spaces.name, fingerprint, generations.model FROM model_generations AS generations
JOIN model_spaces ON generation = number JOIN spaces ON key = space WHERE state <> 'gone'
UNION SELECT name, fingerprint, model FROM spaces WHERE key NOT IN (SELECT space FROM model_spaces) ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class UsedSpace:
    """A space of a catalogue. `model` is None where clients bring its vectors."""

    catalogue: Path
    name: str
    fingerprint: str
    model: str | None

    def __str__(self) -> str:
        """Return where it is, for people."""
        return f"space {self.name} of {self.catalogue}"


def used_spaces(catalogue: Path) -> list[UsedSpace]:
    """Return the spaces of the catalogue in the folder `catalogue`; a server may be using it.

    Raises:
        UsageError: the folder holds no catalogue.
        ExportError: it can't be read, or is of another version.
    """
    database = catalogue / _DATABASE
    if not database.is_file():
        raise UsageError(f"no catalogue in {catalogue} (it would hold {_DATABASE}): check the path given to --catalog")
    try:
        with contextlib.closing(
            sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_S)
        ) as connection:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            if application_id != _APPLICATION_ID:
                raise ExportError(f"{database} is no catalogue of twinset-server: check the path given to --catalog")
            (version,) = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
            if version != _VERSION:
                raise ExportError(
                    f"{database} has schema version {version}, this twinset-exporter reads version {_VERSION}: use the "
                    "twinset-exporter of the server's release"
                )
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            # A catalogue that no server opened since it knows of generations has none.
            switched = "model_generations" in tables
            rows = connection.execute(_SPACES_OF_GENERATIONS if switched else _SPACES).fetchall()
    except sqlite3.Error as error:
        raise ExportError(
            f"{database} can't be read ({error}), so nothing tells which models it uses; nothing was removed. Try "
            "again when it is free, or stop its server"
        ) from error
    return [UsedSpace(catalogue, name, fingerprint, model) for name, fingerprint, model in rows]
