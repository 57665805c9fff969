"""The simulated power cut takes what was never synced, and nothing else; its strikes hit what they are told to."""

from __future__ import annotations

import errno
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from faults.disk.journal import Disk, read
from faults.disk.power import Action, Operation, PoweredFolder, compiled, compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler: install gcc or clang")

SYNC = """
def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("library"))


@pytest.fixture
def folder(library: Path, tmp_path: Path) -> PoweredFolder:
    made = PoweredFolder(library, tmp_path / "root", tmp_path / "state")
    made.begin()
    return made


def run(folder: PoweredFolder, program: str) -> int:
    """Run a program in the root under the watch, and return its status."""
    return subprocess.run(
        [sys.executable, "-c", "import os, errno\n" + SYNC + program],
        cwd=folder.root,
        env=folder.environment,
        check=False,
    ).returncode


def after_the_cut(folder: PoweredFolder, *, early: float = 0.0) -> dict[str, bytes]:
    disk = Disk()
    for record in read(folder.journal):
        disk.apply(record)
    target = Path(tempfile.mkdtemp(dir=folder.state))
    disk.rebuild(target, random.Random(1), early=early)
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def test_what_was_there_before_is_durable(library: Path, tmp_path: Path) -> None:
    (tmp_path / "root" / "inner").mkdir(parents=True)
    (tmp_path / "root" / "inner" / "old").write_bytes(b"old")
    folder = PoweredFolder(library, tmp_path / "root", tmp_path / "state")
    folder.begin()
    assert after_the_cut(folder) == {"inner/old": b"old"}


def test_a_content_that_was_not_synced_is_lost(folder: PoweredFolder) -> None:
    assert run(folder, "open('a', 'w').write('new'); sync('.')") == 0
    assert (folder.root / "a").read_text() == "new"
    assert after_the_cut(folder) == {"a": b""}


def test_a_content_is_as_of_its_last_sync(folder: PoweredFolder) -> None:
    grown = "open('a', 'wb').write(b'x' * 9000); sync('a'); sync('.'); open('a', 'r+b').write(b'y' * 10)"
    assert run(folder, grown) == 0
    assert after_the_cut(folder) == {"a": b"x" * 9000}


def test_a_content_that_was_cut_is_shorter_after_its_sync(folder: PoweredFolder) -> None:
    assert run(folder, "open('a', 'wb').write(b'x' * 9000); sync('a'); os.truncate('a', 5); sync('a'); sync('.')") == 0
    assert after_the_cut(folder) == {"a": b"x" * 5}


def test_a_name_that_was_not_synced_is_lost_unless_the_file_system_wrote_it(folder: PoweredFolder) -> None:
    assert run(folder, "open('a', 'w').write('new'); sync('a')") == 0
    assert after_the_cut(folder) == {}
    assert after_the_cut(folder, early=1) == {"a": b"new"}


def test_a_rename_needs_a_sync_of_the_directory(folder: PoweredFolder) -> None:
    assert run(folder, "open('a', 'w').write('1'); sync('a'); sync('.'); os.replace('a', 'b')") == 0
    assert after_the_cut(folder) == {"a": b"1"}
    assert after_the_cut(folder, early=1) == {"b": b"1"}
    assert run(folder, "sync('.')") == 0
    assert after_the_cut(folder) == {"b": b"1"}


def test_a_removed_file_comes_back_without_a_sync_of_the_directory(folder: PoweredFolder) -> None:
    assert run(folder, "open('a', 'w').write('1'); sync('a'); sync('.'); os.unlink('a')") == 0
    assert after_the_cut(folder) == {"a": b"1"}
    assert after_the_cut(folder, early=1) == {}


def test_a_new_directory_needs_a_sync_of_the_one_above(folder: PoweredFolder) -> None:
    assert run(folder, "os.mkdir('d'); open('d/a', 'w').write('1'); sync('d/a'); sync('d')") == 0
    assert after_the_cut(folder) == {}
    assert run(folder, "os.rename('d', 'e'); sync('.')") == 0
    assert after_the_cut(folder) == {"e/a": b"1"}


def test_a_sync_that_is_cut_off_leaves_any_of_its_blocks(folder: PoweredFolder) -> None:
    old = "open('a', 'wb').write(b'x' * 4096 * 8); sync('a'); sync('.');"
    assert run(folder, old + "open('a', 'r+b').write(b'y' * 4096 * 8); sync('a')") == 0
    *before, last = read(folder.journal)
    disk = Disk()
    for record in before:
        disk.apply(record)
    seen = set()
    for seed in range(20):
        target = folder.state / f"torn-{seed}"
        disk.rebuild(target, random.Random(seed), under_way=last)
        content = (target / "a").read_bytes()
        assert len(content) == 4096 * 8
        seen.add(bytes(content[::4096]))
    assert len(seen) > 5
    assert all(set(pattern) <= set(b"xy") for pattern in seen)


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        (Operation.WRITE, "os.write(f, b'1')"),
        (Operation.WRITE, "os.pwrite(f, b'1', 0)"),
        (Operation.SYNC, "os.fsync(f)"),
        (Operation.SYNC, "os.fdatasync(f)"),
        (Operation.RENAME, "os.replace('a', 'a')"),
        (Operation.TRUNCATE, "os.ftruncate(f, 0)"),
        (Operation.CREATE, "os.close(os.open('new', os.O_CREAT | os.O_RDWR)) or os.unlink('new')"),
        (Operation.UNLINK, "os.unlink('a') or open('a', 'w').close()"),
    ],
)
def test_the_nth_call_fails_once_or_for_good(folder: PoweredFolder, operation: Operation, call: str) -> None:
    (folder.root / "a").touch()
    program = f"""
