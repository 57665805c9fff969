"""Where the disk is full, a work says so, leaves nothing half made, and the catalogue is what it was."""

import errno
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.folder import WrittenFolder, contents
from twinset_server.catalog.index import checksums
from twinset_server.catalog.maintenance import FolderMaintenance, IdleFolder, backup
from twinset_server.errors import DiskFull
from twinset_server.maintenance import Work

LIMIT = 64 << 10
"""What a file may grow to: less than the database that is copied or written anew."""

LIMITED = """
import asyncio, pathlib, sys
sys.path[:0] = {path!r}
from twinset_server.catalog.maintenance import FolderMaintenance, IdleFolder
from twinset_server.errors import TwinsetError
from twinset_server.maintenance import Work

maintenance = FolderMaintenance(IdleFolder(pathlib.Path(sys.argv[1])), served=False)
try:
    asyncio.run(getattr(maintenance, sys.argv[2])(*map(pathlib.Path, sys.argv[3:]), Work()))
except TwinsetError as error:
    print(type(error).__name__, error.message)
"""


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def _large(written: WrittenFolder) -> None:
    for number in range(200):
        written.put(f"more {number}", title="x" * 1000)
    written.put("deleted")
    written.publish(1, [1, 2, 3, 204])
    written.delete("deleted")


@pytest.fixture
def idle(written: WrittenFolder) -> FolderMaintenance:
    return FolderMaintenance(IdleFolder(written.path), served=False)


def limited(written: WrittenFolder, *arguments: object) -> str:
    """Return what a work says that runs in a process whose files can't grow beyond `LIMIT`."""
    program = LIMITED.format(path=sys.path)
    ran = subprocess.run(
        [sys.executable, "-c", program, str(written.path), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT)),
    )
    return ran.stdout


async def test_a_backup_without_room_for_a_picture_names_its_folder_and_leaves_nothing(
    maintenance: FolderMaintenance, tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "copy", full)
    with pytest.raises(DiskFull, match=f"the disk of {tmp_path}/backups has no room"):
        await maintenance.backup(tmp_path / "backups", "one", work)
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_backup_without_room_for_the_database_leaves_nothing(written: WrittenFolder, tmp_path: Path) -> None:
    assert written.database.stat().st_size > LIMIT
    said = limited(written, "backup", tmp_path / "backups", "one")
    assert said.startswith("StoreUnavailable ")
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_compaction_without_room_for_the_database_loses_nothing(written: WrittenFolder) -> None:
    before = {table: rows for table, rows in contents(written.path).items() if table != "dead"}
    written.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert limited(written, "compact").startswith("StoreUnavailable the catalogue's database failed: disk I/O error")
    assert {table: rows for table, rows in contents(written.path).items() if table != "dead"} == before
    assert not list(written.path.glob("*-journal"))


async def test_a_compaction_without_room_for_the_index_keeps_the_old_one(
    written: WrittenFolder, idle: FolderMaintenance, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(written.path.glob("index/**/*"))
    monkeypatch.setattr(checksums.SummedFile, "write", full)
    with pytest.raises(DiskFull, match="free some space"):
        await idle.compact(work)
    assert sorted(written.path.glob("index/**/*")) == before
    monkeypatch.undo()
    assert (await idle.compact(Work())).rebuilt == ("visual",)
