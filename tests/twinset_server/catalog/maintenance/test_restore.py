"""A restore ends in the old catalogue or the new one, whole."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.folder import FakeHandle, WrittenFolder, contents
from twinset_server.catalog.folder import Folder
from twinset_server.catalog.maintenance import FolderMaintenance, IdleFolder, manifest
from twinset_server.catalog.store.collector import Collector
from twinset_server.catalog.store.schema import open_writer
from twinset_server.errors import (
    BackupOfAnother,
    BackupUnsound,
    OperationCancelled,
    SpaceConflict,
    StartupError,
    StoreUnavailable,
)
from twinset_server.maintenance import Work


@pytest.fixture
async def saved(written: WrittenFolder, maintenance: FolderMaintenance, tmp_path: Path) -> Path:
    """A backup of three items, after which one is deleted and one added."""
    written.publish(1, [1, 2, 3])
    report = await maintenance.backup(tmp_path / "backups", "one", Work())
    written.delete("a")
    written.picture(b"picture of a").unlink()
    written.put("d", b"picture of d")
    return report.path


async def test_a_restore_brings_the_old_state_back(
    written: WrittenFolder, handle: FakeHandle, maintenance: FolderMaintenance, saved: Path, work: Work
) -> None:
    report = await maintenance.restore(saved, work)
    assert (report.sequence, report.items, report.replaced_sequence) == (3, 3, 5)
    assert [row[1] for row in contents(written.path)["items"]] == ["a", "b", "c"]
    assert (written.path / "index/1/generation-000001.json").exists()
    assert sorted(path.name for path in written.path.iterdir() if "lock" not in path.name) == [
        "catalog.sqlite",
        "catalog.sqlite-shm",
        "catalog.sqlite-wal",
        "index",
        "pictures",
    ]
    assert not handle.paused_now


def run_program(program: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "database": (lambda saved: _flip(saved / "catalog.sqlite"), "catalog.sqlite"),
    "picture": (lambda saved: _flip(next((saved / "pictures").glob("*/*"))), "pictures/"),
    "missing picture": (lambda saved: next((saved / "pictures").glob("*/*")).unlink(), "pictures/"),
    "index": (lambda saved: _flip(saved / "index/1/generation-000001.json"), "index/1/generation-000001.json"),
    "list": (lambda saved: _flip(saved / "SHA256SUMS"), "SHA256SUMS"),
    "manifest": (lambda saved: _flip(saved / "backup.json"), "backup.json"),
    "no manifest": (lambda saved: (saved / "backup.json").unlink(), "backup.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_backup_is_refused_by_name_and_nothing_is_touched(
    written: WrittenFolder, maintenance: FolderMaintenance, saved: Path, work: Work, damage: str
) -> None:
    harm, named = DAMAGES[damage]
    harm(saved)
    before = contents(written.path)
    with pytest.raises(BackupUnsound, match=named):
        await maintenance.restore(saved, work)
    assert contents(written.path) == before
    assert not (written.path / "restoring").exists()


async def test_a_backup_of_another_schema_is_refused_with_both_versions(
    maintenance: FolderMaintenance, saved: Path, work: Work
) -> None:
    described = manifest.read(saved, schema=2)
    changed = manifest.Manifest(
        **{name: getattr(described, name) for name in described.__slots__} | {"schema": 7}
    ).encode()
    (saved / "backup.json").write_bytes(changed)
    with pytest.raises(BackupUnsound, match=r"schema version 7.*version 2"):
        await maintenance.restore(saved, work)


async def test_a_catalogue_that_can_t_be_served_is_replaced_by_the_old_one(
    written: WrittenFolder, handle: FakeHandle, maintenance: FolderMaintenance, saved: Path, work: Work
) -> None:
    before = contents(written.path)
    handle.starts = [StartupError("the model is another"), None]
    with pytest.raises(StoreUnavailable, match="the model is another"):
        await maintenance.restore(saved, work)
    assert contents(written.path) == before
    assert not list(written.path.glob("*.replaced"))


async def test_a_backup_of_another_model_is_refused_and_the_old_one_is_back(
    written: WrittenFolder, handle: FakeHandle, maintenance: FolderMaintenance, saved: Path, work: Work
) -> None:
    before = contents(written.path)
    handle.starts = [SpaceConflict(f"fingerprint {'a' * 64}; started for fingerprint {'b' * 64}"), None]
    with pytest.raises(BackupOfAnother, match=f"{'a' * 64}.*{'b' * 64}"):
        await maintenance.restore(saved, work)
    assert contents(written.path) == before


async def test_pictures_of_a_restore_that_failed_are_collected(
    written: WrittenFolder, handle: FakeHandle, maintenance: FolderMaintenance, saved: Path, work: Work
) -> None:
    handle.starts = [StartupError("the model is another"), None]
    with pytest.raises(StoreUnavailable):
        await maintenance.restore(saved, work)
    assert written.picture(b"picture of a").exists()
    with contextlib.closing(Collector(Folder(written.path))) as collector:
        assert collector.collect() == 1
    assert not written.picture(b"picture of a").exists()
    assert written.picture(b"picture of b").exists()


async def test_a_database_in_use_is_not_replaced(
    written: WrittenFolder, maintenance: FolderMaintenance, saved: Path, work: Work
) -> None:
    before = contents(written.path)
    other = open_writer(written.database)
    other.execute("BEGIN")
    other.execute("SELECT * FROM meta").fetchone()
    with pytest.raises(StoreUnavailable, match="in use"):
        await maintenance.restore(saved, work)
    other.close()
    assert contents(written.path) == before


async def test_a_cancelled_restore_changes_nothing(
    written: WrittenFolder, maintenance: FolderMaintenance, saved: Path
) -> None:
    class Impatient(Work):
        def stage(self, name: str, unit: str = "", total: int = 0) -> None:
            super().stage(name, unit, total)
            if name == "copying the backup":
                self.cancel()

    before = contents(written.path)
    with pytest.raises(OperationCancelled):
        await maintenance.restore(saved, Impatient())
    assert contents(written.path) == before
    assert not (written.path / "restoring").exists()


async def test_a_damaged_catalogue_can_be_replaced(written: WrittenFolder, saved: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "catalog.sqlite").write_bytes(b"garbage" * 5000)
    (broken / "catalog.sqlite-wal").write_bytes(b"garbage" * 500)

    report = await FolderMaintenance(IdleFolder(broken)).restore(saved, Work())
    assert (report.sequence, report.replaced_sequence) == (3, 0)
    assert [row[1] for row in contents(broken)["items"]] == ["a", "b", "c"]


KILLED = """
import asyncio, contextlib, os, pathlib, signal, sys
sys.path[:0] = {path!r}
from twinset_server.catalog.maintenance import FolderMaintenance, IdleFolder
from twinset_server.maintenance import Work