f = os.open('a', os.O_RDWR)
failures = []
for turn in range(5):
    try:
        {call}
    except OSError as error:
        failures.append((turn, error.errno))
"""
    folder.strike(operation, Action.FAIL_ONCE, after=2, error=errno.ENOSPC)
    assert run(folder, program + f"assert failures == [(2, {errno.ENOSPC})], failures") == 0
    assert folder.struck == 1
    folder.strike(operation, Action.FAIL_FOR_GOOD, after=2)
    assert run(folder, program + f"assert failures == [(n, {errno.EIO}) for n in (2, 3, 4)], failures") == 0
    folder.calm()
    assert run(folder, program + "assert failures == []") == 0


def test_a_process_is_killed_before_or_after_a_call(folder: PoweredFolder) -> None:
    program = "open('a', 'w').write('1'); sync('a'); sync('.'); os.replace('a', 'b'); sync('.')"
    folder.strike(Operation.RENAME, Action.KILL_BEFORE)
    assert run(folder, program) == -signal.SIGKILL
    assert [path.name for path in folder.root.iterdir()] == ["a"]
    folder.strike(Operation.RENAME, Action.KILL_AFTER)
    assert run(folder, program) == -signal.SIGKILL
    assert [path.name for path in folder.root.iterdir()] == ["b"]
    assert after_the_cut(folder) == {"a": b"1"}


def test_calls_outside_of_the_root_are_left_alone(folder: PoweredFolder, tmp_path: Path) -> None:
    folder.strike(Operation(63), Action.FAIL_FOR_GOOD)
    assert run(folder, f"open({str(tmp_path / 'outside')!r}, 'w').write('1'); os.pipe()") == 0
    assert folder.struck == 0


def test_acknowledgements_stand_where_they_were_given(folder: PoweredFolder) -> None:
    folder.acknowledge("first")
    assert run(folder, "open('a', 'w').write('1'); sync('a')") == 0
    folder.acknowledge("second")
    kinds = "".join(record.kind for record in read(folder.journal))
    assert kinds.endswith("ALSA")


SQLITE = """
import sqlite3
connection = sqlite3.connect('db', isolation_level=None)
connection.execute('PRAGMA journal_mode = WAL')
connection.execute('PRAGMA synchronous = {synchronous}')
connection.execute('PRAGMA wal_autocheckpoint = 20')
connection.execute('CREATE TABLE one (number, filling)')
for number in range(60):
    connection.execute('INSERT INTO one VALUES (?, ?)', (number, os.urandom(3000)))
    print(number, flush=True)
"""


@pytest.mark.parametrize(("synchronous", "holds"), [("FULL", True), ("NORMAL", False), ("OFF", False)])
def test_sqlite_keeps_commits_where_it_syncs_each_and_loses_them_where_not(
    folder: PoweredFolder, synchronous: str, holds: bool
) -> None:
    program = "import os\n" + SQLITE.format(synchronous=synchronous)
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder.root, env=folder.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            folder.acknowledge(line.strip())
    assert process.returncode == 0
    records, disk, lost = read(folder.journal), Disk(), 0
    chance = random.Random(3)
    for place, record in enumerate(records):
        disk.apply(record)
        if not disk.acknowledged:
            continue
        target = folder.state / f"rebuilt-{place}"
        under_way = records[place + 1] if place + 1 < len(records) else None
        disk.rebuild(target, chance, early=chance.choice([0, 0.5, 1]), under_way=under_way)
        lost += not set(map(int, disk.acknowledged)) <= stored(target / "db")
    assert (lost == 0) is holds


def stored(path: Path) -> set[int]:
    connection = sqlite3.connect(path)
    try:
        return {number for (number,) in connection.execute("SELECT number FROM one")}
    except sqlite3.DatabaseError:
        return set()
    finally:
        connection.close()
