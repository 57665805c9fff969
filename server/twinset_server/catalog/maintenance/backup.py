"""A copy of a catalogue that is consistent, carries its checksums, and needs nothing but itself to be restored.

```
NAME/catalog.sqlite    the database at one moment, without a log
NAME/pictures/         contents that its rows name, and no others
NAME/index/            of each space the newest generation that is no newer than the database
NAME/SHA256SUMS        every file above
NAME/backup.json       what this is; see `manifest`
```

It is made under another name in the same folder and renamed when it is whole and on disk. What a killed backup left is
removed by the next one there.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import hashlib
import importlib.metadata
import itertools
import logging
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from twinset_server.catalog.folder import Folder, sync
from twinset_server.catalog.index.checksums import Unsound
from twinset_server.catalog.maintenance import manifest, pictures
from twinset_server.catalog.maintenance.copying import copy, remove, sha256_of, sync_folders, write
from twinset_server.catalog.maintenance.generations import Place, readable
from twinset_server.catalog.maintenance.snapshot import Snapshot, snapshot
from twinset_server.catalog.store.pictures import path_of
from twinset_server.catalog.store.schema import VERSION
from twinset_server.errors import BackupRefused, DiskFull, StoreUnavailable, TwinsetError
from twinset_server.maintenance import BackupReport, Work

_log = logging.getLogger(__name__)

_COPIES = 4
"""Files copied at a time: the file system's journal commits those that wait together."""

_BATCH = 256

_UNFINISHED = ".twinset-unfinished-"
_LOCK = ".lock"


class _Sums:
    """Writes `SHA256SUMS` line by line; closes the file at the end of its context."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("x", encoding="utf-8")
        self._digest = hashlib.sha256()
        self.files = 0
        self.size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, sha256: str, name: str, size: int) -> None:
        line = f"{sha256}  {name}\n"
        self._file.write(line)
        self._digest.update(line.encode())
        self.files += 1
        self.size_bytes += size

    def finished(self) -> str:
        """Make the list durable, and return its SHA-256."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()


def backup(folder: Folder, into: Path, name: str, work: Work) -> BackupReport:
    """Copy the catalogue in `folder` to `into / name`.

    Raises:
        BackupRefused: something of this name is there, or `into` lies in the catalogue or can't be written.
        DiskFull, StoreUnavailable: a file can't be read or written; nothing of it is left.
        sqlite3.Error: the database can't be read; nothing of it is left.
        OperationCancelled: it was cancelled; nothing is left of it.
    """
    target = into / name
    _prepare(folder, into, target)
    with _unfinished(into, name) as unfinished, _Sums(unfinished / manifest.SUMS) as listed:
        copied = Folder(unfinished)
        # Contents stay from before the snapshot is taken until the last that it names is copied.
        with pictures.kept(folder):
            with snapshot(folder.database, work) as state:
                counts = state.counts()
                # None newer than the database: keys that it knows would be given to other vectors after a restore. Read
                # after the snapshot began, so that the changes since any of these are in it.
                candidates = _candidates(folder, counts.sequence)
                state.copy(copied.database, work)
            # From the copy on: SQLite's log grows for as long as the snapshot is open.
            with snapshot(copied.database, work) as state:
                lost = _copy_pictures(folder, copied, state, counts.pictures, listed, work)
        _copy_index(folder, copied, candidates, listed, work)
        size = copied.database.stat().st_size
        work.stage("reading the copy of the database", "bytes", size)
        with copied.database.open("rb") as file:
            os.fsync(file.fileno())
        listed.add(sha256_of(copied.database, work.advance), copied.database.name, size)
        work.stage("finishing")
        described = manifest.Manifest(
            made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            server_version=importlib.metadata.version("twinset"),
            schema=VERSION,
            counts=counts,
            size_bytes=listed.size_bytes,
            files=listed.files,
            lost_pictures=tuple(lost),
            sums_sha256=listed.finished(),
        )
        write(unfinished / manifest.NAME, described.encode())
        sync_folders(unfinished)
        work.check()
        unfinished.rename(target)
        # After the rename: without its lock another backup would take this for one that was killed.
        (target / _LOCK).unlink()
        sync(target)
        sync(into)
    return BackupReport(target, counts.sequence, counts.items, counts.pictures - len(lost), listed.size_bytes, lost)


