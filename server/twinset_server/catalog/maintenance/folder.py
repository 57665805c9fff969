"""The works of maintenance on one folder, behind the port: threads for what blocks, errors in the service's words."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.index.checksums import Stopped
from twinset_server.catalog.maintenance import backup, check, compact, pictures, rebuild, restore
from twinset_server.catalog.maintenance.copying import size_bytes
from twinset_server.catalog.maintenance.manifest import Manifest
from twinset_server.catalog.store.failures import from_os_error, from_sqlite
from twinset_server.errors import (
    BackupOfAnother,
    DiskFull,
    OperationCancelled,
    SpaceConflict,
    StartupError,
    StoreUnavailable,
    TwinsetError,
)
from twinset_server.maintenance import (
    BackupReport,
    CheckReport,
    CompactReport,
    Handle,
    RebuildReport,
    RestoreReport,
    Work,
)

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class FolderMaintenance:
    """Implements the port `Maintenance` on the folder that `handle` holds.

    `served` is False where nobody else uses the folder, so that more can be dropped.
    """

    def __init__(self, handle: Handle, *, served: bool = True) -> None:
        self._handle = handle
        self._served = served
        self._folder = Folder(handle.folder)

    async def backup(self, into: Path, name: str, work: Work) -> BackupReport:
        """Copy the catalogue to `into / name`; see the port."""
        return await _threaded(work, backup.backup, self._folder, into, name, work)

    async def restore(self, backup: Path, work: Work) -> RestoreReport:
        """Put a backup in the place of the catalogue; see the port."""
        folder = self._folder
        described = await _threaded(work, restore.verify, backup, work)
        async with contextlib.AsyncExitStack() as stack:
            # From before the first picture is added until the catalogue that names it serves, or is given up: then the
            # old one's are needed.
            await asyncio.to_thread(stack.enter_context, pictures.kept(folder))
            try:
                await _threaded(work, restore.stage, backup, folder, described, work)
                work.stage("switching to the backup")
                before = await self._switched(described)
            finally:
                await _threaded(work, restore.clear, folder)
        counts = described.counts
        there = counts.pictures - len(described.lost_pictures)
        return RestoreReport(counts.sequence, counts.items, there, before)

    async def check(self, work: Work) -> CheckReport:
        """Compare tables, vectors, pictures and index; see the port."""
        return await _threaded(work, check.check, self._folder, work)

    async def compact(self, work: Work) -> CompactReport:
        """Drop what nothing needs, until deleted content is in no file; see the port."""
        folder = self._folder
        before = await _threaded(work, size_bytes, folder.path)
        await _threaded(work, restore.clear, folder)
        # First, since rows that the old generations need can go after them.
        stale = await _threaded(work, compact.stale_spaces, folder, work)
        await rebuild.rebuild(self._handle, stale, work, alone=True)
        await _threaded(work, compact.drop_columns, folder)
        rows = await _threaded(work, compact.drop_rows, folder, work, served=self._served)
        removed = await _threaded(work, compact.drop_pictures, folder, work)
        await _threaded(work, compact.vacuum, folder, work)
        after = await _threaded(work, size_bytes, folder.path)
        return CompactReport(before, after, rows, removed, tuple(stale))

    async def rebuild(self, space: str, work: Work) -> RebuildReport:
        """Build the index of a space anew, of every one where `space` is empty; see the port."""
        spaces = await _threaded(work, rebuild.named_spaces, self._folder.database, space)
        await _threaded(work, compact.drop_columns, self._folder)
        await rebuild.rebuild(self._handle, spaces, work, alone=False)
        return RebuildReport(tuple(spaces))

    async def _switched(self, described: Manifest) -> int:
        try:
            async with self._handle.paused():
                return await asyncio.to_thread(restore.switch, self._folder, described)
        except StartupError as error:
            _log.error("the restored catalogue can't be served, so the old one comes back: %s", error)
            async with self._handle.paused():
                await asyncio.to_thread(restore.undo, self._folder)
            if isinstance(error, SpaceConflict):
                raise BackupOfAnother(
                    "path", f"the backup isn't of what this server was started with, and the old one is back: {error}"
                ) from error
            raise StoreUnavailable(f"the restored catalogue can't be served, the old one is back: {error}") from error
        except OSError as error:
            raise from_os_error(error) from error


async def _threaded(work: Work, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` returns, called in a thread.

    Raises:
        DiskFull, StoreUnavailable: the disk or SQLite failed.
        OperationCancelled: it was cancelled.
    """
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except Stopped as error:
        raise OperationCancelled("the operation was cancelled; it left nothing behind") from error
    except sqlite3.Error as error:
        # A statement that is given up fails like any other.
        work.check()
        raise _told(from_sqlite(error)) from error
    except OSError as error:
        raise _told(from_os_error(error)) from error


def _told(error: TwinsetError) -> TwinsetError:
    # That the disk is full says all there is to say; what else fails doesn't.
    if not isinstance(error, DiskFull):
        _log.exception("a file of the catalogue could not be read or written")
    return error
