"""The tables of the catalogue, and how a connection to them is opened.

Every change gets the next `sequence`, within the transaction that makes it. Keys of items and vectors are never given
twice (`AUTOINCREMENT`), so that what an old index says of a key can't be taken for a newer row, and they rise with the
sequence. So a reader that knows the index as it was after change s, when k was the last key of a vector, catches up
with two questions: the vectors with keys above k, and the rows of `dead` with sequences above s. No row of `vectors`
ever changes.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twinset_server.errors import StartupError

VERSION = 2

_APPLICATION_ID = 0x7457_5331
"""Marks the file as a catalogue of twinset ("tWS1"), for `file` and for us."""

BUSY_S = 10.0
"""Writers wait for each other at `write.lock`; this wait is for what SQLite locks by itself: a log's recovery, say."""

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('version', 2), ('sequence', 0);
INSERT INTO meta VALUES ('items', 0), ('pictures', 0), ('users', 0), ('interactions', 0);

CREATE TABLE spaces (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    dimension INTEGER NOT NULL,
    metric TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    model TEXT
);

CREATE TABLE items (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE COLLATE BINARY,
    title TEXT NOT NULL,
    uri TEXT NOT NULL,
    category TEXT NOT NULL,
    attributes TEXT NOT NULL,
    etag TEXT NOT NULL,
    seq INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    digest BLOB NOT NULL
);
CREATE INDEX items_seq ON items (seq);

-- `sha256` and what describes a picture are of the content as it was put; `content` is the SHA-256 of the file that is
-- kept, which may be a smaller copy, and null where none is.
CREATE TABLE pictures (
    item INTEGER NOT NULL REFERENCES items,
    position INTEGER NOT NULL,
    id TEXT NOT NULL COLLATE BINARY,
    media_type TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    content TEXT,
    PRIMARY KEY (item, position)
) WITHOUT ROWID;
CREATE INDEX pictures_content ON pictures (content) WHERE content IS NOT NULL;

CREATE TABLE vectors (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    item INTEGER NOT NULL REFERENCES items,
    space INTEGER NOT NULL REFERENCES spaces,
    picture TEXT NOT NULL COLLATE BINARY,
    value BLOB NOT NULL
);
CREATE INDEX vectors_item ON vectors (item, space);

-- Keys of vectors that were overwritten or deleted, by the change that did it.
CREATE TABLE dead (
    seq INTEGER NOT NULL,
    space INTEGER NOT NULL REFERENCES spaces,
    key INTEGER NOT NULL,
    PRIMARY KEY (seq, key)
) WITHOUT ROWID;

-- Contents that lost a reference, and may have none left.
CREATE TABLE dropped (content TEXT PRIMARY KEY) WITHOUT ROWID;

