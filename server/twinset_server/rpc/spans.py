"""Calls as spans, each within the span of its caller, who tells of it in the metadata `traceparent`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc.aio

from twinset_server import tracing

_TRACEPARENT = "traceparent"

_Context = grpc.aio.ServicerContext[Any, Any]


def unary(call: Callable[..., Any], method: str) -> Callable[..., Any]:
    """Return a handler of one answer that is a span."""

    async def traced(request: Any, context: _Context) -> Any:
        with tracing.server_span(method, _traceparent(context)):
            return await call(request, context)

    return traced


def stream(call: Callable[..., Any], method: str) -> Callable[..., Any]:
    """Return a handler of many answers that is a span."""

    async def traced(request: Any, context: _Context) -> AsyncIterator[Any]:
        with tracing.server_span(method, _traceparent(context)):
            async with aclosing(call(request, context)) as answers:
                async for answer in answers:
                    yield answer

    return traced


def _traceparent(context: _Context) -> str | None:
    found = next((value for key, value in context.invocation_metadata() or () if key == _TRACEPARENT), None)
    return found if isinstance(found, str) else None
