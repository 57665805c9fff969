"""From a folder or an address to somebody who answers `AdminService`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio

from twinset_server.catalog.folder import hold
from twinset_server.catalog.maintenance import FolderMaintenance, IdleFolder
from twinset_server.commands.elsewhere import channel_to
from twinset_server.errors import StartupError
from twinset_server.rpc.admin import AdminRpcServer, announced, forget_address


@contextlib.asynccontextmanager
async def admin_of(folder: Path, address: str | None, *, make: bool = False) -> AsyncIterator[grpc.aio.Channel]:
    """Return a channel to whoever works on `folder`: the server at `address`, the one that holds it, or this process.

    Args:
        folder: the catalogue's.
        address: host:port of a server's AdminService; None finds it out.
        make: whether a folder without a catalogue will do.
    Raises:
        StartupError: there is no catalogue, a server holds it that doesn't say where its AdminService is, or the
            authority to trust can't be read.
    """
    async with contextlib.AsyncExitStack() as stack:
        if address is not None:
            channel = channel_to(address)
        else:
            channel = grpc.aio.insecure_channel(await _local(stack, folder, make=make))
        yield await stack.enter_async_context(channel)


async def _local(stack: contextlib.AsyncExitStack, folder: Path, *, make: bool) -> str:
    if not make and not (folder / "catalog.sqlite").exists():
        raise StartupError(f"{folder} holds no catalogue: name the folder of one with --data")
    try:
        held = stack.enter_context(hold(folder))
    except StartupError:
        if address := announced(folder):
            return address
        raise
    forget_address(folder)
    # Nobody else has the folder, so nobody but this command may be heard: a socket in a folder of this user alone.
    private = stack.enter_context(tempfile.TemporaryDirectory(prefix="twinset-admin-"))
    server = AdminRpcServer(held.path, FolderMaintenance(IdleFolder(held.path), served=False))
    await server.start_at(address := f"unix:{private}/socket")
    stack.push_async_callback(server.stop)
    return address
