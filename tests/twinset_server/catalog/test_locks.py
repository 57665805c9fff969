import os
import subprocess
import sys
from pathlib import Path

import pytest

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.locks import WriteCount, WriteLock


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_the_count_is_odd_while_somebody_writes_and_another_afterwards(folder: Folder) -> None:
    lock, count = folder.write_lock(), folder.write_count()
    before = count.value
    with lock.held():
        assert count.value % 2 == 1
        during = count.value
    assert count.value % 2 == 0
    assert len({before, during, count.value}) == 3
    lock.close()
    count.close()


def test_the_count_goes_on_where_the_last_holder_left_it(folder: Folder) -> None:
    values = []
    for _ in range(3):
        lock = folder.write_lock()
        with lock.held():
            pass
        lock.close()
        count = folder.write_count()
        values.append(count.value)
        count.close()
    assert values == [2, 4, 6]


def test_a_transaction_that_fails_ends_the_count_too(folder: Folder) -> None:
    lock, count = folder.write_lock(), folder.write_count()
    with pytest.raises(KeyError), lock.held():
        raise KeyError
    assert count.value == 2
    lock.close()
    count.close()


def test_a_holder_that_is_killed_leaves_the_count_odd_until_the_next_has_written(folder: Folder) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from twinset_server.catalog.folder import Folder\n"
        "with Folder(pathlib.Path(sys.argv[1])).write_lock().held():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, folder.path], check=False)
    lock, count = folder.write_lock(), folder.write_count()
    assert count.value == 1
    with lock.held():
        assert count.value == 1
    assert count.value == 2
    lock.close()
    count.close()


def test_a_count_that_cannot_be_written_at_the_end_stays_odd(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, count = folder.write_lock(), folder.write_count()
    with lock.held():
        monkeypatch.setattr(os, "pwrite", _fails)
    assert count.value == 1
    lock.close()
    count.close()


def test_nothing_is_written_by_whoever_only_looks(folder: Folder) -> None:
    lock = WriteLock(folder.path / "write.lock", folder.path / "turn.lock")
    with lock.held():
        pass
    content = (folder.path / "write.lock").read_bytes()
    WriteCount(folder.path / "write.lock").close()
    assert (folder.path / "write.lock").read_bytes() == content == (2).to_bytes(8, sys.byteorder)
    lock.close()


def _fails(*_: object) -> int:
    raise OSError(28, "No space left on device")
