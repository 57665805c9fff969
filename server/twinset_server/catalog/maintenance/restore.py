"""Puts a backup in the place of a catalogue, so that a crash at any moment leaves the old one or the new one.

Pictures have their SHA-256 for a name: those of the backup are added to those of the catalogue, where nothing names
them yet. The index is derived: it is taken away first and put in last. So one rename, that of the database, decides.
What was replaced lies beside it (`*.replaced`) until the new catalogue serves.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from twinset_server.catalog.folder import Folder, sync
from twinset_server.catalog.maintenance import manifest
from twinset_server.catalog.maintenance.copying import copy, remove, sha256_of, sync_folders
from twinset_server.catalog.maintenance.manifest import Manifest
from twinset_server.catalog.maintenance.pictures import directories
from twinset_server.catalog.store.connection import WritingConnection
from twinset_server.catalog.store.pictures import path_of
from twinset_server.catalog.store.schema import VERSION, open_writer
from twinset_server.errors import BackupUnsound, StartupError, StoreUnavailable
from twinset_server.maintenance import Work

_log = logging.getLogger(__name__)

INCOMING = "restoring"
"""The folder within the catalogue's in which a backup is copied."""

REPLACED = ".replaced"

_NAMED = 10
"""Damaged files that an error names; the rest are counted."""

_THREADS = 4
_BATCH = 256

T = TypeVar("T")


def verify(backup: Path, work: Work) -> Manifest:
    """Read every file of a backup, and return what it is.

    Raises:
        BackupUnsound: it is no backup of this version, or files are missing or damaged; the message names them.
        OperationCancelled: it was cancelled.
    """
    described = manifest.read(backup, schema=VERSION)
    try:
        actual = sha256_of(backup / manifest.SUMS)
    except OSError as error:
        raise _unsound(backup, [f"{manifest.SUMS} ({error.strerror})"]) from error
    if actual != described.sums_sha256:
        raise _unsound(backup, [f"{manifest.SUMS} (another checksum)"])
    work.stage("verifying the backup", "files", described.files)

    def fault(line: tuple[str, str]) -> str | None:
        sha256, name = line
        try:
            return None if sha256_of(backup / name) == sha256 else f"{name} (another checksum)"
        except OSError as error:
            return f"{name} ({error.strerror})"

    faults = []
    for found in _over_threads(fault, manifest.sums(backup)):
        if found is not None:
            faults.append(found)
        work.advance()
    if faults:
        raise _unsound(backup, faults)
    return described


def stage(backup: Path, folder: Folder, described: Manifest, work: Work) -> None:
    """Copy a verified backup into the catalogue's folder, where it changes nothing yet.

    Raises:
        BackupUnsound: a file has changed since it was verified.
        OSError: it can't be read or written.
        OperationCancelled: it was cancelled.
    """
    clear(folder)
    work.stage("copying the backup", "files", described.files)
    incoming = Folder(folder.path / INCOMING)
    incoming.pictures.mkdir(parents=True)
    incoming.index.mkdir()
    folder.pictures.mkdir(exist_ok=True)

    def copy_one(line: tuple[str, str]) -> str | None:
        sha256, name = line
        target = incoming.path / name
        if name.startswith("pictures/"):
            there = path_of(folder.pictures, sha256)
            if there.exists() and sha256_of(there) == sha256:
                return None
        target.parent.mkdir(parents=True, exist_ok=True)
        return None if copy(backup / name, target) == sha256 else name

    for changed in _over_threads(copy_one, manifest.sums(backup)):
        if changed is not None:
            raise _unsound(backup, [f"{changed} (changed while it was restored)"])
        work.advance()
    sync_folders(incoming.path)
    _add_pictures(incoming, folder)


def switch(folder: Folder, described: Manifest) -> int:
    """Make the staged backup the catalogue; return the last change of the one before, 0 where it can't be read.

    Nobody else may have the database open. The one before can be had back by `undo` until `clear`.

    Raises:
        StoreUnavailable: somebody has, or the new one can't be opened; the catalogue is the one before.
        OSError: as before, and the catalogue is either of them.
    """
    incoming = Folder(folder.path / INCOMING)
    before = _detach(folder)
    _set_aside(folder.index)
    sync(folder.path)
    incoming.database.rename(folder.database)
    sync(folder.path)
    # From here on the catalogue is the new one; an index that isn't there is built.
    incoming.index.rename(folder.index)
    sync(folder.path)
    try:
        _prove(folder, described)
    except (sqlite3.Error, StartupError) as error:
        undo(folder)
        raise StoreUnavailable(f"the restored catalogue can't be opened, the old one is back: {error}") from error
    return before


