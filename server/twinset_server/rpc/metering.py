"""Calls counted as they end: how many, how long, with which status."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Protocol

import grpc
import grpc.aio

from twinset_server.rpc.status import CODE_BY_NUMBER

_Context = grpc.aio.ServicerContext[Any, Any]


class Meter(Protocol):
    """Counts the calls of one method."""

    def begin(self) -> None:
        """Count a call that begins."""

    def end(self, code: str, seconds: float | None) -> None:
        """Count a call that has ended, with a code such as `NOT_FOUND`; `seconds` is None for a stream."""


MeterOf = Callable[[str], Meter]
"""Gives the meter of a method, such as `/twinset.v1.CatalogService/GetItem`."""


def unary(call: Callable[..., Any], meter: Meter) -> Callable[..., Any]:
    """Return a handler of one answer that counts its calls."""

    async def metered(request: Any, context: _Context) -> Any:
        meter.begin()
        began_s = time.perf_counter()
        code = _UNTOLD
        try:
            answer = await call(request, context)
            code = _OK
            return answer
        except asyncio.CancelledError:
            code = _CANCELLED
            raise
        finally:
            meter.end(code or _code(context), time.perf_counter() - began_s)

    return metered


def stream(call: Callable[..., Any], meter: Meter) -> Callable[..., Any]:
    """Return a handler of many answers that counts its calls."""

    async def metered(request: Any, context: _Context) -> AsyncIterator[Any]:
        meter.begin()
        code = _UNTOLD
        try:
            async with aclosing(call(request, context)) as answers:
                async for answer in answers:
                    yield answer
            code = _OK
        except (asyncio.CancelledError, GeneratorExit):
            code = _CANCELLED
            raise
        finally:
            meter.end(code or _code(context), None)

    return metered


_OK = grpc.StatusCode.OK.name
_CANCELLED = grpc.StatusCode.CANCELLED.name
_UNTOLD = ""
"""The call was ended with a status, which its context knows."""


def _code(context: _Context) -> str:
    number = context.code()
    return CODE_BY_NUMBER[number].name if isinstance(number, int) else number.name
