"""Starts an operation, shows how far it is, and returns what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import grpc.aio
import typer
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.message import Message
from pydantic import ValidationError

from twinset.v1 import admin_pb2, admin_pb2_grpc
from twinset_server.commands.session import admin_of
from twinset_server.config import load
from twinset_server.errors import StartupError

_LOOK_EVERY_S = 0.5
_DEADLINE_S = 30.0

FAILED = 2
INTERRUPTED = 130

T = TypeVar("T", bound=Message)
Start = Callable[[admin_pb2_grpc.AdminServiceStub], Awaitable[operations_pb2.Operation]]


def run(
    start: Start, response: type[T], data: Path | None, address: str | None, config: Path | None, *, make: bool = False
) -> T:
    """Return the response of the operation that `start` starts, showing its progress on standard error.

    The first Ctrl-C cancels it. Ends the program with a message where it fails: 2, and 130 where it was cancelled.

    Args:
        start: calls an RPC of AdminService.
        response: what the operation's response is.
        data: the catalogue's folder; None takes it from the settings.
        address: host:port of a server's AdminService; None finds it out.
        config: the settings file.
        make: whether a folder without a catalogue will do.
    """
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        folder = load({"store": {"path": data}}, config).store.path
        operation = asyncio.run(_followed(start, folder, address, make=make))
    except ValidationError as error:
        raise _failure(
            "; ".join(f"setting {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        ) from None
    except StartupError as error:
        raise _failure(str(error)) from None
    except grpc.aio.AioRpcError as error:
        where = f" (asked {address})" if address else ""
        raise _failure(f"{error.details()}{where}") from None
    if operation.HasField("error"):
        cancelled = operation.error.code == grpc.StatusCode.CANCELLED.value[0]
        raise _failure(operation.error.message, INTERRUPTED if cancelled else FAILED)
    result = response()
    operation.response.Unpack(result)
    return result


async def _followed(start: Start, folder: Path, address: str | None, *, make: bool) -> operations_pb2.Operation:
    async with admin_of(folder, address, make=make) as channel:
        operations = operations_pb2_grpc.OperationsStub(channel)
        operation = await start(admin_pb2_grpc.AdminServiceStub(channel))  # type: ignore[no-untyped-call]
        name = operation.name

        def cancel() -> None:
            asyncio.get_running_loop().create_task(
                _cancel(operations, operations_pb2.CancelOperationRequest(name=name))
            )

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, cancel)
        shown = _Shown()
        request = operations_pb2.WaitOperationRequest(name=name)
        request.timeout.FromMilliseconds(int(_LOOK_EVERY_S * 1000))
        while not operation.done:
            shown.show(operation)
            operation = await operations.WaitOperation(request, timeout=_DEADLINE_S)
        shown.end()
        return operation


async def _cancel(
    operations: operations_pb2_grpc.OperationsStub, request: operations_pb2.CancelOperationRequest
) -> None:
    # Who is asked may be gone, which the wait for the operation tells.
    with contextlib.suppress(grpc.aio.AioRpcError):
        await operations.CancelOperation(request, timeout=_DEADLINE_S)


class _Shown:
    """Progress on standard error: one line that changes on a terminal, else a line a stage."""

    def __init__(self) -> None:
        self._stage = ""
        self._terminal = sys.stderr.isatty()

    def show(self, operation: operations_pb2.Operation) -> None:
        at = admin_pb2.OperationMetadata()
        operation.metadata.Unpack(at)
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


def _failure(message: str, code: int = FAILED) -> typer.Exit:
    typer.echo(f"twinset-server: {message}", err=True)
    return typer.Exit(code)
