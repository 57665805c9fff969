"""Streams while they last: what they hold of their callers' bytes, and whether anything goes over them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc.aio

from twinset_server.admission import Budget
from twinset_server.errors import StreamSilent
from twinset_server.rpc.status import CODE_BY_NUMBER, to_status

DETAILS_KEY = "grpc-status-details-bin"

_LOOKS = 4
"""How often within the longest silence all streams are looked at."""

_Context = grpc.aio.ServicerContext[Any, Any]


class WatchedStream:
    """One stream. Each answer is taken to be that to the oldest message without one."""

    def __init__(self, budget: Budget | None, context: _Context) -> None:
        """`budget` is None for a stream whose messages have no answer each."""
        self._budget = budget
        self._context = context
        self._task = asyncio.current_task()
        self._held: deque[int] = deque()
        self._reading: asyncio.Timeout | None = None
        self._writing = False
        self._moved_s = asyncio.get_running_loop().time()

    async def reading(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield the messages, each as soon as there is room for it.

        Raises:
            StreamSilent: `end` was called while none came.
        """
        messages = aiter(requests)
        while True:
            try:
                async with asyncio.timeout(None) as self._reading:
                    message = await anext(messages, None)
            except TimeoutError:
                raise _silent() from None
            finally:
                self._reading = None
                self._moved_s = asyncio.get_running_loop().time()
            if message is None:
                return
            if self._budget is not None:
                await self._take(self._budget, message.ByteSize())
            yield message

    def answering(self) -> None:
        """Take note that an answer is on its way to the caller, who may take it or not."""
        self._writing = True
        self._moved_s = asyncio.get_running_loop().time()
        if self._budget is not None and self._held:
            self._budget.give_back(self._held.popleft())

    def answered(self) -> None:
        """Take note that the caller's machine has taken the answer."""
        self._writing = False
        self._moved_s = asyncio.get_running_loop().time()

    def is_silent(self, since_s: float) -> bool:
        """Return whether the caller has neither sent nor taken anything since then, though it is their turn."""
        if self._moved_s > since_s:
            return False
        return self._writing or (self._reading is not None and not self._held)

    async def end(self) -> None:
        """End the stream for its silence; where an answer isn't taken, the status waits behind it for the caller."""
        if self._reading is not None and not self._writing:
            self._reading.reschedule(0)
            return
        status = to_status(_silent())
        details = (DETAILS_KEY, status.SerializeToString())
        saying = asyncio.ensure_future(
            self._context.abort(CODE_BY_NUMBER[status.code], status.message, trailing_metadata=(details,))
        )
        # What this server holds for the stream is let go now, though its caller may never take the status.
        if self._task is not None:
            self._task.cancel()
        with contextlib.suppress(grpc.aio.AbortError, grpc.aio.BaseError):
            await saying

    def close(self) -> None:
        """Give back what the stream holds."""
        while self._budget is not None and self._held:
            self._budget.give_back(self._held.popleft())

    async def _take(self, budget: Budget, size: int) -> None:
        while not budget.take(size, alone=not self._held):
            freed = asyncio.Event()
            budget.when_freed(freed.set)
            await freed.wait()
        self._held.append(size)


class StreamWatch:
    """All streams of a server. `run` ends those over which nothing has gone for `idle_s` seconds; 0 ends none."""

    def __init__(self, budget: Budget, idle_s: float) -> None:
        self._budget = budget
        self._idle_s = idle_s
        self._streams: set[WatchedStream] = set()
        self._ending: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def watching(self, context: _Context, *, answers_each: bool) -> Iterator[WatchedStream]:
        """Watch a stream while the context is open; its messages have an answer each, or they count for nothing."""
        stream = WatchedStream(self._budget if answers_each else None, context)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            stream.close()

    async def run(self) -> None:
        """Look at all streams again and again, until this is cancelled."""
        loop = asyncio.get_running_loop()
        while self._idle_s:
            await asyncio.sleep(self._idle_s / _LOOKS)
            for stream in [one for one in self._streams if one.is_silent(loop.time() - self._idle_s)]:
                task = asyncio.create_task(stream.end())
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)


def _silent() -> StreamSilent:
    return StreamSilent("nothing went over the stream for server.stream_idle_s: open another", 0.0)
