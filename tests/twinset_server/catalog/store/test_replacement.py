"""A feed is compared before any lock is taken, and what others wrote since is compared again."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fakes.items import delete, new_picture, put, unit, writable
from twinset.contract import Metric
from twinset_server.catalog import Folder, open_alone
from twinset_server.catalog.sqlite_catalog import SqliteCatalog
from twinset_server.catalog.store.connection import WritingConnection
from twinset_server.catalog.store.entry import entry
from twinset_server.catalog.store.replacement import Replacement
from twinset_server.catalog.store.staging import Staged, Staging
from twinset_server.config import StoreSettings
from twinset_server.domain import FeedSummary, ItemUpdate, ItemVector, Space, WritableItem

VISUAL = Space("visual", 3, Metric.COSINE, "a" * 64)

TABLES = {
    "items": "SELECT key, id, title, category, attributes, etag, seq, digest FROM items ORDER BY key",
    "pictures": "SELECT * FROM pictures ORDER BY item, position",
    "vectors": "SELECT * FROM vectors ORDER BY key",
    "dead": "SELECT * FROM dead ORDER BY seq, key",
    "dropped": "SELECT * FROM dropped ORDER BY content",
    "meta": "SELECT * FROM meta ORDER BY name",
}


def item(item_id: str, version: int) -> WritableItem:
    """Return an item whose first picture, and its vector, is the same in every version."""
    pictures = [new_picture("first", b"first"), new_picture("second", b"%d" % version)]
    vectors = [ItemVector("visual", "first", unit(1, 0, 1)), ItemVector("visual", "second", unit(1, version, 1))]
    return writable(item_id, vectors, pictures, title=f"v{version}", digest=b"%d" % version)


async def others(catalog: SqliteCatalog) -> None:
    await catalog.write([ItemUpdate("same", title="theirs")])
    await put(catalog, [item("changed", 7), item("stranger", 1), item("new", 5), item("known", 4)])
    await delete(catalog, "lacking")
    await delete(catalog, "deleted")
    await delete(catalog, "staged alike")


async def nothing(catalog: SqliteCatalog) -> None:
    """Let the feed be alone."""


async def replaced(folder: Path, before: Callable[..., object], since: Callable[..., object]) -> FeedSummary:
    """Store items, commit a feed, and let others write before it is compared, or since."""
    async with open_alone(StoreSettings(path=folder), {}, [VISUAL]) as catalog:
        ids = ["same", "changed", "known", "deleted", "staged alike", "lacking", "lacking too"]
        await put(catalog, [item(one, 1) for one in ids])
        staging = Staging(folder / "feeds")
        feed = [item("same", 1), item("changed", 2), item("deleted", 2), item("new", 1), item("staged alike", 1)]
        staging.add([Staged(entry(one, catalog.spaces()), _contents(one)) for one in feed])
        staging.note(["known"])
        await before(catalog)  # type: ignore[misc]
        replacement = Replacement(staging.sqlite, folder / "catalog.sqlite", catalog.spaces())
        replacement.compare()
        await since(catalog)  # type: ignore[misc]
        connection = WritingConnection(Folder(folder))
        with connection.alone():
            staging.sqlite.execute("BEGIN IMMEDIATE")
            summary = replacement.apply(1)
            staging.sqlite.execute("COMMIT")
        connection.close()
        staging.close()
    return summary


def _contents(one: WritableItem) -> dict[str, str]:
    return {new.picture.sha256: new.picture.sha256 for new in one.pictures}


def tables(folder: Path) -> dict[str, Sequence[object]]:
    with contextlib.closing(sqlite3.connect(folder / "catalog.sqlite")) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return {name: connection.execute(statement).fetchall() for name, statement in TABLES.items()}


@pytest.mark.parametrize("writes", [nothing, others])
async def test_what_is_written_after_the_comparison_counts_as_if_before(
    tmp_path: Path, writes: Callable[..., object]
) -> None:
    early = await replaced(tmp_path / "early", writes, nothing)
    late = await replaced(tmp_path / "late", nothing, writes)
    assert late == early
    assert tables(tmp_path / "late") == tables(tmp_path / "early")


async def test_every_change_of_a_feed_has_its_sequence_and_ends_what_it_replaces(tmp_path: Path) -> None:
    summary = await replaced(tmp_path, nothing, nothing)
    assert summary == FeedSummary(created=1, replaced=2, unchanged=3, deleted=2, sequence=12)
    found = tables(tmp_path)
    assert [(row[1], row[2], row[5], row[6]) for row in found["items"]] == [  # type: ignore[index]
        ("same", "v1", "1", 1),
        ("changed", "v2", "8", 8),
        ("known", "v1", "3", 3),
        ("deleted", "v2", "9", 9),
        ("staged alike", "v1", "5", 5),
        ("new", "v1", "a", 10),
    ]
    # Of an item that changed, the vector of the picture that is another; of one that is gone, all.
    assert [row[0] for row in found["dead"]] == [8, 9, 11, 11, 12, 12]  # type: ignore[index]
    assert dict(found["meta"])["sequence"] == 12  # type: ignore[call-overload]
    assert dict(found["meta"])["items"] == 6  # type: ignore[call-overload]