-- Answers to writes that named themselves, so that a repeated one isn't made twice.
CREATE TABLE requests (
    id TEXT PRIMARY KEY COLLATE BINARY,
    digest BLOB NOT NULL,
    answer TEXT NOT NULL,
    made INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX requests_made ON requests (made);

CREATE TABLE users (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE COLLATE BINARY,
    attributes TEXT NOT NULL,
    etag TEXT NOT NULL,
    seq INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
);

CREATE TABLE user_vectors (
    user INTEGER NOT NULL REFERENCES users,
    space INTEGER NOT NULL REFERENCES spaces,
    value BLOB NOT NULL,
    PRIMARY KEY (user, space)
) WITHOUT ROWID;

CREATE TABLE interactions (
    seq INTEGER PRIMARY KEY,
    user TEXT NOT NULL COLLATE BINARY,
    item TEXT NOT NULL COLLATE BINARY,
    kind TEXT NOT NULL,
    weight REAL NOT NULL,
    time INTEGER NOT NULL,
    recommendation TEXT NOT NULL DEFAULT ''
);
"""

# Beside the items, so that catalogues made before it get it too, without being another version.
_PREDICTIONS = """
CREATE TABLE IF NOT EXISTS predicted_categories (
    item INTEGER PRIMARY KEY REFERENCES items ON DELETE CASCADE,
    probability REAL NOT NULL
);
"""

# Keys of items that were deleted. A change's number is known only at its end: that of the first one which a transaction
# makes stands for all of them, since readers see all of a transaction or nothing.
_DELETED = """
CREATE TABLE IF NOT EXISTS deleted (seq INTEGER NOT NULL, item INTEGER NOT NULL, PRIMARY KEY (seq, item)) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS items_deleted AFTER DELETE ON items BEGIN
    INSERT INTO deleted SELECT value + 1, OLD.key FROM meta WHERE name = 'sequence';
END;
"""

# A user's acts are found by the user: to rank for them, and to delete them.
_BY_USER = "CREATE INDEX IF NOT EXISTS interactions_user ON interactions (user, seq);"

# Factors of users and items by their own ids, whether these are stored or not: an item that is put gets its vector from
# here. `through` is the last interaction in them, `switched` the change by which they came to serve.
_FACTORS = """
CREATE TABLE IF NOT EXISTS factor_generations (
    number INTEGER PRIMARY KEY,
    space INTEGER NOT NULL UNIQUE REFERENCES spaces,
    state TEXT NOT NULL CHECK (state IN ('staged', 'active', 'kept')),
    items INTEGER NOT NULL,
    users INTEGER NOT NULL,
    temperature REAL NOT NULL,
    start BLOB NOT NULL,
    liked_from REAL,
    through INTEGER NOT NULL,
    imported INTEGER NOT NULL,
    switched INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS factor_items (
    space INTEGER NOT NULL REFERENCES spaces,
    id TEXT NOT NULL COLLATE BINARY,
    value BLOB NOT NULL,
    liked BLOB NOT NULL,
    known BLOB NOT NULL,
    PRIMARY KEY (space, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS factor_items_id ON factor_items (id);
CREATE TABLE IF NOT EXISTS factor_users (
    space INTEGER NOT NULL REFERENCES spaces,
    id TEXT NOT NULL COLLATE BINARY,
    value BLOB NOT NULL,
    PRIMARY KEY (space, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS factor_users_id ON factor_users (id);
CREATE TRIGGER IF NOT EXISTS items_get_factors AFTER INSERT ON items BEGIN
    INSERT INTO vectors (item, space, picture, value)
    SELECT NEW.key, space, '', value FROM factor_items WHERE id = NEW.id;
END;
"""

# Which model serves is a row. Each generation of models fills spaces of its own, or shares those whose fingerprints it
# has too; `name` is what callers call one. All items up to the change `filled` are in the spaces of one that doesn't
# serve; `switched` is the change by which it came to serve. One that is gone keeps its empty spaces hidden.
_MODELS = """
CREATE TABLE IF NOT EXISTS model_generations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    model TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('filling', 'active', 'kept', 'gone')),
    filled INTEGER NOT NULL,
    switched INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS model_spaces (
    generation INTEGER NOT NULL REFERENCES model_generations,
    name TEXT NOT NULL,
    space INTEGER NOT NULL REFERENCES spaces,
    PRIMARY KEY (generation, name)
) WITHOUT ROWID;
CREATE VIEW IF NOT EXISTS shown_spaces AS
SELECT spaces.key, model_spaces.name, spaces.name AS stored, dimension, metric, fingerprint, generations.model, switched
FROM model_generations AS generations JOIN model_spaces ON generation = number JOIN spaces ON key = space
WHERE state = 'active'
UNION ALL SELECT key, name, name, dimension, metric, fingerprint, model, 0 FROM spaces
WHERE name NOT GLOB 'taste@*' AND key NOT IN (SELECT space FROM model_spaces);
"""

_ADDED = _PREDICTIONS + _DELETED + _BY_USER + _FACTORS + _MODELS

# What a table made before it lacks gets its default.
_LATER_COLUMNS = (("interactions", "recommendation", "TEXT NOT NULL DEFAULT ''"),)

# Kept by the tables themselves: to count a million rows takes as long as a hundred searches.
_COUNTS = "".join(
    f"""
CREATE TRIGGER {table}_{name} AFTER {event} ON {table} BEGIN
    UPDATE meta SET value = value {change} WHERE name = '{table}';
END;
"""  # noqa: S608 - names of our own
    for table in ("items", "pictures", "users", "interactions")
    for name, event, change in (("counted", "INSERT", "+ 1"), ("discounted", "DELETE", "- 1"))
)


def open_writer(path: Path) -> sqlite3.Connection:
    """Return a connection that writes durably to the catalogue at `path`, made where it doesn't exist.

    Transactions are begun and ended by hand. The connection may travel between threads, but only one may use it.

    Raises:
        StartupError: the file isn't a catalogue, is of a newer version, or can't be written.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        # A vector of 1,280 dimensions takes 5 KB: pages of 4 KB would send each to overflow pages.
        connection.execute("PRAGMA page_size = 8192")
        _check(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL would lose acknowledged writes at power loss: it syncs the log at checkpoints only.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise StartupError(
            f"{path} can't be opened as a catalogue ({error}): check that the file is writable and was made by "
            "twinset-server, or set store.path to another folder"
        ) from error
    except StartupError:
        if connection is not None:
            connection.close()
        raise


def open_reader(path: Path) -> sqlite3.Connection:
    """Return a connection that only reads the catalogue at `path`."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        timeout=BUSY_S,
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA query_only = ON")
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not tables:
        connection.executescript(
            f"BEGIN IMMEDIATE; PRAGMA application_id = {_APPLICATION_ID}; {_TABLES} {_ADDED} {_COUNTS} COMMIT;"
        )
        return
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != _APPLICATION_ID:
        raise StartupError(
            f"{path} is a database of another program: move it away, or set store.path to another folder"
        )
    (version,) = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    if version != VERSION:
        raise StartupError(
            f"{path} has schema version {version}, and this twinset-server reads version {VERSION}: start the "
            "twinset-server that wrote it, or set store.path to another folder"
        )
    for table, column, declaration in _LATER_COLUMNS:
        present = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
        if column not in present:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")
    connection.executescript(_ADDED)
