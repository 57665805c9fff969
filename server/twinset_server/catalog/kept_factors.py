"""Whose factors the catalogue keeps, for those who have no catalogue open."""

from __future__ import annotations

import contextlib
import sqlite3

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.store import generations
from twinset_server.catalog.store.failures import from_sqlite
from twinset_server.catalog.store.schema import open_reader


def kept_factors(folder: Folder) -> frozenset[str]:
    """Return the fingerprints of the factors that serve or can be gone back to; a millisecond.

    Raises:
        StoreUnavailable: the database failed.
    """
    try:
        with contextlib.closing(open_reader(folder.database)) as connection:
            return frozenset(one.fingerprint for one in generations.listed(connection))
    except sqlite3.Error as error:
        raise from_sqlite(error) from error
