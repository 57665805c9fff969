"""An import of factors: rows staged beside what serves, and a switch once all are there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterable, Callable
from functools import partial
from typing import TypeVar

from twinset_server.catalog import steps
from twinset_server.catalog.folder import Folder
from twinset_server.catalog.store import generations
from twinset_server.catalog.store.connection import WritingConnection
from twinset_server.catalog.store.requests import Reply, Task
from twinset_server.catalog.store.writer import Writer
from twinset_server.domain import FactorGeneration, FactorItems, FactorRows, FactorsHeader
from twinset_server.errors import ImportUnderWay, IndexBehind, InvalidRequest, TwinsetError

_LOOK_EVERY_S = 0.02
_LONGEST_PAUSE_S = 60.0

T = TypeVar("T")

_log = logging.getLogger(__name__)


class FactorImports:
    """Imports and switches generations of factors, in turn with the other writes of this process and of others."""

    def __init__(
        self, folder: Folder, connection: WritingConnection, writer: Writer, outside: Callable[[], int], slow_at: int
    ) -> None:
        """Import into `folder`.

        Args:
            folder: the catalogue's.
            connection: the writer's own; used in its thread alone.
            writer: makes what is asked for.
            outside: tells how many vectors stand outside the index.
            slow_at: with more of them an import waits for the builder.
        """
        self._folder = folder
        self._connection = connection
        self._writer = writer
        self._outside = outside
        self._slow_at = slow_at

    async def run(self, header: FactorsHeader, rows: AsyncIterable[FactorRows]) -> FactorGeneration:
        """Stage all rows and let them serve; see `Catalog.import_factors`."""
        with contextlib.closing(self._folder.imports_lock()) as lock, lock.exclusive_or_not() as alone:
            if not alone:
                raise ImportUnderWay("factors", "another import of factors is under way: wait until it has ended")
            await self._forget_superfluous()  # what a killed server left
            number = await self._written(partial(generations.begin, header=header, now_us=time.time_ns() // 1000))
            try:
                steps.reached(steps.IMPORT_BEGUN)
                async for part in rows:
                    await self._written(partial(generations.add, number=number, rows=part))
                    steps.reached(steps.IMPORT_ROWS)
                    if isinstance(part, FactorItems):
                        await self._paced()
                await self._check_whole(number, header)
                steps.reached(steps.IMPORT_WHOLE)
                found = await self._written(partial(generations.activate, number=number))
                steps.reached(steps.IMPORT_SWITCHED)
            finally:
                # Whether it serves now, and another is of no use any more, or has failed.
                await asyncio.shield(self._forget_superfluous())
            return found

    async def activate(self, number: int) -> FactorGeneration:
        """Let a kept generation serve, for 0 the one that did before; see `Catalog.activate_factors`."""
        if number:
            return await self._written(partial(generations.activate, number=number))
        return await self._written(lambda connection: generations.activate(connection, generations.former(connection)))

    async def _check_whole(self, number: int, header: FactorsHeader) -> None:
        items, users = await self._written(partial(generations.counted, number=number))
        for noun, came, told in (("item", items, header.items), ("user", users, header.users)):
            if came != told:
                raise InvalidRequest(
                    f"header.{noun}_count", f"is {told}, but factors of {came} {noun}s came: send the folder again"
                )

    async def _paced(self) -> None:
        """Return when the index has caught up.

        Raises:
            IndexBehind: it didn't for a long while.
        """
        waited_s = 0.0
        while self._outside() > self._slow_at:
            if waited_s > _LONGEST_PAUSE_S:
                raise IndexBehind(
                    "the builder takes in no vectors: see the server's log, then import again",
                    retry_after_s=_LONGEST_PAUSE_S,
                )
            await asyncio.sleep(_LOOK_EVERY_S)
            waited_s += _LOOK_EVERY_S

    async def _forget_superfluous(self) -> None:
        try:
            for number in await self._written(generations.superfluous):
                last: int | None = 0
                while last is not None:
                    last = await self._written(partial(generations.forget_vectors, number=number, after=last))
                    steps.reached(steps.IMPORT_FORGETTING)
                while not await self._written(partial(generations.forget_rows, number=number)):
                    pass
        except TwinsetError as error:
            # The next import does it; until then it takes room and harms nobody.
            _log.warning("old factors could not be deleted: %s", error)

    async def _written(self, change: Callable[..., T]) -> T:
        """Return what `change` gives of the connection, within a transaction of its own."""

        def run() -> T:
            with self._connection.transaction():
                return change(self._connection.sqlite)

        reply = Reply()
        self._writer.submit(Task(run, reply))
        found: T = await reply.future
        return found
