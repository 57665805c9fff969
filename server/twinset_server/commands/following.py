"""Starts an operation, shows how far it is, and returns what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc.aio
import typer
from pydantic import ValidationError

from twinset.v1 import admin_pb2, admin_pb2_grpc
from twinset_server.commands.session import admin_of
from twinset_server.config import load
from twinset_server.errors import StartupError

_LOOK_EVERY_S = 0.5
_DEADLINE_S = 30.0

FAILED = 2
INTERRUPTED = 130


class Started(Protocol):
    """An answer of AdminService that carries the operation."""

    @property
    def operation(self) -> admin_pb2.Operation:
        """The operation."""


Answer = TypeVar("Answer")

Start = Callable[[admin_pb2_grpc.AdminServiceStub], Awaitable[Started]]


def run(
    start: Start, data: Path | None, address: str | None, config: Path | None, *, make: bool = False
) -> admin_pb2.Operation:
    """Return the operation that `start` starts, once it has its result, showing its progress on standard error.

    The first Ctrl-C cancels it. Ends the program with a message where it fails: 2, and 130 where it was cancelled.

    Args:
        start: calls an RPC of AdminService.
        data: the catalogue's folder; None takes it from the settings.
        address: host:port of a server's AdminService; None finds it out.
        config: the settings file.
        make: whether a folder without a catalogue will do.
    """
    operation = _done(lambda folder: _followed(start, folder, address, make=make), data, address, config)
    if operation.HasField("error"):
        cancelled = operation.error.code == grpc.StatusCode.CANCELLED.value[0]
        raise _failure(operation.error.message, INTERRUPTED if cancelled else FAILED)
    return operation


def ask(
    question: Callable[[admin_pb2_grpc.AdminServiceStub], Awaitable[Answer]],
    data: Path | None,
    address: str | None,
    config: Path | None,
) -> Answer:
    """Return what an RPC of AdminService answers that starts no operation; see `run`."""

    async def asked(folder: Path) -> Answer:
        async with admin_of(folder, address) as channel:
            return await question(admin_pb2_grpc.AdminServiceStub(channel))  # type: ignore[no-untyped-call]

    return _done(asked, data, address, config)


def _done(
    work: Callable[[Path], Coroutine[Any, Any, Answer]], data: Path | None, address: str | None, config: Path | None
) -> Answer:
    """Return what comes of a work on the folder; end the program with a message where it fails."""
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        folder = load({"store": {"path": data}}, config).store.path
        return asyncio.run(work(folder))
    except ValidationError as error:
        raise _failure(
            "; ".join(f"setting {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        ) from None
    except StartupError as error:
        raise _failure(str(error)) from None
    except grpc.aio.AioRpcError as error:
        raise _failure(_in_words(error, address)) from None


async def _followed(start: Start, folder: Path, address: str | None, *, make: bool) -> admin_pb2.Operation:
    async with admin_of(folder, address, make=make) as channel:
        admin = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
        operation = (await start(admin)).operation
        name = operation.name
        cancels: set[asyncio.Task[None]] = set()

        def cancel() -> None:
            cancels.add(asyncio.create_task(_cancel(admin, name)))

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, cancel)
        shown = _Shown()
        request = admin_pb2.WaitOperationRequest(name=name)
        request.timeout.FromMilliseconds(int(_LOOK_EVERY_S * 1000))
        while not operation.done:
            shown.show(operation.progress)
            operation = (await admin.WaitOperation(request, timeout=_DEADLINE_S)).operation
        shown.end()
        return operation


async def _cancel(admin: admin_pb2_grpc.AdminServiceStub, name: str) -> None:
    # Who is asked may be gone, which the wait for the operation tells.
    with contextlib.suppress(grpc.aio.AioRpcError):
        await admin.CancelOperation(admin_pb2.CancelOperationRequest(name=name), timeout=_DEADLINE_S)


class _Shown:
    """Progress on standard error: one line that changes on a terminal, else a line a stage."""

    def __init__(self) -> None:
        self._stage = ""
        self._terminal = sys.stderr.isatty()

    def show(self, at: admin_pb2.Progress) -> None:
        if self._terminal:
            amount = (
                f": {at.done:,} of {at.total:,} {at.unit}"
                if at.total
                else f": {at.done:,} {at.unit}"
                if at.unit
                else ""
            )
            typer.echo(f"\r\x1b[K{at.stage}{amount}", err=True, nl=False)
        elif at.stage != self._stage:
            typer.echo(at.stage, err=True)
        self._stage = at.stage

    def end(self) -> None:
        if self._terminal:
            typer.echo("\r\x1b[K", err=True, nl=False)


def _in_words(error: grpc.aio.AioRpcError, address: str | None) -> str:
    if address is None:
        return error.details() or error.code().name
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return (
            f"no twinset-server answers operators at {address}: name host:port of its AdminService (its serve option "
            "--admin-port, 50052 by default), or leave --address out and name its folder with --data"
        )
    return f"{error.details()} (asked {address})"


def _failure(message: str, code: int = FAILED) -> typer.Exit:
    typer.echo(f"twinset-server: {message}", err=True)
    return typer.Exit(code)
