"""The folder of a server that runs, as the works of maintenance use it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from twinset_server.lineage.switching import ModelSwitches
from twinset_server.processes.supervisor import Supervisor


class ServedFolder:
    """Implements `Handle`: the supervisor pauses its children, and its builder builds."""

    def __init__(self, folder: Path, supervisor: Supervisor, switches: ModelSwitches) -> None:
        self._folder = folder
        self._supervisor = supervisor
        self._switches = switches

    @property
    def folder(self) -> Path:
        """The folder of the catalogue."""
        return self._folder

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Return a context in which nobody has a file of the folder open; see `Handle`."""
        async with self._switches.paused(), self._supervisor.paused():
            yield

    async def rebuild(self, space: str, *, alone: bool = False) -> AsyncGenerator[float, None]:
        """Have the builder build the index of a space from the stored vectors alone; see `Handle`.

        Raises:
            StoreUnavailable: the builder doesn't run, or it couldn't build the index.
        """
        # Closed in every case: that is how the builder learns that it needn't go on.
        async with contextlib.aclosing(self._supervisor.rebuild(space, alone=alone)) as shares:
            async for share in shares:
                yield share
