"""The catalogue behind the port: opened once, closed once, used from one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from twinset_server.catalog.external import external_space
from twinset_server.catalog.folder import Folder, hold
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.index.fold import Fold
from twinset_server.catalog.index.loading import load
from twinset_server.catalog.index.search import Query, View, is_brief, scan, walk
from twinset_server.catalog.index.views import CatalogIndex
from twinset_server.catalog.store import records
from twinset_server.catalog.store.entry import Entry, entry, fitted
from twinset_server.catalog.store.pictures import PictureFiles
from twinset_server.catalog.store.readers import Readers
from twinset_server.catalog.store.requests import Delete, Put, Reply, Task
from twinset_server.catalog.store.schema import open_writer
from twinset_server.catalog.store.writer import Writer
from twinset_server.config import ExternalSpace, StoreSettings
from twinset_server.domain import (
    CatalogStatus,
    Float32Array,
    Item,
    Receipt,
    SearchResult,
    Space,
    SpaceStatus,
    StoredPicture,
    WritableItem,
)
from twinset_server.errors import PictureNotStored, SpaceNotFound, StartupError, StoreUnavailable, TwinsetError

_log = logging.getLogger(__name__)

_SCAN_THREADS = 2
_PICTURE_TRIES = 3

P = ParamSpec("P")
T = TypeVar("T")


@contextlib.asynccontextmanager
async def open_catalog(settings: StoreSettings, external: Mapping[str, ExternalSpace]) -> AsyncIterator[SqliteCatalog]:
    """Open the catalogue in `settings.path`, made where it doesn't exist, with the `external` spaces in it.

    At the end what was put is committed, and the log is written back into the database.

    Raises:
        StartupError: another server uses the folder, it can't be written, it isn't a catalogue, or a space of it is
            another than the settings say.
    """
    with hold(settings.path) as folder:
        catalog = await _to_the_end(_opened, folder, settings, external)
        catalog.start()
        try:
            yield catalog
        finally:
            await _to_the_end(catalog.close)


async def _to_the_end(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in a thread, and let it end even when cancelled: the folder is given up right after."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


def _opened(folder: Folder, settings: StoreSettings, external: Mapping[str, ExternalSpace]) -> SqliteCatalog:
    connection = open_writer(folder.database)
    try:
        catalog = SqliteCatalog(connection, folder, settings)
        for name, section in external.items():
            catalog.declare(external_space(name, section))
    except sqlite3.Error as error:
        connection.close()
        raise StartupError(
            f"{folder.database} can't be read ({error}): check its disk, or restore the folder from a backup"
        ) from error
    except OSError as error:
        connection.close()
        raise StartupError(
            f"the pictures in {folder.pictures} can't be prepared ({error}): give this user write permission there"
        ) from error
    except BaseException:
        connection.close()
        raise
    return catalog


class SqliteCatalog:
    """The catalogue of one process; `open_catalog` makes it. Implements the port `Catalog`."""

    def __init__(self, connection: sqlite3.Connection, folder: Folder, settings: StoreSettings) -> None:
        self._connection = connection
        self._folder = folder
        self._pictures = PictureFiles(folder.pictures)
        self._pictures.prepare()
        if folder.was_killed:
            _log.info("%d pictures without an item removed", self._pictures.sweep(records.contents(connection)))
        self._index = CatalogIndex(records.sequence(connection), settings.fold_at)
        load(connection, self._index, folder.database)
        self._builder = Builder(folder.index, settings.fold_at, self._folded)
        self._writer = Writer(
            connection,
            self._pictures,
            self._index,
            keep_pictures=settings.pictures != "none",
            committed=self._fold_due,
        )
        self._readers = Readers(folder.database)
        self._scans = ThreadPoolExecutor(_SCAN_THREADS, thread_name_prefix="catalog-scan")
        self._closed = False

    def declare(self, space: Space) -> None:
        """Add a space before `start`, or accept the same one. See `add_space`."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._writer.tables.add_space(space, str(self._folder.path))
        self._connection.execute("COMMIT")
        self._index.add_space(space)

    def start(self) -> None:
        """Begin to write, and to fold what is due."""
        self._writer.start()
        self._writer.submit(Task(self._fold_due))

    def close(self) -> None:
        """Commit what was put, stop the threads and write the log back into the database."""
        self._closed = True
        # The writer may start folds until its last commit, so the builder's thread must outlive it.
        self._builder.stop()
        self._writer.close()
        self._builder.close()
        self._readers.close()
        self._scans.shutdown()
        self._pictures.close()
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._connection.close()

    async def add_space(self, space: Space) -> None:
        """Add a space durably; the same space again changes nothing but the name of its model.

        Raises:
            StartupError: a space of this name is there, with another dimension, metric or fingerprint.
            StoreUnavailable: the store is closed.
        """
        self._check_open()
        reply = Reply()
        self._writer.submit(Task(lambda: self.declare(space), reply))
        await reply.future

    def spaces(self) -> Mapping[str, Space]:
        """The spaces by name."""
        return {name: view.space for name, view in self._index.views.spaces.items()}

    async def put(self, items: Sequence[WritableItem]) -> list[Receipt | TwinsetError]:
        """Create or replace items; see the port."""
        self._check_open()
        spaces = self.spaces()
        reply = Reply()
        # Nothing is awaited before this: of two puts, the one called later must be queued later.
        self._writer.submit(Put([_checked(item, spaces) for item in items], reply))
        outcomes: list[Receipt | TwinsetError] = await reply.future
        return outcomes

    async def delete(self, item_id: str) -> int:
        """Delete an item; see the port."""
        self._check_open()
        reply = Reply()
        self._writer.submit(Delete(item_id, reply))
        return int(await reply.future)

    async def get(self, item_ids: Sequence[str], *, vectors: bool) -> list[Item | None]:
        """Return the items in the order asked for; see the port."""
        self._check_open()
        return await self._readers.read(records.get, item_ids, vectors)

    async def page(self, *, after: str, limit: int, vectors: bool) -> list[Item]:
        """Return up to `limit` items with ids above `after`; see the port."""
        self._check_open()
        return await self._readers.read(records.page, after, limit, vectors)

    async def picture(self, item_id: str, picture_id: str) -> StoredPicture:
        """Return a picture's content; see the port.

        Raises:
            StoreUnavailable: the content on disk is damaged or gone.
        """
        self._check_open()
        return await self._readers.read(self._read_picture, item_id, picture_id)

    async def vector_of(self, item_id: str, space: str) -> Float32Array:
        """Return the item's vector in `space`; see the port."""
        self._check_open()
        self._view(space)
        return await self._readers.read(records.vector_of, item_id, space)

    async def search(
        self, space: str, query: Float32Array, k: int, *, exclude: frozenset[str] = frozenset()
    ) -> SearchResult:
        """Return the nearest items; see the port.

        Raises:
            SpaceNotFound: the catalogue has no space of this name.
            BadVector: the query doesn't fit the space.
        """
        self._check_open()
        view = self._view(space)
        asked = Query(fitted("query", query, view.space), k, exclude)
        if is_brief(view, asked):
            # About a millisecond: a thread would cost half as much again.
            result = scan(view, asked) if view.segment is None else walk(view, asked)
            if result is not None:
                return result
        return await asyncio.get_running_loop().run_in_executor(self._scans, _search, view, asked)

    async def status(self) -> CatalogStatus:
        """Return counts, spaces and the last durable sequence; see the port."""
        self._check_open()
        counts = await self._readers.read(records.counts)
        views = self._index.views
        return CatalogStatus(
            items=counts.items,
            pictures=counts.pictures,
            spaces=tuple(
                SpaceStatus(view.space, view.live, view.generation, view.delta.length) for view in views.spaces.values()
            ),
            sequence=views.sequence,
        )

    def _view(self, space: str) -> View:
        view = self._index.views.spaces.get(space)
        if view is None:
            raise SpaceNotFound(space)
        return view

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the catalogue is closed: the server stops")

    def _read_picture(self, connection: sqlite3.Connection, item_id: str, picture_id: str) -> StoredPicture:
        for _ in range(_PICTURE_TRIES):
            picture = records.picture(connection, item_id, picture_id)
            if not picture.stored:
                raise PictureNotStored(
                    f"{item_id}/{picture.id}",
                    f"the server keeps no content of picture {picture.id!r} of item {item_id!r}: "
                    "store.pictures was 'none' when it was put",
                )
            # Between the row and the file, a put may have replaced both: then the row names another file now.
            with contextlib.suppress(FileNotFoundError):
                return StoredPicture(picture, self._pictures.read(picture.sha256))
        _log.error("picture %s of item %r is gone from the disk", picture.sha256, item_id)
        raise StoreUnavailable(
            f"the content of picture {picture.id!r} of item {item_id!r} is gone from the disk: put the item again"
        )

    def _fold_due(self) -> None:
        for view in self._index.due():
            self._builder.start(view)

    def _folded(self, space: str, fold: Fold | None) -> None:
        def adopt() -> None:
            self._builder.finished(space)
            if fold is None:
                self._index.postpone(space)
            else:
                self._index.adopt(fold)
            self._fold_due()

        self._writer.submit(Task(adopt))


def _checked(item: WritableItem, spaces: Mapping[str, Space]) -> Entry | TwinsetError:
    try:
        return entry(item, spaces)
    except TwinsetError as error:
        return error


def _search(view: View, query: Query) -> SearchResult:
    return walk(view, query) or scan(view, query)
