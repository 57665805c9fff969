"""A staged feed put in the place of the catalogue, by few statements over all of its rows.

What the feed changes is found by comparison before any lock is taken; within the transaction only those items are
compared again that others wrote meanwhile. So other writers wait for what has to be written, and for nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from twinset_server.domain import FeedSummary, Space
from twinset_server.errors import ModelSwitched

_ATTACHED = """
PRAGMA foreign_keys = ON;
PRAGMA catalog.synchronous = FULL;
CREATE TABLE changed (id TEXT PRIMARY KEY COLLATE BINARY, item INTEGER) WITHOUT ROWID;
CREATE TABLE lacking (id TEXT PRIMARY KEY COLLATE BINARY, item INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE ended_pictures (
    item INTEGER NOT NULL, position INTEGER NOT NULL, content TEXT, PRIMARY KEY (item, position)
) WITHOUT ROWID;
CREATE TABLE ended_vectors (
    item INTEGER NOT NULL, key INTEGER NOT NULL, space INTEGER NOT NULL, PRIMARY KEY (item, key)
) WITHOUT ROWID;
-- What the feed brings and the catalogue has just so.
CREATE TABLE kept_pictures (
    id TEXT NOT NULL COLLATE BINARY, position INTEGER NOT NULL, PRIMARY KEY (id, position)
) WITHOUT ROWID;
CREATE TABLE kept_vectors (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL COLLATE BINARY, place INTEGER NOT NULL, UNIQUE (id, place)
);
-- Spaces as callers know them. A view of the catalogue's would be made anew for each row that it is joined to.
CREATE TABLE shown (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL);
CREATE TABLE touched (id TEXT PRIMARY KEY COLLATE BINARY) WITHOUT ROWID;
-- What becomes of an item: created, replaced or deleted by the change of this number.
CREATE TABLE plan (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL COLLATE BINARY, item INTEGER NOT NULL, what TEXT NOT NULL
);
"""

# Each compares the items of a table of ids; CROSS JOIN keeps to the order that is written.
_COMPARE = (
    """
    INSERT INTO changed SELECT staged.id, items.key FROM {ids} AS ids CROSS JOIN staged ON staged.id = ids.id
    LEFT JOIN catalog.items AS items ON items.id = staged.id
    WHERE items.key IS NULL OR items.digest = x'' OR items.digest <> staged.digest
    """,
    """
    INSERT INTO kept_pictures SELECT changed.id, new.position
    FROM {ids} AS ids CROSS JOIN changed ON changed.id = ids.id
    CROSS JOIN staged_pictures AS new ON new.id = changed.id
    CROSS JOIN catalog.pictures AS stored ON stored.item = changed.item AND stored.position = new.position
    WHERE stored.id = new.picture AND stored.sha256 = new.sha256 AND stored.content IS new.content
    """,
    """
    INSERT INTO kept_vectors SELECT stored.key, changed.id, new.place
    FROM {ids} AS ids CROSS JOIN changed ON changed.id = ids.id
    CROSS JOIN catalog.vectors AS stored ON stored.item = changed.item
    CROSS JOIN shown ON shown.key = stored.space
    CROSS JOIN staged_vectors AS new ON new.id = changed.id
    WHERE new.space = shown.name AND new.picture = stored.picture AND new.value = stored.value
    """,
    """
    INSERT INTO ended_pictures SELECT stored.item, stored.position, stored.content
    FROM {ids} AS ids CROSS JOIN changed ON changed.id = ids.id
    CROSS JOIN catalog.pictures AS stored ON stored.item = changed.item
    WHERE NOT EXISTS (SELECT 1 FROM kept_pictures WHERE id = changed.id AND position = stored.position)
    """,
    """
    INSERT INTO ended_vectors SELECT stored.item, stored.key, stored.space
    FROM {ids} AS ids CROSS JOIN changed ON changed.id = ids.id
    CROSS JOIN catalog.vectors AS stored ON stored.item = changed.item
    WHERE NOT EXISTS (SELECT 1 FROM kept_vectors WHERE key = stored.key)
    AND stored.space NOT IN (SELECT space FROM catalog.factor_generations)
    """,
)
_STRANGERS = (
    "INSERT INTO lacking SELECT id, key FROM catalog.items AS items {where} NOT EXISTS"
    " (SELECT 1 FROM ids WHERE ids.id = items.id)"
)
_END_STRANGERS = (
    """
    INSERT OR IGNORE INTO ended_pictures SELECT stored.item, stored.position, stored.content
    FROM lacking CROSS JOIN catalog.pictures AS stored ON stored.item = lacking.item
    """,
    """
    INSERT OR IGNORE INTO ended_vectors SELECT stored.item, stored.key, stored.space
    FROM lacking CROSS JOIN catalog.vectors AS stored ON stored.item = lacking.item
    """,
)
_TOUCHED = (
    # Written since: whatever has a later change. Deleted since: whatever isn't there any more.
    "INSERT INTO touched SELECT id FROM catalog.items WHERE seq > :compared",
    """
    INSERT OR IGNORE INTO touched SELECT id FROM (SELECT * FROM changed UNION ALL SELECT * FROM lacking) AS known
    WHERE item IS NOT NULL AND NOT EXISTS (SELECT 1 FROM catalog.items WHERE key = known.item)
    """,
    # An item found unchanged that was deleted since is brought by the feed after all.
    """
    INSERT OR IGNORE INTO touched SELECT id FROM staged WHERE id NOT IN (SELECT id FROM changed)
    AND NOT EXISTS (SELECT 1 FROM catalog.items AS items WHERE items.id = staged.id)
    """,
    """
    CREATE TEMP TABLE again AS SELECT item FROM (SELECT * FROM changed UNION ALL SELECT * FROM lacking)
    WHERE item IS NOT NULL AND id IN (SELECT id FROM touched)
    """,
    "DELETE FROM ended_pictures WHERE item IN (SELECT item FROM again)",
    "DELETE FROM ended_vectors WHERE item IN (SELECT item FROM again)",
    "DELETE FROM kept_pictures WHERE id IN (SELECT id FROM touched)",
    "DELETE FROM kept_vectors WHERE id IN (SELECT id FROM touched)",
    "DELETE FROM changed WHERE id IN (SELECT id FROM touched)",
    "DELETE FROM lacking WHERE id IN (SELECT id FROM touched)",
    "DROP TABLE again",
)
_PLAN = (
    """
    INSERT INTO plan SELECT row_number() OVER (ORDER BY id), id,
    coalesce(item, :last_key + sum(item IS NULL) OVER (ORDER BY id)), iif(item IS NULL, 'created', 'replaced')
    FROM changed ORDER BY id
    """,
    "INSERT INTO plan SELECT NULL, id, item, 'deleted' FROM lacking ORDER BY id",
)
_APPLY = (
    """
    INSERT INTO catalog.dead SELECT :before + plan.number, ended.space, ended.key
    FROM plan CROSS JOIN ended_vectors AS ended ON ended.item = plan.item
    """,
    "DELETE FROM catalog.vectors WHERE key IN (SELECT key FROM ended_vectors)",
    "INSERT OR IGNORE INTO catalog.dropped SELECT content FROM ended_pictures WHERE content IS NOT NULL",
    "DELETE FROM catalog.pictures WHERE (item, position) IN (SELECT item, position FROM ended_pictures)",
    "DELETE FROM catalog.items WHERE key IN (SELECT item FROM plan WHERE what = 'deleted')",
    """
    UPDATE catalog.items SET title = made.title, uri = made.uri, category = made.category,
    attributes = made.attributes, digest = made.digest, updated = :now, seq = :before + made.number,
    etag = printf('%x', :before + made.number)
    FROM (SELECT plan.number, plan.item, staged.* FROM plan CROSS JOIN staged ON staged.id = plan.id
    WHERE what = 'replaced') AS made WHERE items.key = made.item
    """,
    """
    INSERT INTO catalog.items (key, id, title, uri, category, attributes, etag, seq, created, updated, digest)
    SELECT plan.item, staged.id, title, uri, category, attributes, printf('%x', :before + plan.number),
    :before + plan.number, :now, :now, digest FROM plan CROSS JOIN staged ON staged.id = plan.id
    WHERE what = 'created' ORDER BY plan.number
    """,
    "DELETE FROM catalog.predicted_categories WHERE item IN (SELECT item FROM plan WHERE what = 'replaced')",
    """
    INSERT INTO catalog.predicted_categories SELECT plan.item, staged.probability
    FROM plan CROSS JOIN staged ON staged.id = plan.id WHERE staged.probability IS NOT NULL
    """,
    """
    INSERT INTO catalog.pictures
    SELECT plan.item, position, picture, media_type, width, height, sha256, size_bytes, content
    FROM plan CROSS JOIN staged_pictures AS new ON new.id = plan.id
    WHERE NOT EXISTS (SELECT 1 FROM kept_pictures AS kept WHERE kept.id = plan.id AND kept.position = new.position)
    ORDER BY plan.number, position
    """,
    """
    INSERT INTO catalog.vectors (item, space, picture, value) SELECT plan.item, shown.key, picture, value
    FROM plan CROSS JOIN staged_vectors AS new ON new.id = plan.id
    CROSS JOIN shown ON shown.name = new.space
    WHERE NOT EXISTS (SELECT 1 FROM kept_vectors AS kept WHERE kept.id = plan.id AND kept.place = new.place)
    ORDER BY plan.number, place
    """,
    "UPDATE catalog.meta SET value = :before + (SELECT count(*) FROM plan) WHERE name = 'sequence'",
)


class Replacement:
    """The commit of what was staged through `sqlite`, see `Staging`; one thread uses it at a time."""

    def __init__(self, sqlite: sqlite3.Connection, database: Path, spaces: Mapping[str, Space]) -> None:
        """Reach for the catalogue at `database`. Vectors were staged for `spaces`, by name.

        Raises:
            sqlite3.Error: it can't be opened.
        """
        self._sqlite = sqlite
        sqlite.execute("ATTACH ? AS catalog", (f"{database.absolute().as_uri()}?mode=rw",))
        sqlite.executescript(_ATTACHED)
        self._fingerprints = {name: space.fingerprint for name, space in spaces.items()}
        self._compared = -1

    def compare(self) -> None:
        """Find what the feed changes in the catalogue as it is now.

        Raises:
            sqlite3.Error: a database failed.
        """
        with self._sqlite:
            self._sqlite.execute("BEGIN")
            self._compared = self._sequence()
            self._sqlite.execute("INSERT INTO shown SELECT key, name, fingerprint FROM catalog.shown_spaces")
            self._run(_COMPARE, ids="staged")
            self._sqlite.execute(_STRANGERS.format(where="WHERE"))
            self._run(_END_STRANGERS)

    def apply(self, now_us: int) -> FeedSummary:
        """Put the feed in the place of the catalogue, within a transaction that the caller began and will commit.

        Raises:
            sqlite3.Error: a database failed.
            ModelSwitched: another model fills a space than the one that its vectors were staged for.
        """
        self._check_spaces()
        before = self._sequence()
        if before != self._compared:
            self._run(_TOUCHED, {"compared": self._compared})
            self._run(_COMPARE, ids="touched")
            self._sqlite.execute(_STRANGERS.format(where="WHERE id IN (SELECT id FROM touched) AND"))
            self._run(_END_STRANGERS)
        [last] = self._sqlite.execute(
            "SELECT coalesce((SELECT seq FROM catalog.sqlite_sequence WHERE name = 'items'), 0)"
        ).fetchone()
        self._run(_PLAN, {"last_key": last})
        self._run(_APPLY, {"before": before, "now": now_us})
        done = dict(self._sqlite.execute("SELECT what, count(*) FROM plan GROUP BY what").fetchall())
        created, replaced = done.get("created", 0), done.get("replaced", 0)
        [items] = self._sqlite.execute("SELECT value FROM catalog.meta WHERE name = 'items'").fetchone()
        return FeedSummary(created, replaced, items - created - replaced, done.get("deleted", 0), self._sequence())

    def unused_contents(self) -> list[str]:
        """Return the SHA-256 of those files that were kept for the feed and that no picture shows.

        Raises:
            sqlite3.Error: a database failed.
        """
        statement = (
            "SELECT content FROM contents WHERE NOT EXISTS"
            " (SELECT 1 FROM catalog.pictures AS shown WHERE shown.content = contents.content)"
        )
        return [content for (content,) in self._sqlite.execute(statement)]

    def _check_spaces(self) -> None:
        now = dict(self._sqlite.execute("SELECT name, fingerprint FROM catalog.shown_spaces").fetchall())
        for (name,) in self._sqlite.execute("SELECT DISTINCT space FROM staged_vectors").fetchall():
            given, expected = self._fingerprints[name], now.get(name, "")
            if given != expected:
                raise ModelSwitched(name, given=given, expected=expected)

    def _sequence(self) -> int:
        [sequence] = self._sqlite.execute("SELECT value FROM catalog.meta WHERE name = 'sequence'").fetchone()
        return int(sequence)

    def _run(self, statements: tuple[str, ...], parameters: Mapping[str, object] | None = None, ids: str = "") -> None:
        for statement in statements:
            self._sqlite.execute(statement.format(ids=ids), parameters or {})
