"""A folder that nobody serves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

Rebuild = Callable[[Path, str, bool], AsyncGenerator[float, None]]
"""Builds the index of a space of the catalogue in a folder, alone or beside the older ones; see `Handle.rebuild`."""


class IdleFolder:
    """Implements `Handle` for a command that holds the folder's lock itself."""

    def __init__(self, folder: Path, rebuild: Rebuild) -> None:
        self._folder = folder
        self._rebuild = rebuild

    @property
    def folder(self) -> Path:
        """The folder of the catalogue."""
        return self._folder

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Return a context in which nobody else has a file of the folder open: nobody ever has."""
        yield

    def rebuild(self, space: str, *, alone: bool = False) -> AsyncGenerator[float, None]:
        """Build the index of a space from the stored vectors alone; see `Handle`."""
        return self._rebuild(self._folder, space, alone)