folder, saved = map(pathlib.Path, sys.argv[1:3])
step, before = int(sys.argv[3]), sys.argv[4] == "before"
count = 0

def counted(original):
    def call(self, *args):
        global count
        count += 1
        if count == step and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(self, *args)
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

# The steps of the switch: the second name of the database, and the renames.
for name in ("hardlink_to", "rename"):
    setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
asyncio.run(FolderMaintenance(IdleFolder(folder)).restore(saved, Work()))
print("done")
"""


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("step", [1, 2, 3, 4])
async def test_a_restore_killed_at_any_step_leaves_the_old_or_the_new(
    written: WrittenFolder, saved: Path, tmp_path: Path, step: int, side: str
) -> None:
    written.connection.close()
    old = contents(written.path)
    new = contents(saved)
    program = KILLED.format(path=sys.path)
    ran = run_program(program, written.path, saved, step, side)
    assert ran.returncode == -9, ran.stderr.decode()
    decided = step > 3 or (step == 3 and side == "after")
    assert contents(written.path) == (new if decided else old)
    # What was left is no obstacle, and goes.
    written.connection = open_writer(written.database)
    await FolderMaintenance(FakeHandle(written)).restore(saved, Work())
    assert contents(written.path) == new
    assert not list(written.path.glob("*.replaced"))


async def test_a_restore_into_an_empty_folder_makes_the_catalogue(saved: Path, tmp_path: Path, work: Work) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    moved = shutil.move(saved, tmp_path / "another-machine")
    report = await FolderMaintenance(IdleFolder(fresh)).restore(Path(moved), work)
    assert report.items == 3
    assert [row[1] for row in contents(fresh)["items"]] == ["a", "b", "c"]
