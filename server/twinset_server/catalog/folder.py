"""The folder of a catalogue, held by one supervisor, or one process alone, at a time.

```
catalog.sqlite    the truth, with its write-ahead log beside it
*.lock, lock      see `locks`
pictures/         contents of pictures
feeds/            where feeds grow, in files without a name
index/            what is derived
```
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twinset_server.catalog.filesystem import is_network, kind_of
from twinset_server.catalog.locks import FileLock, WriteCount, WriteLock
from twinset_server.errors import StartupError

_MOUNTS = Path("/proc/self/mountinfo")

_MEMBERS_LEAVE_S = 10.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Folder:
    """Paths within the folder."""

    path: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "catalog.sqlite"

    @property
    def pictures(self) -> Path:
        """The folder of pictures' contents."""
        return self.path / "pictures"

    @property
    def feeds(self) -> Path:
        """The folder where feeds grow."""
        return self.path / "feeds"

    @property
    def index(self) -> Path:
        """The folder of the index."""
        return self.path / "index"

    def write_lock(self) -> WriteLock:
        """Return a lock of one's own around transactions that write."""
        return WriteLock(self.path / "write.lock", self.path / "turn.lock")

    def write_count(self) -> WriteCount:
        """Return the count of those transactions, to be closed."""
        return WriteCount(self.path / "write.lock")

    def pictures_lock(self) -> FileLock:
        """Return a lock of one's own around changes of picture files."""
        return FileLock(self.path / "pictures.lock")

    def imports_lock(self) -> FileLock:
        """Return a lock of one's own around an import of factors."""
        return FileLock(self.path / "imports.lock")

    def feeds_lock(self) -> FileLock:
        """Return a lock of one's own around the life of a feed."""
        return FileLock(self.path / "feeds.lock")


@contextlib.contextmanager
def hold(path: Path) -> Iterator[Folder]:
    """Make the folder where needed, and keep every other server out of it meanwhile.

    Members of a server that was killed, which may still write, have `_MEMBERS_LEAVE_S` to end.

    Raises:
        StartupError: another server uses the folder, it can't be written, or it lies on a network file system.
    """
    try:
        _check_local(path)
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            raise StartupError(
                f"another server (process {holder or 'unknown'}) uses the catalogue in {path}: stop it, or "
                "choose another folder with --data"
            ) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            folder = Folder(path)
            _await_members(path)
            for inner in (folder.pictures, folder.feeds, folder.index):
                inner.mkdir(exist_ok=True)
            sync(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        yield folder
    finally:
        # Closing gives the lock up; the file stays, since removing it would let two servers lock two files.
        os.close(descriptor)


@contextlib.contextmanager
def join(folder: Folder) -> Iterator[None]:
    """Be a member of the server that holds the folder: the next server waits until every member has left."""
    members = FileLock(folder.path / "members.lock")
    try:
        with members.shared():
            yield
    finally:
        members.close()


def sync(path: Path) -> None:
    """Make the entries of the directory at `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_local(path: Path) -> None:
    kind = kind_of(path.resolve(), _MOUNTS.read_text() if _MOUNTS.exists() else "")
    if is_network(kind):
        raise StartupError(
            f"{path} lies on a network file system ({kind}), where SQLite's write-ahead log doesn't work: choose a "
            "folder on a local disk with --data"
        )


def _await_members(path: Path) -> None:
    members = FileLock(path / "members.lock")
    try:
        give_up = time.monotonic() + _MEMBERS_LEAVE_S
        while True:
            with members.exclusive_or_not() as alone:
                if alone:
                    return
            if time.monotonic() > give_up:
                raise StartupError(
                    f"processes of a server that is gone still use the catalogue in {path}: end those that "
                    f"`fuser {path}/members.lock` names, and start again"
                )
            time.sleep(_POLL_S)
    finally:
        members.close()


def _unwritable(path: Path, error: OSError) -> StartupError:
    if not path.is_dir() and path.exists():
        return StartupError(f"{path} is a file: a catalogue needs a folder, choose one with --data")
    return StartupError(
        f"the catalogue's folder {path} can't be written ({error.strerror}): give this user write permission on it, "
        "or choose another with --data"
    )
