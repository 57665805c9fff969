"""A folder that nobody serves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from twinset_server.catalog.folder import sync
from twinset_server.catalog.maintenance.copying import remove
from twinset_server.catalog.maintenance.layout import Layout
from twinset_server.catalog.store.schema import open_reader
from twinset_server.errors import SpaceNotFound


class IdleFolder:
    """Implements `Handle` for a command that holds the folder's lock itself."""

    def __init__(self, folder: Path) -> None:
        self._layout = Layout(folder)

    @property
    def folder(self) -> Path:
        """The folder of the catalogue."""
        return self._layout.path

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Return a context in which nobody else has a file of the folder open: nobody ever has."""
        yield

    async def rebuild(self, space: str, *, alone: bool = False) -> AsyncGenerator[float, None]:
        """Take the index of a space away, older generations too, so that the next start builds it; see `Handle`.

        Raises:
            SpaceNotFound: the catalogue has none of this name.
        """
        await asyncio.to_thread(self._remove_index, space)
        yield 1.0

    def _remove_index(self, space: str) -> None:
        with contextlib.closing(open_reader(self._layout.database)) as connection:
            found = connection.execute("SELECT key FROM spaces WHERE name = ?", (space,)).fetchone()
        if found is None:
            raise SpaceNotFound(space)
        home = self._layout.index / str(found[0])
        if home.exists():
            # Manifests go first, and for good: one that names files that are gone would only be a damaged one.
            for manifest in home.glob("generation-*.json"):
                manifest.unlink()
            sync(home)
            remove(home)
            sync(self._layout.index)
