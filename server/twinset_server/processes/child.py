"""A process that the supervisor keeps running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinset_server.errors import StartupError
from twinset_server.processes.order import Order

_SHORTEST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_STEADY_S = 1.0
"""One that did its work this long is started again at once; one that ends sooner waits twice as long each time."""
_HURRIED_S = 2.0
_SILENT_STARTS = 3
"""Processes that end without saying why until a start that isn't given up counts as failed."""

_log = logging.getLogger(__name__)

Hear = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """How a child is. `pid` is 0 while there is no process, `restarts` how often it had to be started again."""

    name: str
    pid: int
    ready: bool
    restarts: int


class Child:
    """One process. Whenever it ends it is started anew, until it is stopped; then it can be launched again."""

    def __init__(self, name: str, command: Sequence[str], order: Callable[[], Order], hear: Hear | None = None) -> None:
        """Prepare to run `command`.

        Args:
            name: what it is called in the log.
            command: program and arguments.
            order: gives the order for each start.
            hear: told each message that isn't about its start, and an empty one when the process has ended.
        """
        self.name = name
        self._command = command
        self._order = order
        self._hear = hear
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._ready = False
        self._ready_s: float | None = None
        self._restarts = 0

    @property
    def status(self) -> ChildStatus:
        """How it is now."""
        alive = self._process is not None and self._process.returncode is None
        return ChildStatus(self.name, self._process.pid if alive and self._process else 0, self._ready, self._restarts)

    async def launch(self) -> Process:
        """Start the process and return it: it loads its modules and then waits for its order.

        Raises:
            StartupError: the machine has no room for another process.
        """
        try:
            # A session of its own: Ctrl-C in the supervisor's terminal doesn't reach it.
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, start_new_session=True
            )
        except OSError as error:
            raise StartupError(f"{self.name} can't be started: {error}") from error
        self._process = process
        return process

    async def begin(self, *, give_up: bool) -> None:
        """Give the order to the process launched, or to a new one where that is gone, and return when it does its work.

        Args:
            give_up: where this first start fails, don't try again.
        Raises:
            StartupError: it fails; the message is the process's own where it left one.
        """
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeping = asyncio.create_task(self._keep(first, give_up=give_up), name=self.name)
        await first

    def say(self, message: Mapping[str, Any]) -> None:
        """Send a message to the process; one that isn't there doesn't hear it."""
        if self._process is not None and self._process.stdin is not None and self._process.returncode is None:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def stop(self, grace_s: float) -> None:
        """End the process: by SIGTERM for `grace_s` seconds, then by SIGKILL. Cancelling this hurries it."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
            self._keeping = None
        self._ready = False
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if not await _ended(process, grace_s):
                _log.warning("%s did not end within %.0f s, and is killed", self.name, grace_s)
        except asyncio.CancelledError:
            await _ended(process, _HURRIED_S)
            raise
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            _close(process)

    async def _keep(self, first: asyncio.Future[None], *, give_up: bool) -> None:
        loop = asyncio.get_running_loop()
        pause_s = _SHORTEST_PAUSE_S
        tries = 0
        while True:
            self._ready_s = None
            tries += 1
            failure, reason = await self._life(first)
            # One that was killed before it could say why, by a machine short of memory say, may do better next time.
            if not first.done() and (failure or give_up or tries == _SILENT_STARTS):
                first.set_exception(StartupError(failure or f"{self.name} can't start: {reason}; the log says more"))
                if give_up:
                    return
            if self._ready_s is not None and loop.time() - self._ready_s >= _STEADY_S:
                pause_s = _SHORTEST_PAUSE_S
            _log.warning("%s is started again: %s", self.name, failure or reason)
            self._restarts += 1
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _life(self, first: asyncio.Future[None]) -> tuple[str, str]:
        """See one process through to its end; return why it ended, in its own words and in ours."""
        try:
            process = self._process
            if process is None or process.returncode is not None:
                process = await self.launch()
            return await self._attend(process, first)
        except StartupError as error:
            return str(error), ""
        except Exception as error:  # whatever it is, the child is kept
            _log.exception("%s is given up", self.name)
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            return "", f"attending to it failed ({error!r})"

    async def _attend(self, process: Process, first: asyncio.Future[None]) -> tuple[str, str]:
        """Give the order and listen until the process has ended; return why it did, in its own words and in ours."""
        failure = ""
        self.say(self._order().to_json())
        try:
            async for line in process.stdout:  # type: ignore[union-attr]
                message = json.loads(line)
                if message.get("ready"):
                    self._ready = True
                    self._ready_s = asyncio.get_running_loop().time()
                    if not first.done():
                        first.set_result(None)
                elif "failed" in message:
                    failure = message["failed"]
                elif self._hear is not None:
                    self._hear(message)
            status = await process.wait()
        finally:
            self._ready = False
            if self._hear is not None:
                self._hear({})
        _close(process)
        return failure, _describe(status)


async def _ended(process: Process, within_s: float) -> bool:
    """Send SIGTERM, and return whether the process has ended in time."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await process.wait()
    return process.returncode is not None


def _close(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _describe(status: int) -> str:
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    return f"it exited with {status}"
