"""A backup is one moment of the catalogue, whole or not there."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.folder import FakeHandle, WrittenFolder, contents
from twinset_server.catalog.folder import Folder
from twinset_server.catalog.maintenance import FolderMaintenance
from twinset_server.catalog.maintenance.backup import backup
from twinset_server.errors import BackupRefused, OperationCancelled
from twinset_server.maintenance import Progress, Work

WRITER = """
import pathlib, sys
sys.path[:0] = {path!r}
from fakes.folder import WrittenFolder
folder = WrittenFolder.__new__(WrittenFolder)
folder.path = pathlib.Path(sys.argv[1])
from twinset_server.catalog.store.schema import open_writer
folder.connection = open_writer(folder.path / "catalog.sqlite")
number = 0
while True:
    number += 1
    folder.put(f"more {{number}}", b"picture %d" % number)
    if number % 3 == 0:
        folder.delete(f"more {{number - 1}}")
    print(number, flush=True)
"""


def started(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a program, and return when it has printed a line."""
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".*")]


def sha256sum(folder: Path) -> list[str]:
    command = ["sha256sum", "--check", "SHA256SUMS"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()


async def test_a_backup_restores_elsewhere_to_equal_contents(
    written: WrittenFolder, maintenance: FolderMaintenance, tmp_path: Path, work: Work
) -> None:
    written.delete("b")
    report = await maintenance.backup(tmp_path / "backups", "first", work)
    assert (report.sequence, report.items, report.pictures, report.lost_pictures) == (4, 2, 1, [])
    elsewhere = WrittenFolder(tmp_path / "elsewhere")
    restored = await FolderMaintenance(FakeHandle(elsewhere)).restore(report.path, Work())
    assert (restored.sequence, restored.items, restored.pictures) == (4, 2, 1)
    assert contents(elsewhere.path) == contents(written.path)
    elsewhere.connection.close()


async def test_a_backup_under_concurrent_writes_is_consistent(
    written: WrittenFolder, maintenance: FolderMaintenance, tmp_path: Path
) -> None:
    program = WRITER.format(path=sys.path)
    with started(program, written.path) as writer:
        try:
            sequences = []
            for number in range(5):
                report = await maintenance.backup(tmp_path, f"backup-{number}", Work())
                sequences.append(report.sequence)
                assert report.lost_pictures == []
                found = contents(report.path)
                # Each item has its one vector and its one picture, and every change gave one sequence.
                assert len(found["items"]) == len(found["vectors"]) == report.items
                assert len(found["items"]) + 2 * len(found["dead"]) == report.sequence
                assert len(found["files"]) == report.pictures
                assert dict(found["meta"])["sequence"] == report.sequence
        finally:
            writer.kill()
    assert sequences == sorted(set(sequences))


async def test_sha256sum_accepts_the_list(maintenance: FolderMaintenance, tmp_path: Path, work: Work) -> None:
    report = await maintenance.backup(tmp_path, "one", work)
    assert [line.rpartition(": ")[2] for line in sha256sum(report.path)] == ["OK"] * 3


async def test_the_newest_generation_not_above_the_database_is_copied(
    written: WrittenFolder, maintenance: FolderMaintenance, tmp_path: Path, work: Work
) -> None:
    written.publish(1, [1, 2])
    written.publish(2, [1, 2, 3])
    written.publish(3, [1, 2, 3], sequence=99)
    report = await maintenance.backup(tmp_path, "one", work)
    assert [path.name for path in sorted((report.path / "index/1").iterdir())] == [
        "dead-000002.i64",
        "generation-000002.json",
        "segment-000002",
    ]


async def test_a_damaged_generation_is_left_out(
    written: WrittenFolder, maintenance: FolderMaintenance, tmp_path: Path, work: Work
) -> None:
    written.publish(1, [1, 2, 3])
    (written.path / "index/1/segment-000001/keys.i64").write_bytes(b"x" * 24)
    report = await maintenance.backup(tmp_path, "one", work)
    assert list((report.path / "index").iterdir()) == []
    assert (await FolderMaintenance(FakeHandle(written)).restore(report.path, Work())).items == 3


async def test_an_older_generation_stands_in_for_a_damaged_one(
    written: WrittenFolder, maintenance: FolderMaintenance, tmp_path: Path, work: Work
) -> None:
    written.publish(1, [1, 2, 3])
    written.publish(2, [1, 2, 3])
    (written.path / "index/1/segment-000002/keys.i64").write_bytes(b"x" * 24)
    report = await maintenance.backup(tmp_path, "one", work)
    assert (report.path / "index/1/generation-000001.json").exists()
    assert not (report.path / "index/1/segment-000002").exists()
    assert [line.rpartition(": ")[2] for line in sha256sum(report.path)] == ["OK"] * 15


async def test_a_lost_picture_is_named_and_the_rest_is_sound(
    written: WrittenFolder, maintenance: FolderMaintenance, tmp_path: Path, work: Work
) -> None:
    path = written.picture(b"picture of a")
    path.write_bytes(b"something else")
    report = await maintenance.backup(tmp_path, "one", work)
    assert report.lost_pictures == [path.parent.name + path.name]
    assert report.pictures == 1
    restored = await maintenance.restore(report.path, Work())
    assert restored.pictures == 1


async def test_a_backup_that_is_being_finished_is_left_alone_by_the_next_one(
    written: WrittenFolder, maintenance: FolderMaintenance, tmp_path: Path
) -> None:
    class Overtaken(Work):
        overtook = False

        def check(self) -> None:
            if self.progress.stage == "finishing" and not self.overtook:
                self.overtook = True
                backup(Folder(written.path), tmp_path, "second", Work())
            super().check()

    work = Overtaken()
    await maintenance.backup(tmp_path, "first", work)
    assert work.overtook
    assert len(sha256sum(tmp_path / "first")) == len(sha256sum(tmp_path / "second"))
    assert hidden(tmp_path / "first") == hidden(tmp_path) == []


async def test_while_pictures_are_copied_the_log_can_shrink(
    written: WrittenFolder, maintenance: FolderMaintenance, tmp_path: Path
) -> None:
    busy: list[int] = []

    class Writing(Work):
        def stage(self, name: str, unit: str = "", total: int = 0) -> None:
            super().stage(name, unit, total)
            with contextlib.closing(sqlite3.connect(written.path / "catalog.sqlite")) as connection:
                if name == "copying pictures":
                    with connection:
                        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'sequence'")
                    busy.append(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])

    await maintenance.backup(tmp_path, "one", Writing())
    assert busy == [0]


