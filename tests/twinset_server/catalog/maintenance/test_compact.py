"""What was deleted is in no file afterwards, and what is stored stays as it is."""

import datetime
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fakes.folder import FakeHandle, WrittenFolder, contents
from twinset_server.catalog.folder import Folder
from twinset_server.catalog.maintenance import FolderMaintenance, IdleFolder, pictures
from twinset_server.catalog.maintenance import compact as compaction
from twinset_server.catalog.store.changes import Changes
from twinset_server.catalog.store.entry import checked
from twinset_server.catalog.store.schema import open_reader
from twinset_server.catalog.store.spaces import keyed
from twinset_server.domain import Change, Interaction, ItemVector, UserDeletion, WritableUser
from twinset_server.errors import OperationCancelled, StoreUnavailable
from twinset_server.maintenance import Work

SECRET = "the secret of a deleted item"


@pytest.fixture(autouse=True)
def _deleted(written: WrittenFolder) -> None:
    # Some builds of SQLite overwrite what is deleted.
    written.connection.execute("PRAGMA secure_delete = OFF")
    written.put("secret", b"a picture of it: " + SECRET.encode(), title=SECRET)
    written.publish(1, [1, 2, 3, 4], text=SECRET)
    written.delete("secret")


def changed(connection: sqlite3.Connection, wanted: Sequence[Change]) -> None:
    """Make changes as a writer does."""
    spaces = {name: space for name, (_, space) in keyed(connection).items()}
    connection.execute("BEGIN IMMEDIATE")
    changes = Changes(connection, 0)
    for change in wanted:
        changes.apply(checked(change, spaces), {})
    changes.finish()
    connection.execute("COMMIT")


def files_with(folder: Path, text: str) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    )


async def test_deleted_text_is_in_no_file_afterwards(
    written: WrittenFolder, handle: FakeHandle, maintenance: FolderMaintenance, work: Work
) -> None:
    before = {table: rows for table, rows in contents(written.path).items() if table != "dead"}
    # Else it would be no wonder.
    assert {name.split("/")[0] for name in files_with(written.path, SECRET)} == {
        "catalog.sqlite-wal",
        "index",
        "pictures",
    }
    report = await maintenance.compact(work)
    assert files_with(written.path, SECRET) == []
    assert {table: rows for table, rows in contents(written.path).items() if table != "dead"} == before
    assert report.bytes_after < report.bytes_before
    assert (report.pictures, report.rebuilt) == (1, ("visual",))
    assert handle.rebuilt == [("visual", True)]
    assert (await maintenance.check(Work())).findings == []


async def test_a_deleted_user_is_in_no_file_and_in_no_backup_made_afterwards(
    written: WrittenFolder, maintenance: FolderMaintenance, tmp_path: Path
) -> None:
    name = "a user who wants to be forgotten"
    connection = written.connection
    now = datetime.datetime.now(datetime.UTC)
    acts = [Interaction(name, f"item {number}", "like", 1.0, now) for number in range(200)]
    vector = ItemVector("visual", "", np.array([1, 0, 0, 0], np.float32))
    changed(connection, [WritableUser(name, {"street": "of " + name}, [vector]), *acts])
    assert files_with(written.path, name)
    changed(connection, [UserDeletion(name)])
    await maintenance.compact(Work())
    assert files_with(written.path, name) == []
    await maintenance.backup(tmp_path / "backups", "later", Work())
    assert files_with(tmp_path / "backups", name) == []


async def test_text_deleted_long_ago_goes_too(
    written: WrittenFolder, maintenance: FolderMaintenance, work: Work
) -> None:
    written.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert "catalog.sqlite" in files_with(written.path, SECRET)
    await maintenance.compact(work)
    assert files_with(written.path, SECRET) == []


async def test_an_index_without_deleted_items_is_not_built_again(
    written: WrittenFolder, handle: FakeHandle, maintenance: FolderMaintenance
) -> None:
    await maintenance.compact(Work())
    assert (await maintenance.compact(Work())).rebuilt == ()
    assert handle.rebuilt == [("visual", True)]


async def test_a_damaged_generation_is_built_anew_since_nobody_knows_what_it_holds(
    written: WrittenFolder, handle: FakeHandle, maintenance: FolderMaintenance
) -> None:
    await maintenance.compact(Work())
    (written.path / "index/1/segment-000101/items.utf8").write_text(SECRET)
    assert (await maintenance.compact(Work())).rebuilt == ("visual",)
    assert files_with(written.path, SECRET) == []


async def test_rows_that_a_generation_needs_stay(written: WrittenFolder, work: Work) -> None:
    class Unbuilt(FakeHandle):
        async def rebuild(self, space: str, *, alone: bool = False) -> object:
            for share in ():
                yield share

    await FolderMaintenance(Unbuilt(written)).compact(work)
    assert len(contents(written.path)["dead"]) == 1


async def test_without_an_index_a_served_catalogue_keeps_the_log_and_an_idle_one_drops_it(
    written: WrittenFolder, handle: FakeHandle
) -> None:
    for path in (written.path / "index/1").glob("generation-*"):
        path.unlink()
    await FolderMaintenance(handle).compact(Work())
    assert len(contents(written.path)["dead"]) == 1
    await FolderMaintenance(IdleFolder(written.path), served=False).compact(Work())
    assert contents(written.path)["dead"] == []


async def test_old_answers_go_and_recent_ones_stay(
    written: WrittenFolder, maintenance: FolderMaintenance, work: Work
) -> None:
    written.connection.execute("INSERT INTO requests VALUES ('old', x'', '[]', 0)")
    recent = "INSERT INTO requests VALUES ('recent', x'', '[]', strftime('%s', 'now') * 1000000)"
    written.connection.execute(recent)
    await maintenance.compact(work)
    assert [row[0] for row in contents(written.path)["requests"]] == ["recent"]


async def test_pictures_of_a_feed_stay(
    written: WrittenFolder, maintenance: FolderMaintenance, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_FEED_ENDS_S", 0.1)
    staged = written.write_picture(b"of a feed")
    feed = Folder(written.path).feeds_lock()
    with feed.shared(), pytest.raises(StoreUnavailable, match="ReplaceCatalog"):
        await maintenance.compact(work)
    feed.close()
    assert staged.exists()
    await maintenance.compact(Work())
    assert not staged.exists()


async def test_a_log_that_stays_in_use_is_told(
    written: WrittenFolder, maintenance: FolderMaintenance, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "_CHECKPOINT_S", 0.1)
    reader = open_reader(written.database)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM meta").fetchone()
    with pytest.raises(StoreUnavailable, match="compact again"):
        await maintenance.compact(work)
    reader.close()
    await maintenance.compact(Work())
    assert files_with(written.path, SECRET) == []


@pytest.mark.parametrize("stage", ["building the index of visual", "dropping old rows", "writing the database anew"])
async def test_a_cancelled_compaction_loses_nothing(
    written: WrittenFolder, maintenance: FolderMaintenance, stage: str
) -> None:
    class Impatient(Work):
        def stage(self, name: str, unit: str = "", total: int = 0) -> None:
            super().stage(name, unit, total)
            if name == stage:
                self.cancel()

    before = {table: rows for table, rows in contents(written.path).items() if table != "dead"}
    with pytest.raises(OperationCancelled):
        await maintenance.compact(Impatient())
    assert {table: rows for table, rows in contents(written.path).items() if table != "dead"} == before
    await maintenance.compact(Work())
    assert files_with(written.path, SECRET) == []
