"""The operators' side put together: what serves them on a folder, whoever holds it."""

from __future__ import annotations

from twinset_server.catalog.maintenance import FolderMaintenance
from twinset_server.config import AdminSettings
from twinset_server.maintenance import Handle
from twinset_server.rpc.admin import AdminRpcServer


class AdminServer:
    """Serves `AdminService` for the folder that `handle` holds, on a port of its own."""

    def __init__(self, settings: AdminSettings, handle: Handle) -> None:
        self._settings = settings
        self._server = AdminRpcServer(handle.folder, FolderMaintenance(handle))

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            StartupError: the port is taken, the address is none of this machine's, or the folder can't be written.
        """
        return await self._server.start(self._settings)

    async def stop(self) -> None:
        """Cancel what runs, wait until it has ended, and close. Comes before the processes are stopped."""
        await self._server.stop()
