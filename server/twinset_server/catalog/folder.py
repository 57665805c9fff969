"""The folder of a catalogue, held by one process at a time.

```
catalog.sqlite    the truth, with its write-ahead log beside it
lock              held for as long as a server uses the folder
pictures/         contents of pictures
index/            scratch of the index; empty after a clean end
```
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twinset_server.errors import StartupError


@dataclass(frozen=True, slots=True)
class Folder:
    """Paths within the folder. `was_killed` is True where the server before didn't end cleanly."""

    path: Path
    was_killed: bool

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "catalog.sqlite"

    @property
    def pictures(self) -> Path:
        """The folder of pictures' contents."""
        return self.path / "pictures"

    @property
    def index(self) -> Path:
        """The folder of the index's scratch files."""
        return self.path / "index"


@contextlib.contextmanager
def hold(path: Path) -> Iterator[Folder]:
    """Make the folder where needed, and keep every other process out of it meanwhile.

    Raises:
        StartupError: another server uses the folder, or it can't be written.
    """
    try:
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
            # SQLite removes its write-ahead log at a clean end, and only then.
            folder = Folder(path, was_killed=(path / "catalog.sqlite-wal").exists())
            for inner in (folder.pictures, folder.index):
                inner.mkdir(exist_ok=True)
            sync(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        yield folder
    finally:
        # Closing gives the lock up; the file stays, since removing it would let two servers lock two files.
        os.close(descriptor)


def sync(path: Path) -> None:
    """Make the entries of the directory at `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> StartupError:
    if not path.is_dir() and path.exists():
        return StartupError(f"{path} is a file: a catalogue needs a folder, choose one with --data")
    return StartupError(
        f"the catalogue's folder {path} can't be written ({error.strerror}): give this user write permission on it, "
        "or choose another with --data"
    )
