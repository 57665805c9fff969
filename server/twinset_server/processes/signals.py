"""How long a process runs: until it is told to stop, and shorter when it is told twice."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


async def until_stopped(
    service: AbstractAsyncContextManager[T],
    ready: Callable[[T], None],
    *,
    drain_s: float,
    gone: int | None = None,
) -> None:
    """Keep `service` open until SIGTERM or SIGINT, which may come while it opens already; a second one hurries its end.

    Args:
        service: what runs.
        ready: told what `service` gives, once it is open.
        drain_s: how long its end may take, for the log.
        gone: a pipe whose end cancels the service at once.
    Raises:
        StartupError: a part of it can't start; the message says what to do.
    """
    stopped = asyncio.Event()
    open_now = False

    async def run() -> None:
        nonlocal open_now
        async with service as opened:
            open_now = True
            ready(opened)
            await stopped.wait()
            _log.info("stopping: calls in flight get %.0f s", drain_s)

    task = asyncio.create_task(run())

    def stop() -> None:
        # A signal during the start ends it, and a second one while calls end hurries them.
        if not open_now or stopped.is_set():
            task.cancel()
        stopped.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if gone is not None:

        def end() -> None:
            loop.remove_reader(gone)
            task.cancel()

        loop.add_reader(gone, end)
    try:
        await task
    except asyncio.CancelledError:
        _log.info("stopped in a hurry" if open_now else "stopped while starting")
