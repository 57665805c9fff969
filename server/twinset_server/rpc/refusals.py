"""Calls that find no place are told so together, a hundred times a second.

To end a call wakes a thread of gRPC's, and that one wakes ours. Where each of 1,500 a second was told at once it cost
180 to 250 us of the processor; many in one go cost 115 to 155 each (docs/decisions/0028).
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
from google.rpc import status_pb2

from twinset_server.admission import Bound
from twinset_server.rpc.failures import FailureLog
from twinset_server.rpc.metering import Meter
from twinset_server.rpc.status import CODE_BY_NUMBER, to_status
from twinset_server.rpc.stream_watch import DETAILS_KEY

_TURN_S = 0.01

_Metadata = tuple[tuple[str, str], ...]
_Context = grpc.aio.ServicerContext[Any, Any]


class Turns:
    """Moments at which calls that were refused since the last one are told.

    Attributes:
        past: how many there were.
    """

    def __init__(self) -> None:
        self.past = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def next(self) -> None:
        """Wait for the next one."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_later(_TURN_S, self._come)
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _come(self) -> None:
        waiting, self._waiting = self._waiting, []
        self.past += 1
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


class Refusals:
    """Ends the calls of a method that one bound lets no further."""

    def __init__(
        self, method: str, bound: Bound, named: _Metadata, turns: Turns, failures: FailureLog, meter: Meter | None
    ) -> None:
        """End calls of `method`, such as `/twinset.v1.CatalogService/GetItem`; `named` tells the worker."""
        self._method = method
        self._bound = bound
        self._named = named
        self._turns = turns
        self._failures = failures
        self._meter = meter
        self._turn = -1
        self._status = status_pb2.Status()
        self._metadata: tuple[tuple[str, str | bytes], ...] = ()
        # Of this shape, whatever the method's, nothing of the request is read.
        self.handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(self._refuse)

    async def _refuse(self, _: Any, context: _Context) -> None:
        await self._turns.next()
        if self._turn != self._turns.past:
            # What befell all of a turn is one failure, under one request id.
            self._turn = self._turns.past
            self._status = to_status(self._bound.refusal())
            self._failures.tell(self._method, self._status)
            self._metadata = ((DETAILS_KEY, self._status.SerializeToString()), *self._named)
        else:
            self._failures.leave_out()
        code = CODE_BY_NUMBER[self._status.code]
        if self._meter is not None:
            self._meter.begin()
            self._meter.end(code.name, None)
        context.set_trailing_metadata(self._metadata)
        context.set_code(code)
        context.set_details(self._status.message)
