"""The operators' side put together: what serves them on a folder, whoever holds it."""

from __future__ import annotations

from twinset_server.catalog.maintenance import FolderMaintenance
from twinset_server.config import EVERYBODY, PLAINTEXT, AccessSettings, AdminSettings, TlsSettings
from twinset_server.maintenance import Handle, Models
from twinset_server.rpc.admin import AdminRpcServer


class AdminServer:
    """Serves `AdminService` for the folder that `handle` holds, on a port of its own."""

    def __init__(
        self,
        settings: AdminSettings,
        handle: Handle,
        models: Models | None = None,
        *,
        tls: TlsSettings = PLAINTEXT,
        access: AccessSettings = EVERYBODY,
    ) -> None:
        self._settings = settings
        self._tls = tls
        self._access = access
        self._server = AdminRpcServer(handle.folder, FolderMaintenance(handle), models)

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            StartupError: the port is taken, the address is none of this machine's, the folder can't be written, or a
                file of TLS or of tokens can't be used.
        """
        return await self._server.start(self._settings, self._tls, self._access)

    async def stop(self) -> None:
        """Cancel what runs, wait until it has ended, and close. Comes before the processes are stopped."""
        await self._server.stop()
