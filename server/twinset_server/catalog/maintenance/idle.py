"""A folder that nobody serves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.store.failures import from_os_error
from twinset_server.config import StoreSettings

_LOOK_EVERY_S = 0.1


class IdleFolder:
    """Implements `Handle` for a command that holds the folder's lock itself."""

    def __init__(self, folder: Path) -> None:
        self._files = Folder(folder)

    @property
    def folder(self) -> Path:
        """The folder of the catalogue."""
        return self._files.path

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Return a context in which nobody else has a file of the folder open: nobody ever has."""
        yield

    async def rebuild(self, space: str, *, alone: bool = False) -> AsyncGenerator[float, None]:
        """Build the index of a space from the stored vectors alone; see `Handle`.

        Raises:
            SpaceNotFound: the catalogue has none of this name.
            DiskFull, StoreUnavailable: the disk is full, or failed.
        """
        shares = [0.0]
        builder = Builder(self._files.database, self._files.index, StoreSettings(path=self._files.path))
        building = asyncio.create_task(asyncio.to_thread(builder.rebuild, space, shares.append, alone=alone))
        try:
            while not building.done():
                await asyncio.wait([building], timeout=_LOOK_EVERY_S)
                yield shares[-1]
            building.result()
        except OSError as error:
            raise from_os_error(error) from error
        finally:
            builder.close()
            await asyncio.gather(building, return_exceptions=True)
        yield 1.0
