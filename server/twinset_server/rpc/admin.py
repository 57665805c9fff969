"""`AdminService`, and the server of the port for operators."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc.aio
from grpc_reflection.v1alpha import reflection

from twinset.v1 import admin_pb2, admin_pb2_grpc
from twinset_server.access import Access
from twinset_server.config import EVERYBODY, PLAINTEXT, AccessSettings, AdminSettings, TlsSettings
from twinset_server.errors import StartupError
from twinset_server.maintenance import Maintenance, Models
from twinset_server.operations import Operations
from twinset_server.rpc.access import AccessInterceptor
from twinset_server.rpc.deadline import time_left_s
from twinset_server.rpc.interceptor import Intercepted
from twinset_server.rpc.listening import open_port
from twinset_server.rpc.operations import model_message, page_of, to_message

ADDRESS_FILE = "server.json"
"""Beside the catalogue, for as long as it is served: where commands of this machine reach its operators' service."""

_SERVICES = (
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
    reflection.SERVICE_NAME,
)

_MARGIN_S = 0.5
"""A wait ends so long before the caller's deadline, so that the answer arrives."""

_PRIVATE = "twinset-admin-"
"""Beginning of the name of the folder with the socket, which this user alone may enter."""

_Context = grpc.aio.ServicerContext[Any, Any]


class AdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """Starts operations and follows them; see the proto."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def Backup(  # noqa: N802
        self, request: admin_pb2.BackupRequest, context: _Context
    ) -> admin_pb2.BackupResponse:
        """Start a backup."""
        return admin_pb2.BackupResponse(operation=to_message(self._operations.backup(request.folder, request.name)))

    async def Restore(  # noqa: N802
        self, request: admin_pb2.RestoreRequest, context: _Context
    ) -> admin_pb2.RestoreResponse:
        """Start a restore."""
        return admin_pb2.RestoreResponse(operation=to_message(self._operations.restore(request.path)))

    async def Check(  # noqa: N802
        self, request: admin_pb2.CheckRequest, context: _Context
    ) -> admin_pb2.CheckResponse:
        """Start a check."""
        return admin_pb2.CheckResponse(operation=to_message(self._operations.check()))

    async def Compact(  # noqa: N802
        self, request: admin_pb2.CompactRequest, context: _Context
    ) -> admin_pb2.CompactResponse:
        """Start a compaction."""
        return admin_pb2.CompactResponse(operation=to_message(self._operations.compact()))

    async def Rebuild(  # noqa: N802
        self, request: admin_pb2.RebuildRequest, context: _Context
    ) -> admin_pb2.RebuildResponse:
        """Start a rebuild."""
        return admin_pb2.RebuildResponse(operation=to_message(self._operations.rebuild(request.space)))

    async def ListModels(  # noqa: N802
        self, request: admin_pb2.ListModelsRequest, context: _Context
    ) -> admin_pb2.ListModelsResponse:
        """Return the models."""
        return admin_pb2.ListModelsResponse(models=map(model_message, await self._operations.models.list()))

    async def ActivateModel(  # noqa: N802
        self, request: admin_pb2.ActivateModelRequest, context: _Context
    ) -> admin_pb2.ActivateModelResponse:
        """Start to let a model serve whose vectors are there."""
        started = self._operations.activate(request.model, drop=request.drop)
        return admin_pb2.ActivateModelResponse(operation=to_message(started))

    async def RollbackModel(  # noqa: N802
        self, request: admin_pb2.RollbackModelRequest, context: _Context
    ) -> admin_pb2.RollbackModelResponse:
        """Start to let the model serve that did before."""
        return admin_pb2.RollbackModelResponse(operation=to_message(self._operations.rollback(drop=request.drop)))

    async def Reembed(  # noqa: N802
        self, request: admin_pb2.ReembedRequest, context: _Context
    ) -> admin_pb2.ReembedResponse:
        """Start a re-embedding."""
        started = self._operations.reembed(
            request.model, drop=request.drop, max_per_second=request.max_pictures_per_second
        )
        return admin_pb2.ReembedResponse(operation=to_message(started))

    async def GetOperation(  # noqa: N802
        self, request: admin_pb2.GetOperationRequest, context: _Context
    ) -> admin_pb2.GetOperationResponse:
        """Return an operation as it is now."""
        return admin_pb2.GetOperationResponse(operation=to_message(self._operations.get(request.name)))

    async def ListOperations(  # noqa: N802
        self, request: admin_pb2.ListOperationsRequest, context: _Context
    ) -> admin_pb2.ListOperationsResponse:
        """Return a page of operations."""
        page, token = page_of(self._operations.all(), request.page_size, request.page_token)
        return admin_pb2.ListOperationsResponse(operations=map(to_message, page), next_page_token=token)

    async def WaitOperation(  # noqa: N802
        self, request: admin_pb2.WaitOperationRequest, context: _Context
    ) -> admin_pb2.WaitOperationResponse:
        """Return an operation when it has ended, or as it is when the time is over."""
        left_s = max(0.0, time_left_s(context) - _MARGIN_S)
        if request.HasField("timeout"):
            # Not by way of a timedelta, which holds less than a Duration may say.
            left_s = min(left_s, request.timeout.seconds + request.timeout.nanos / 1e9)
        operation = await self._operations.wait(request.name, left_s)
        return admin_pb2.WaitOperationResponse(operation=to_message(operation))

    async def CancelOperation(  # noqa: N802
        self, request: admin_pb2.CancelOperationRequest, context: _Context
    ) -> admin_pb2.CancelOperationResponse:
        """Ask an operation to end."""
        return admin_pb2.CancelOperationResponse(operation=to_message(self._operations.cancel(request.name)))


class AdminRpcServer:
    """Serves operators of the catalogue in `folder`, and says there where it listens."""

    def __init__(self, folder: Path, maintenance: Maintenance, models: Models | None = None) -> None:
        """Work through `maintenance` and `models`; these are None where no server holds the folder."""
        self._folder = folder
        self._operations = Operations(maintenance, models)
        self._running = contextlib.AsyncExitStack()

    async def start(
        self, settings: AdminSettings, tls: TlsSettings = PLAINTEXT, access: AccessSettings = EVERYBODY
    ) -> int:
        """Listen where `settings` say and, for this user's commands on this machine, on a socket; return the port.

        Raises:
            StartupError: the port is taken, the address is none of this machine's, the folder can't be written, or a
                file of TLS or of tokens can't be used.
        """
        guards = [] if access.tokens is None else [AccessInterceptor(Access(access.tokens))]
        port = await self._serve(f"{settings.host}:{settings.port}", tls, guards)
        try:
            private = tempfile.mkdtemp(prefix=_PRIVATE)
            self._running.callback(shutil.rmtree, private, ignore_errors=True)
            socket = f"unix:{private}/socket"
            await self.start_at(socket)
            self._running.callback(forget_address, self._folder)
            address_file = self._folder / ADDRESS_FILE
            temporary = address_file.with_suffix(".tmp")
            temporary.write_text(json.dumps({"process": os.getpid(), "admin": socket}) + "\n")
            temporary.replace(address_file)
        except OSError as error:
            raise StartupError(f"{error.filename} can't be written ({error.strerror}): see its permissions") from error
        return port

    async def start_at(self, address: str) -> None:
        """Listen at a socket that this user alone can reach, such as "unix:/run/twinset"; nobody is told, nor asked.

        Raises:
            StartupError: the address is taken.
        """
        await self._serve(address, PLAINTEXT, [])

    async def stop(self) -> None:
        """Cancel what runs, wait until it has ended, and close."""
        await self._operations.close()
        await self._running.aclose()

    async def _serve(self, address: str, tls: TlsSettings, guards: Sequence[grpc.aio.ServerInterceptor]) -> int:
        server = grpc.aio.server(interceptors=guards, options=(("grpc.so_reuseport", 0),))
        admin_pb2_grpc.add_AdminServiceServicer_to_server(  # type: ignore[no-untyped-call]
            AdminServicer(self._operations), Intercepted(server)
        )
        reflection.enable_server_reflection(_SERVICES, server)
        try:
            port = open_port(server, address, tls)
        except RuntimeError as error:
            raise admin_cannot_listen(address, str(error)) from error
        await server.start()
        self._running.push_async_callback(server.stop, 0)
        return port


def admin_cannot_listen(address: str, reason: str) -> StartupError:
    """Return what to raise where the operators' address can't be had."""
    return StartupError(
        f"can't listen on {address} ({reason}): stop the process that does, or choose another port for operators with "
        "--admin-port or the settings admin.host and admin.port"
    )


def announced(folder: Path) -> str | None:
    """Return where commands reach the server of a folder; None where it says nothing."""
    try:
        return str(json.loads((folder / ADDRESS_FILE).read_bytes())["admin"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_address(folder: Path) -> None:
    """Remove what a server that was killed left of its address, so that nobody calls it in vain.

    Raises:
        StartupError: the folder can't be written.
    """
    private = Path((announced(folder) or "").removeprefix("unix:")).parent
    if private.parent == Path(tempfile.gettempdir()) and private.name.startswith(_PRIVATE):
        shutil.rmtree(private, ignore_errors=True)
    try:
        (folder / ADDRESS_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise StartupError(
            f"{folder / ADDRESS_FILE} can't be removed ({error.strerror}): see its permissions"
        ) from error