@pytest.mark.parametrize("stage", ["copying the database", "copying pictures", "copying the index", "finishing"])
async def test_a_cancelled_backup_leaves_nothing(maintenance: FolderMaintenance, tmp_path: Path, stage: str) -> None:
    class Impatient(Work):
        def stage(self, name: str, unit: str = "", total: int = 0) -> None:
            if name == stage:
                self.cancel()
            super().stage(name, unit, total)

    with pytest.raises(OperationCancelled):
        await maintenance.backup(tmp_path / "backups", "one", Impatient())
    assert list((tmp_path / "backups").iterdir()) == []


async def test_what_a_killed_backup_left_is_swept_and_one_under_way_is_not(
    maintenance: FolderMaintenance, tmp_path: Path, work: Work
) -> None:
    program = (
        "import sys, os, pathlib, signal\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from twinset_server.catalog.maintenance import backup\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "with backup._unfinished(path, sys.argv[2]) as folder:\n"
        "    (folder / 'part').write_text('half')\n"
        "    print('made', flush=True)\n"
        "    signal.pause()\n"
    )
    processes = [started(program, tmp_path, name) for name in ("killed", "alive")]
    try:
        os.kill(processes[0].pid, signal.SIGKILL)
        processes[0].wait()
        await maintenance.backup(tmp_path, "one", work)
        left = hidden(tmp_path)
        assert left == [".twinset-unfinished-alive"]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


async def test_a_backup_isn_t_written_over_another_nor_into_the_catalogue(
    written: WrittenFolder, maintenance: FolderMaintenance, tmp_path: Path
) -> None:
    await maintenance.backup(tmp_path, "one", Work())
    with pytest.raises(BackupRefused, match="is there already"):
        await maintenance.backup(tmp_path, "one", Work())
    with pytest.raises(BackupRefused, match="own folder"):
        await maintenance.backup(written.path / "pictures", "one", Work())
    with pytest.raises(BackupRefused, match="can't be made a folder"):
        await maintenance.backup(tmp_path / "one" / "backup.json", "two", Work())


async def test_progress_counts_pictures(maintenance: FolderMaintenance, tmp_path: Path) -> None:
    seen: list[Progress] = []

    class Watched(Work):
        def reach(self, done: int) -> None:
            super().reach(done)
            seen.append(self.progress)

    await maintenance.backup(tmp_path, "one", Watched())
    assert Progress("copying pictures", "pictures", 2, 2) in seen
    pages = [one for one in seen if one.unit == "pages"]
    assert pages[-1].done == pages[-1].total > 0
