"""Frees what nothing needs, so that deleted content is in no file of the folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import numpy as np

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.index import column_files
from twinset_server.catalog.index.checksums import Unsound
from twinset_server.catalog.maintenance import pictures
from twinset_server.catalog.maintenance.generations import keys, places, readable
from twinset_server.catalog.store import spaces
from twinset_server.catalog.store.collector import forget_dropped, unused_among
from twinset_server.catalog.store.pictures import INCOMING, path_of
from twinset_server.catalog.store.pruner import Pruner
from twinset_server.catalog.store.schema import open_reader, open_writer
from twinset_server.errors import StoreUnavailable
from twinset_server.maintenance import Work

_INSTRUCTIONS = 10_000
_CHECKPOINT_S = 30.0
_CHECKPOINT_TRY_MS = 200
_TRY_EVERY_S = 0.05


def stale_spaces(folder: Folder, work: Work) -> Sequence[str]:
    """Return the spaces of which some generation holds a vector that is no longer stored, or may.

    Raises:
        sqlite3.Error: the database can't be read.
        Stopped: the work was cancelled.
    """
    stale = set()
    with contextlib.closing(open_reader(folder.database)) as connection:
        known = {str(key): space for key, space in spaces.keyed(connection).values()}
        for place in places(folder.index):
            if (space := known.get(place.home.name)) is None:
                continue
            try:
                indexed = keys(place.opened(space, work))
            except Unsound:
                # Nobody knows what is in it.
                stale.add(space.name)
                continue
            rows = connection.execute("SELECT key FROM vectors WHERE space = ?", (int(place.home.name),))
            if len(np.setdiff1d(indexed, np.fromiter((key for (key,) in rows), np.int64))):
                stale.add(space.name)
    return sorted(stale)


def drop_rows(folder: Folder, work: Work, *, served: bool) -> int:
    """Delete rows of the logs that nobody reads any more; return how many.

    Of ended vectors those stay that a kept generation doesn't know yet; while the catalogue is served, without a
    generation all do, since workers follow them.

    Raises:
        sqlite3.Error: the database can't be written.
        OperationCancelled: it was cancelled; some may be deleted.
    """
    work.stage("dropping old rows", "rows")
    known: dict[str, int] = {}
    for _, generation in readable(folder.index):
        name = generation.space.name
        known[name] = min(generation.sequence, known.get(name, generation.sequence))
    with contextlib.closing(open_reader(folder.database)) as connection:
        [(last,)] = connection.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchall()
        names = list(spaces.keyed(connection))
    with contextlib.closing(Pruner(folder, work.advance)) as pruner:
        pruned = sum(pruner.prune_log(known.get(name, 0 if served else last), name) for name in names)
        return pruned + pruner.prune_deleted() + pruner.prune_answers()


def drop_columns(folder: Folder) -> None:
    """Remove the snapshots of the columns, which hold what deleted items had; the builder writes another.

    Raises:
        OSError: they can't be removed.
    """
    with column_files.held(folder.index):
        column_files.remove(column_files.columns_folder(folder.index))


def drop_pictures(folder: Folder, work: Work) -> int:
    """Remove contents that no item shows; return how many.

    Raises:
        OSError, sqlite3.Error: a file can't be removed, or the database not be read.
        OperationCancelled: it was cancelled; some may be removed.
    """
    directories = pictures.directories(folder.pictures)
    work.stage("removing unused pictures", "folders", len(directories))
    removed = 0
    with contextlib.closing(open_writer(folder.database)) as connection:
        for directory in directories:
            with pictures.removed(folder, work):
                unused = unused_among(connection, [directory.name + file.name for file in directory.iterdir()])
                for sha256 in unused:
                    path_of(folder.pictures, sha256).unlink()
                # Locked in the order of the writers: pictures, then the database.
                with _writing(folder):
                    forget_dropped(connection, unused)
            removed += len(unused)
            work.advance()
        if (folder.pictures / INCOMING).is_dir():
            with pictures.removed(folder, work):
                for file in (folder.pictures / INCOMING).iterdir():
                    file.unlink()
    return removed


def vacuum(folder: Folder, work: Work) -> None:
    """Write the database anew without what was deleted from it, and empty its log.

    Raises:
        StoreUnavailable: the database stayed in use, and the log may hold deleted content.
        OSError, sqlite3.Error: it can't be written; the database is what it was.
        OperationCancelled: it was cancelled; the database is what it was.
    """
    work.stage("writing the database anew")
    with contextlib.closing(open_writer(folder.database)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        with _writing(folder):
            connection.set_progress_handler(lambda: work.cancel_requested, _INSTRUCTIONS)
            connection.execute("VACUUM")
            connection.set_progress_handler(None, 0)
        work.stage("emptying the log")
        # What was deleted long ago lies in the log until it is cut off, which waits for readers of older states.
        connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_TRY_MS}")
        give_up = time.monotonic() + _CHECKPOINT_S
        while True:
            with _writing(folder):
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return
            if time.monotonic() > give_up:
                raise StoreUnavailable(
                    f"{folder.database} was read without a pause for {_CHECKPOINT_S:.0f} s, so its log could not be "
                    "emptied and may hold deleted content: compact again when less is read"
                )
            work.check()
            time.sleep(_TRY_EVERY_S)


@contextlib.contextmanager
def _writing(folder: Folder) -> Iterator[None]:
    """Keep every other writer of the database out; as any of them, wait for the turn."""
    with contextlib.closing(folder.write_lock()) as lock, lock.held():
        yield
