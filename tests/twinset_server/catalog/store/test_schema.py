"""Catalogues that were made before a table or a column existed get it when they are opened."""

import contextlib
import sqlite3
from pathlib import Path

from twinset_server.catalog.store.schema import open_writer


def test_interactions_of_an_older_catalogue_name_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    open_writer(path).close()
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("DROP INDEX interactions_user")
        old.execute("ALTER TABLE interactions DROP COLUMN recommendation")
        old.execute("INSERT INTO interactions VALUES (1, 'ann', 'a', 'like', 1, 0)")
        old.commit()
    with contextlib.closing(open_writer(path)) as opened:
        assert opened.execute("SELECT user, recommendation FROM interactions").fetchall() == [("ann", "")]
