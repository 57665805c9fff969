"""A check finds each kind of damage, says what to do, and changes nothing."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable

import pytest

from fakes.folder import WrittenFolder, contents, vector
from twinset_server.catalog.folder import Folder
from twinset_server.catalog.maintenance import FolderMaintenance, pictures
from twinset_server.catalog.maintenance.copying import remove
from twinset_server.errors import OperationCancelled
from twinset_server.maintenance import Severity, Work

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


@pytest.fixture(autouse=True)
def _indexed(written: WrittenFolder) -> None:
    """Two generations: the older one knows a vector that has ended since."""
    written.put("d", b"picture of d")
    written.publish(1, [1, 2, 3, 4])
    written.delete("d")
    written.picture(b"picture of d").unlink()
    written.publish(2, [1, 2, 3, 4], dead=[4])
    written.put("e", b"picture of e")


async def test_a_sound_catalogue_has_no_findings(maintenance: FolderMaintenance, work: Work) -> None:
    report = await maintenance.check(work)
    assert report.findings == []
    assert (report.sequence, report.vectors, report.pictures, report.generations) == (6, 4, 3, 2)


def sql(statement: str) -> Callable[[WrittenFolder], object]:
    return lambda written: written.connection.execute(statement)


def overwrite(written: WrittenFolder, name: str, content: bytes) -> None:
    (written.path / name).write_bytes(content)


UNIT = "x'0000803f000000000000000000000000'"

DAMAGES: dict[str, tuple[Callable[[WrittenFolder], object], Severity, str, str]] = {
    "dimension": (
        sql("UPDATE vectors SET value = x'0000803f' WHERE key = 2"),
        ERROR,
        "item 'b'",
        "4 bytes instead of 16",
    ),
    "not finite": (
        sql("UPDATE vectors SET value = x'0000807f000000000000000000000000' WHERE key = 2"),
        ERROR,
        "item 'b' in space 'visual'",
        "isn't finite",
    ),
    "length": (
        sql("UPDATE vectors SET value = x'00000040000000000000000000000000' WHERE key = 2"),
        ERROR,
        "item 'b'",
        "unit length",
    ),
    "missing picture": (lambda w: w.picture(b"picture of a").unlink(), ERROR, "pictures/", "No such file"),
    "damaged picture": (
        lambda w: w.picture(b"picture of a").write_bytes(b"picture of z"),
        ERROR,
        "pictures/",
        "another SHA-256",
    ),
    "attributes": (sql("UPDATE items SET attributes = '{' WHERE id = 'a'"), ERROR, "item 'a'", "attributes"),
    "sequence": (sql("UPDATE items SET seq = 99 WHERE id = 'a'"), ERROR, "catalog.sqlite: items", "change 99"),
    "key": (
        sql("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'vectors'"),
        ERROR,
        "catalog.sqlite: vectors",
        "key 5",
    ),
    "alive and ended": (sql("INSERT INTO dead VALUES (6, 1, 1)"), ERROR, "vectors 1", "recorded as ended"),
    "foreign key": (
        lambda w: _orphan_row(w),
        ERROR,
        "catalog.sqlite: vectors 77",
        "items that isn't there",
    ),
    "orphan": (lambda w: w.write_picture(b"nobody's"), INFO, "pictures/", "no item"),
    "left by a restore": (lambda w: (w.path / "restoring").mkdir(), INFO, "restoring", "restore"),
    "segment bytes": (
        lambda w: overwrite(w, "index/1/segment-000002/items.utf8", b"x"),
        WARNING,
        "index/1/generation-000002.json",
        "segment-000002/items.utf8 has 1 bytes",
    ),
    "segment bits": (
        lambda w: overwrite(w, "index/1/segment-000002/keys.i64", b"x" * 32),
        WARNING,
        "index/1/generation-000002.json",
        "segment-000002/keys.i64 has another content",
    ),
    "segment gone": (
        lambda w: (w.path / "index/1/segment-000002/keys.i64").unlink(),
        WARNING,
        "index/1/generation-000002.json",
        "No such file",
    ),
    "dead keys": (
        lambda w: overwrite(w, "index/1/dead-000002.i64", b"12345678"),
        WARNING,
        "index/1/generation-000002.json",
        "dead-000002.i64 has another content",
    ),
    "manifest": (
        lambda w: overwrite(w, "index/1/generation-000002.json", b"{}"),
        WARNING,
        "index/1/generation-000002.json",
        "is no manifest",
    ),
    "index lacks a vector": (
        lambda w: w.publish(3, [1, 2, 3]),
        WARNING,
        "index/1/generation-000003.json",
        "lacks stored vectors: 1 of them, keys 5",
    ),
    "index has another vector": (
        lambda w: w.publish(3, [1, 2, 3, 4, 5]),
        WARNING,
        "index/1/generation-000003.json",
        "aren't stored: 1 of them, keys 4",
    ),
    "index of another space": (
        lambda w: (w.path / "index/1").rename(w.path / "index/7"),
        WARNING,
        "index/7/generation-000002.json",
        "a space that isn't there",
    ),
    "manifest of another space": (
        sql("UPDATE spaces SET fingerprint = 'cd'"),
        WARNING,
        "index/1/generation-000002.json",
        "generation-000002.json is of Space",
    ),
    "manifest bits": (
        lambda w: overwrite(
            w,
            "index/1/generation-000002.json",
            (w.path / "index/1/generation-000002.json").read_bytes().replace(b'"sequence": 5', b'"sequence": 4'),
        ),
        WARNING,
        "index/1/generation-000002.json",
        "its checksum differs",
    ),
    "index has another's vector": (
        lambda w: w.publish(3, [1, 2, 3, 5], vectors={2: vector(99)}),
        WARNING,
        "index/1/generation-000003.json",
        "other vectors than are stored: 1 of them, keys 2",
    ),
    "version": (sql("UPDATE meta SET value = 3 WHERE name = 'version'"), ERROR, "catalog.sqlite", "schema version 3"),
}


def _orphan_row(written: WrittenFolder) -> None:
    written.connection.execute("PRAGMA foreign_keys = OFF")
    written.connection.execute(f"INSERT INTO vectors VALUES (77, 99, 1, '0', {UNIT})")


@pytest.mark.parametrize("damage", DAMAGES)
async def test_each_kind_of_damage_is_found_and_left_as_it_is(
    written: WrittenFolder, maintenance: FolderMaintenance, work: Work, damage: str
) -> None:
    harm, severity, subject, description = DAMAGES[damage]
    harm(written)
    before = {path: path.read_bytes() for path in written.path.rglob("*") if path.is_file() and "lock" not in path.name}
    report = await maintenance.check(work)
    first, *others = report.findings
    assert (first.severity, first.subject.startswith(subject)) == (severity, True), first
    assert description in first.description
    # What follows from it is not as bad, and what two generations share is told of both.
    assert [one for one in others if one.severity is severity and "generation-000001" not in one.subject] == []
    assert first.advice
    after = {path: path.read_bytes() for path in before}
    # The map of the log is shared memory, which readers write too.
    assert [path for path in before if before[path] != after[path] and path.suffix != ".sqlite-shm"] == []


async def test_a_damaged_database_is_found(written: WrittenFolder, maintenance: FolderMaintenance, work: Work) -> None:
    for number in range(200):
        written.put(f"more {number}")
    written.connection.close()
    with written.database.open("r+b") as file:
        file.seek(written.database.stat().st_size // 2)
        file.write(b"\xff" * 16384)
    report = await maintenance.check(work)
    assert report.findings[0].severity is ERROR
    assert report.findings[0].subject.startswith("catalog.sqlite")
    assert "backup" in report.findings[0].advice


async def test_pictures_of_an_item_that_is_put_just_now_are_no_finding(
    written: WrittenFolder, maintenance: FolderMaintenance, work: Work
) -> None:
    file = written.write_picture(b"picture of f")
    lock = Folder(written.path).pictures_lock()
    with lock.shared():
        checking = asyncio.create_task(maintenance.check(work))
        while work.progress.stage != "checking the index":
            await asyncio.sleep(0.01)
            assert not checking.done()
        # The row comes after the file, and the lock is given up after both.
        written.put("f", b"picture of f")
    assert (await checking).findings == []
    lock.close()
    assert file.exists()


async def test_pictures_of_a_feed_are_no_finding(
    written: WrittenFolder, maintenance: FolderMaintenance, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_FEED_ENDS_S", 0.05)
    written.write_picture(b"of a feed")
    feed = Folder(written.path).feeds_lock()
    with feed.shared():
        assert (await maintenance.check(work)).findings == []
    feed.close()


async def test_the_worst_comes_first(written: WrittenFolder, maintenance: FolderMaintenance, work: Work) -> None:
    DAMAGES["orphan"][0](written)
    DAMAGES["segment bits"][0](written)
    DAMAGES["missing picture"][0](written)
    report = await maintenance.check(work)
    assert [one.severity for one in report.findings] == [ERROR, WARNING, INFO]
    assert report.findings[0].advice == "put again with this picture: 'a'"


async def test_a_check_can_be_cancelled(written: WrittenFolder, maintenance: FolderMaintenance) -> None:
    before = contents(written.path)
    cancelled = Work()
    cancelled.cancel()
    with pytest.raises(OperationCancelled):
        await maintenance.check(cancelled)
    assert contents(written.path) == before


async def test_a_folder_without_a_catalogue_is_an_error(
    written: WrittenFolder, maintenance: FolderMaintenance, work: Work
) -> None:
    written.connection.close()
    remove(written.database)
    report = await maintenance.check(work)
    assert [(one.severity, one.subject) for one in report.findings] == [(ERROR, "catalog.sqlite")]


async def test_while_files_are_read_the_log_can_shrink(written: WrittenFolder, maintenance: FolderMaintenance) -> None:
    busy: list[int] = []

    class Writing(Work):
        def stage(self, name: str, unit: str = "", total: int = 0) -> None:
            super().stage(name, unit, total)
            if name in {"checking pictures", "looking for unused files", "checking the index"}:
                with contextlib.closing(sqlite3.connect(written.path / "catalog.sqlite")) as connection:
                    with connection:
                        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'sequence'")
                    busy.append(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])

    assert (await maintenance.check(Writing())).findings == []
    assert busy == [0, 0, 0]
