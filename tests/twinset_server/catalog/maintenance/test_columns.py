"""Snapshots of the columns: checked against the items, left out of backups, and gone after a compaction."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.folder import FakeHandle, WrittenFolder
from twinset_server.catalog.columns.table import Columns
from twinset_server.catalog.columns.writing import ColumnTable
from twinset_server.catalog.index import column_files
from twinset_server.catalog.maintenance import FolderMaintenance
from twinset_server.catalog.store.log import ChangeLog
from twinset_server.maintenance import Severity, Work

SECRET = "the category of a deleted item"


def table(written: WrittenFolder) -> Columns:
    found = ColumnTable()
    with contextlib.closing(ChangeLog(written.database)) as log, log.snapshot() as snapshot:
        found.follow(snapshot)
    return found.publish()


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.fixture
def home(written: WrittenFolder) -> Path:
    """The folder of a snapshot since which an item was deleted, one changed and one put."""
    written.put("gone")
    execute = written.connection.execute
    execute("UPDATE items SET category = 'Mug', attributes = '{\"n\":1,\"t\":\"x\"}' WHERE id <> 'gone'")
    execute("UPDATE items SET category = ? WHERE id = 'gone'", (SECRET,))
    home = column_files.columns_folder(written.path / "index")
    with column_files.held(written.path / "index"):
        column_files.write(home, table(written))
    written.delete("gone")
    written.put("later")
    execute("UPDATE items SET seq = (SELECT value FROM meta WHERE name = 'sequence'), category = '' WHERE id = 'a'")
    return home


@pytest.mark.usefixtures("home")
async def test_a_sound_snapshot_has_no_findings(maintenance: FolderMaintenance, work: Work) -> None:
    assert (await maintenance.check(work)).findings == []


async def test_a_damaged_snapshot_is_found(home: Path, maintenance: FolderMaintenance, work: Work) -> None:
    path = column_files.data_path(home, 1)
    path.write_bytes(path.read_bytes()[::-1])
    [finding] = (await maintenance.check(work)).findings
    assert (finding.severity, finding.subject) == (Severity.WARNING, "index/columns/columns-000001.json")
    assert "has another content than was written" in finding.description


@pytest.mark.parametrize(
    ("change", "description"),
    [
        ("category = 'Cup'", "holds another category than is stored: 1 of them, keys 2"),
        ("attributes = '{\"n\":1}'", "holds another attributes.t than is stored: 1 of them, keys 2"),
        ('attributes = \'{"n":1,"t":"x","u":2}\'', "holds another attributes.u than is stored: 1 of"),
    ],
)
async def test_a_snapshot_that_says_otherwise_is_found(
    written: WrittenFolder, home: Path, maintenance: FolderMaintenance, change: str, description: str
) -> None:
    written.connection.execute(f"UPDATE items SET {change} WHERE id = 'b'")
    [finding] = (await maintenance.check(Work())).findings
    assert finding.subject == "index/columns/columns-000001.json"
    assert description in finding.description


async def test_a_snapshot_that_lacks_an_item_is_found(
    written: WrittenFolder, home: Path, maintenance: FolderMaintenance, work: Work
) -> None:
    columns = table(written)
    column_files.write(home, replace(columns, keys=columns.keys + (columns.keys == 5)))
    [finding] = (await maintenance.check(work)).findings
    assert "holds items that aren't stored, or lacks some: 2 of them, keys 5, 6" in finding.description


async def test_what_a_deleted_item_had_is_in_no_file_after_a_compaction(
    written: WrittenFolder, home: Path, maintenance: FolderMaintenance, work: Work
) -> None:
    assert column_files.data_path(home, 1) in files_with(written.path, SECRET)
    await maintenance.compact(work)
    assert files_with(written.path, SECRET) == []
    assert column_files.numbers(home) == []


async def test_a_rebuild_has_the_builder_write_another_snapshot(
    home: Path, maintenance: FolderMaintenance, work: Work
) -> None:
    await maintenance.rebuild("", work)
    assert column_files.numbers(home) == []


@pytest.mark.usefixtures("home")
async def test_a_backup_leaves_the_snapshot_out(maintenance: FolderMaintenance, tmp_path: Path, work: Work) -> None:
    report = await maintenance.backup(tmp_path, "one", work)
    assert not (report.path / "index/columns").exists()
    fresh = WrittenFolder(tmp_path / "fresh")
    restored = FolderMaintenance(FakeHandle(fresh))
    await restored.restore(report.path, Work())
    assert table(fresh).length == 4
    assert (await restored.check(Work())).findings == []
    fresh.connection.close()