def undo(folder: Folder) -> None:
    """Put back what `switch` replaced.

    Raises:
        OSError: files can't be renamed.
    """
    with contextlib.suppress(sqlite3.Error):
        _close_log(folder.database)
    for suffix in ("-wal", "-shm"):
        remove(_beside(folder.database, suffix))
    remove(folder.index)
    replaced = _beside(folder.database, REPLACED)
    if replaced.exists():
        replaced.rename(folder.database)
    else:
        remove(folder.database)
    for path in (folder.index, _beside(folder.database, "-wal")):
        if _beside(path, REPLACED).exists():
            _beside(path, REPLACED).rename(path)
    sync(folder.path)


def clear(folder: Folder) -> None:
    """Remove what a restore leaves beside the catalogue, a killed one too.

    Raises:
        OSError: it can't be removed.
    """
    for path in leftovers(folder):
        remove(path)


def leftovers(folder: Folder) -> list[Path]:
    """Return what a restore left beside the catalogue."""
    replaced = (folder.database, _beside(folder.database, "-wal"), folder.index)
    paths = (folder.path / INCOMING, *(_beside(path, REPLACED) for path in replaced))
    return [path for path in paths if path.exists()]


def _over_threads(function: Callable[[tuple[str, str]], T], lines: Iterator[tuple[str, str]]) -> Iterator[T]:
    """Yield what `function` returns for each line, in their order."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="restore") as pool:
        while batch := list(itertools.islice(lines, _BATCH)):
            yield from pool.map(function, batch)


def _add_pictures(incoming: Folder, folder: Folder) -> None:
    with contextlib.ExitStack() as stack:
        old = _readable(folder, stack)
        for directory in directories(incoming.pictures):
            target = folder.pictures / directory.name
            target.mkdir(exist_ok=True)
            files = list(directory.iterdir())
            if old is not None:
                _drop(old, [directory.name + file.name for file in files])
            for file in files:
                # Over a file of this name that is damaged.
                file.replace(target / file.name)
            sync(target)
    sync(folder.pictures)


def _drop(old: WritingConnection, contents: Sequence[str]) -> None:
    """Have the collector look at contents, which nothing shows where the old database stays."""
    try:
        with old.transaction():
            rows = ((content,) for content in contents)
            old.sqlite.executemany("INSERT OR IGNORE INTO dropped (content) VALUES (?)", rows)
    except sqlite3.Error as error:
        # They only take room until a server starts, which sweeps; the database may be replaced for being damaged.
        _log.warning("pictures of the backup can't be noted in the database: %s", error)


def _readable(folder: Folder, stack: contextlib.ExitStack) -> WritingConnection | None:
    """Return a connection to the catalogue to be replaced, None where there is none that can be read."""
    if not folder.database.exists():
        return None
    try:
        connection = WritingConnection(folder)
    except (sqlite3.Error, StartupError) as error:
        # As above.
        _log.warning("%s can't be read: %s", folder.database, error)
        return None
    stack.callback(connection.close)
    return connection


def _detach(folder: Folder) -> int:
    """Give the database a second name, without a log beside it; return its last change, 0 where it can't be read."""
    if not folder.database.exists():
        return 0
    sequence = 0
    try:
        sequence = _close_log(folder.database)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise StoreUnavailable(
                f"{folder.database} is in use, so it can't be replaced: end what has it open, then restore again"
            ) from error
        # Being damaged may be why it is replaced. Its log would be taken for one of the new database.
        _log.warning("%s can't be read (%s) and is replaced as it is", folder.database, error)
        remove(_beside(folder.database, "-shm"))
        log = _beside(folder.database, "-wal")
        if log.exists():
            log.rename(_beside(log, REPLACED))
    replaced = _beside(folder.database, REPLACED)
    replaced.hardlink_to(folder.database)
    return sequence


def _close_log(database: Path) -> int:
    """Write the log back into the database and remove it; return the last change."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        [(sequence,)] = connection.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchall()
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        return int(sequence)


def _set_aside(path: Path) -> None:
    if path.exists():
        path.rename(_beside(path, REPLACED))


def _prove(folder: Folder, described: Manifest) -> None:
    with contextlib.closing(open_writer(folder.database)) as connection:
        [(sequence,)] = connection.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchall()
    if sequence != described.counts.sequence:
        raise StartupError(f"its last change is {sequence}, the backup's was {described.counts.sequence}")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _unsound(backup: Path, faults: list[str]) -> BackupUnsound:
    rest = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return BackupUnsound(
        str(backup), f"the backup {backup} is damaged in {', '.join(faults[:_NAMED])}{rest}: use another backup"
    )