def _prepare(folder: Folder, into: Path, target: Path) -> None:
    own = folder.path.resolve()
    if into.resolve() == own or own in into.resolve().parents:
        raise BackupRefused(
            str(into), f"{into} lies in the catalogue's own folder {folder.path}: a backup belongs elsewhere"
        )
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackupRefused(
            str(into), f"{into} can't be made a folder ({error.strerror}): name one that can be written"
        ) from error
    if not os.access(into, os.W_OK | os.X_OK):
        raise BackupRefused(str(into), f"{into} can't be written: give this user write permission on it")
    if target.exists():
        raise BackupRefused(str(target), f"{target} is there already: choose another name, or move it away")
    _sweep(into)


def _sweep(into: Path) -> None:
    """Remove what killed backups left in `into`; the lock of one that goes on is held."""
    for leftover in into.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(FileNotFoundError), _lock(leftover) as alone:
            if alone:
                _log.info("%s, which an unfinished backup left, is removed", leftover)
                remove(leftover)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _unfinished(into: Path, name: str) -> Iterator[Path]:
    """Make the folder that becomes the backup by a rename; remove it where it doesn't."""
    path = into / f"{_UNFINISHED}{name}"
    try:
        path.mkdir()
    except FileExistsError as error:
        raise BackupRefused(str(into / name), f"another backup to {into / name} is under way") from error
    with _lock(path):
        try:
            yield path
        except OSError as error:
            raise _unwritten(into / name, error.errno, error.strerror) from error
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise _unwritten(into / name, errno.ENOSPC, None) from error
            raise
        finally:
            remove(path)


def _unwritten(target: Path, number: int | None, text: str | None) -> TwinsetError:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"the disk of {target.parent} has no room for the backup: free some space there, or name a folder on "
            "another disk; nothing of it is left"
        )
    return StoreUnavailable(f"{target} could not be made ({text}), and nothing of it is left: see the server's log")


def _candidates(folder: Folder, sequence: int) -> list[Place]:
    """Return the generations that hold no change above `sequence`, by space, the newest first."""
    return [place for place, generation in readable(folder.index) if generation.sequence <= sequence]


def _copy_pictures(folder: Folder, copied: Folder, state: Snapshot, total: int, listed: _Sums, work: Work) -> list[str]:
    """Copy what the snapshot names; return the SHA-256 of contents that are missing or damaged."""
    work.stage("copying pictures", "pictures", total)
    copied.pictures.mkdir()

    def copy_one(sha256: str) -> int | None:
        target = path_of(copied.pictures, sha256)
        target.parent.mkdir(exist_ok=True)
        try:
            intact = copy(path_of(folder.pictures, sha256), target) == sha256
        except FileNotFoundError:
            return None
        if not intact:
            target.unlink()
            return None
        return target.stat().st_size

    lost = []
    names = state.pictures()
    with ThreadPoolExecutor(_COPIES, thread_name_prefix="backup") as pool:
        while batch := list(itertools.islice(names, _BATCH)):
            for sha256, size in zip(batch, pool.map(copy_one, batch), strict=True):
                if size is None:
                    _log.error("picture %s is missing or damaged: put its item again", path_of(folder.pictures, sha256))
                    lost.append(sha256)
                else:
                    listed.add(sha256, str(path_of(copied.pictures, sha256).relative_to(copied.path)), size)
            work.advance(len(batch))
    return lost


def _copy_index(folder: Folder, copied: Folder, candidates: list[Place], listed: _Sums, work: Work) -> None:
    """Copy of each space the first candidate that is sound; a restored catalogue builds what it lacks."""
    work.stage("copying the index", "files")
    copied.index.mkdir()
    for key, places in itertools.groupby(candidates, key=lambda place: place.home.name):
        home = copied.index / key
        for place in places:
            home.mkdir()
            try:
                sums = _copy_generation(place, home, work)
            except (Unsound, FileNotFoundError) as error:
                # Damaged ones are worth nothing to whoever restores them; old ones go while they are copied.
                _log.warning("generation %d in %s isn't copied: %s", place.number, place.home, error)
                remove(home)
                continue
            for sha256, file in sums:
                listed.add(sha256, str(file.relative_to(copied.path)), file.stat().st_size)
            break


def _copy_generation(place: Place, home: Path, work: Work) -> list[tuple[str, Path]]:
    """Copy a generation, and return its files with their SHA-256.

    Raises:
        Unsound: the copy isn't what was once written.
        FileNotFoundError: it is gone meanwhile.
    """
    generation = place.read()
    sums = []
    for file in place.files(generation):
        target = home / file.relative_to(place.home)
        target.parent.mkdir(exist_ok=True)
        sums.append((copy(file, target), target))
        work.advance()
    Place(home, place.number).opened(generation.space, work)
    return sums
