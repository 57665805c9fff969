"""Bidirectional streams: many messages under way, answers in order, and no more held than a stream may hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from twinset_server.errors import ServerStopping

Request = TypeVar("Request")
Response = TypeVar("Response")

MAX_MESSAGES = 64
BYTES_PER_WEIGHT = 256 << 10


def weight(count: int, size_bytes: int) -> int:
    """Return what `count` elements of so many bytes together weigh: one each, and more where they are large."""
    return max(count, size_bytes // BYTES_PER_WEIGHT)


async def in_order(
    requests: AsyncIterator[Request],
    work: Callable[[Request], Awaitable[Response]],
    *,
    weigh: Callable[[Request], int],
    capacity: int,
    stopping: asyncio.Event | None = None,
) -> AsyncIterator[Response]:
    """Yield `work(request)` for each request, in order, with several under way.

    `work` is started in the order of the requests. Reading stops while the requests under way weigh `capacity` or
    more, or are `MAX_MESSAGES`, so that gRPC's flow control reaches the caller; one request is always taken, whatever
    it weighs. Whatever ends the generator cancels all that is under way.

    Raises:
        ServerStopping: `stopping` was set; what had been read by then is answered first.
    """
    line: asyncio.Queue[tuple[asyncio.Future[Response], int] | None] = asyncio.Queue()
    room = _Room(capacity)

    async def read() -> None:
        try:
            async for request in requests:
                weight = weigh(request)
                await room.enter(weight)
                line.put_nowait((asyncio.ensure_future(work(request)), weight))
        finally:
            line.put_nowait(None)

    reader = asyncio.create_task(read())
    watcher = asyncio.create_task(_cancel_at(stopping, reader)) if stopping else None
    try:
        while (entry := await line.get()) is not None:
            future, weight = entry
            try:
                response = await future
            finally:
                room.leave(weight)
            yield response
        if stopping and stopping.is_set() and reader.cancelled():
            raise ServerStopping("the server is stopping: send the rest again when it is back, or to another")
        await reader  # what broke the requests breaks the answers
    finally:
        if watcher:
            watcher.cancel()
        reader.cancel()
        while not line.empty():
            if (entry := line.get_nowait()) is not None:
                entry[0].cancel()


def check_running(stopping: asyncio.Event) -> None:
    """Raise `ServerStopping` once the server stops: a long answer ends between two messages, to be gone on with."""
    if stopping.is_set():
        raise ServerStopping("the server is stopping: go on behind what came when it is back, or with another")


async def _cancel_at(stopping: asyncio.Event, reader: asyncio.Task[None]) -> None:
    await stopping.wait()
    reader.cancel()


async def closing(responses: AsyncIterator[Response]) -> AsyncIterator[Response]:
    """Yield from an async generator that is closed as soon as its reader is gone."""
    async with aclosing(responses):  # type: ignore[type-var]
        async for response in responses:
            yield response


class _Room:
    """How much a stream holds: a weight and a number of messages."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._weight = 0
        self._messages = 0
        self._freed = asyncio.Event()

    async def enter(self, weight: int) -> None:
        while self._messages and (self._weight + weight > self._capacity or self._messages >= MAX_MESSAGES):
            self._freed.clear()
            await self._freed.wait()
        self._weight += weight
        self._messages += 1

    def leave(self, weight: int) -> None:
        self._weight -= weight
        self._messages -= 1
        self._freed.set()
