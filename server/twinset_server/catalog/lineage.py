"""The catalogue as a change of models sees it: every call opens what it reads, so that the folder may be replaced."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.store import models, records
from twinset_server.catalog.store.connection import WritingConnection
from twinset_server.catalog.store.failures import from_os_error, from_sqlite
from twinset_server.catalog.store.pictures import PictureFiles
from twinset_server.catalog.store.schema import open_reader
from twinset_server.catalog.threads import to_the_end
from twinset_server.domain import Lost, ModelGeneration, PendingItem, Recomputed, Space, StoredPicture, Switched
from twinset_server.errors import PictureNotStored, StoreUnavailable

_SWITCHED_AT_ONCE = 64
"""Pending items read at a time while writes wait."""

_LOOK_EVERY_S = 0.05

Recompute = Callable[[Sequence[PendingItem]], Awaitable[Sequence[Recomputed]]]

P = ParamSpec("P")
T = TypeVar("T")


class StoredModels:
    """What is stored of models in a folder that this process holds. Implements the port `ModelStore` of `lineage`."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    async def generations(self) -> list[ModelGeneration]:
        """Return the generations; see the port."""
        return await self._read(models.listed)

    async def ever(self) -> frozenset[str]:
        """Return the models of all generations, also of those that are gone."""
        return await self._read(models.ever)

    async def begin(self, model: str, spaces: Sequence[Space]) -> ModelGeneration:
        """Return the generation of a model; see the port."""
        return await self._written(models.begin, model, spaces)

    async def to_fill(self, number: int) -> list[str]:
        """Return the spaces that only this generation fills; see the port."""
        return await self._read(models.to_fill, number)

    async def pending(self, number: int, limit: int) -> list[PendingItem]:
        """Return the first items that changed; see the port."""
        return await self._read(models.pending, number, limit)

    async def picture(self, item_id: str, picture_id: str) -> StoredPicture:
        """Return a picture's content; see the port."""

        def read(connection: sqlite3.Connection) -> StoredPicture:
            kept = records.picture(connection, item_id, picture_id)
            # Where it is gone, or damaged, it is as if it had never been kept.
            with (
                contextlib.closing(PictureFiles(self._folder.pictures)) as files,
                contextlib.suppress(OSError, StoreUnavailable),
            ):
                if kept.content is not None:
                    return StoredPicture(kept.picture, files.read(kept.content))
            raise PictureNotStored(f"{item_id}/{picture_id}", "its content isn't kept, or is gone from the disk")

        return await self._read(read)

    async def add(self, number: int, made: Sequence[Recomputed]) -> None:
        """Store vectors of items; see the port."""
        await self._written(models.add, number, made)

    async def lost(self, number: int) -> Lost:
        """Return what no picture gives a vector; see the port."""
        return await self._read(partial(models.lost, unmade=True), number)

    async def switch(self, number: int, recompute: Recompute, *, drop: bool) -> Switched:
        """Let a generation serve; see the port."""
        loop = asyncio.get_running_loop()

        async def recomputed(pending: Sequence[PendingItem]) -> Sequence[Recomputed]:
            return await recompute(pending)

        def change(connection: sqlite3.Connection) -> Switched:
            # In the writer's turn, so that nothing can change any more.
            while models.to_fill(connection, number):
                pending = models.pending(connection, number, _SWITCHED_AT_ONCE)
                if not pending:
                    break
                made = asyncio.run_coroutine_threadsafe(recomputed(pending), loop).result()
                models.add(connection, number, made)
            return models.activate(connection, number, drop=drop)

        return await self._written(change)

    @contextlib.asynccontextmanager
    async def without_feeds(self) -> AsyncIterator[None]:
        """Return a context in which no feed is under way; see the port."""
        lock = self._folder.feeds_lock()
        try:
            while True:
                with lock.exclusive_or_not() as alone:
                    if alone:
                        yield
                        return
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            lock.close()

    async def tidy(self, filling: int | None = None) -> None:
        """Delete what nobody needs, in slices; see the port."""
        for number in await self._read(partial(models.superfluous, filling=filling)):
            while not await self._written(models.forget, number):
                pass

    async def _read(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        def call() -> T:
            with contextlib.closing(open_reader(self._folder.database)) as connection:
                return function(connection, *args, **kwargs)

        return await _in_thread(call)

    async def _written(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what `function` gives of a connection, within a transaction in turn with other writers."""

        def call() -> T:
            connection = WritingConnection(self._folder)
            try:
                with connection.transaction():
                    return function(connection.sqlite, *args, **kwargs)
            finally:
                connection.close()

        return await _in_thread(call)


async def _in_thread(call: Callable[[], T]) -> T:
    """Return what `call` returns, in a thread and to its end.

    Raises:
        DiskFull, StoreUnavailable: the disk or the database failed.
    """
    try:
        return await to_the_end(call)
    except sqlite3.Error as error:
        raise from_sqlite(error) from error
    except OSError as error:
        raise from_os_error(error) from error
