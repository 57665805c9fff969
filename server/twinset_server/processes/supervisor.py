"""Workers and builder as one: started together, each started again when it dies, paused and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinset_server.errors import DiskFull, EmbedderUnavailable, StartupError, StoreUnavailable
from twinset_server.processes.child import Child, ChildStatus
from twinset_server.processes.order import Order

GRACE_S = 5.0
"""What a child gets beyond the time for its calls, to commit and close."""

_REPEAT_S = 0.1
"""How often a rebuild tells its share though that hasn't grown."""

_REACH_S = 60.0

OrderOf = Callable[[int], Order]
"""Gives the order of a worker by its number; the builder's is that of worker 0."""

Check = Callable[[], Awaitable[None]]
"""Raises `StartupError` where the folder isn't one that the children may serve."""


@dataclass(frozen=True, slots=True)
class Programs:
    """What children run."""

    worker: Sequence[str] = (sys.executable, "-m", "twinset_server", "worker")
    builder: Sequence[str] = (sys.executable, "-m", "twinset_server", "builder")


class Supervisor:
    """The children of one server. `port` is where its workers listen."""

    def __init__(
        self, port: int, workers: int, order: OrderOf, *, drain_s: float, programs: Programs, check: Check | None = None
    ) -> None:
        """Prepare `workers` workers and a builder.

        `drain_s` is how long calls in flight get when workers are stopped. `check` looks at the folder after a pause,
        in which it may have been replaced.
        """
        self.port = port
        self._grace_s = drain_s + GRACE_S
        self._workers = [
            Child(
                f"worker {number}",
                programs.worker,
                lambda number=number: order(number),  # type: ignore[misc]
                lambda message, number=number: self._hear_worker(number, message),  # type: ignore[misc]
            )
            for number in range(workers)
        ]
        self._reached: list[Sequence[str]] = [()] * workers
        self._told = asyncio.Event()
        self._builder = Child("the builder", programs.builder, lambda: order(0), self._hear)
        self._operations: dict[int, asyncio.Queue[Mapping[str, Any]]] = {}
        self._check = check
        self._numbers = itertools.count(1)
        self._pausing = asyncio.Lock()

    @property
    def status(self) -> tuple[ChildStatus, ...]:
        """How each child is now, workers first."""
        return tuple(child.status for child in self._children)

    @property
    def answers(self) -> bool:
        """Whether there is a worker that takes calls."""
        return any(worker.status.ready for worker in self._workers)

    async def launch(self) -> None:
        """Start the processes, which get ready for their orders.

        Raises:
            StartupError: the machine has no room for them.
        """
        # Each in its turn: after a failure none may come about that `stop` doesn't know of.
        for child in self._children:
            await child.launch()

    async def begin(self, *, give_up: bool = True) -> None:
        """Give the orders, and return when all children do their work.

        Args:
            give_up: where a child's first start fails, don't try again.
        Raises:
            StartupError: a child can't start; the message is its own.
        """
        await asyncio.gather(*(child.begin(give_up=give_up) for child in self._children))

    async def stop(self) -> None:
        """Let calls in flight end, then end the builder. Cancelling this hurries it."""
        try:
            await asyncio.gather(*(worker.stop(self._grace_s) for worker in self._workers))
        finally:
            # After the workers: until the last of them has ended there is something to fold.
            await self._builder.stop(GRACE_S)

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Keep all children stopped while the context is open: nobody else uses the catalogue's folder then.

        Raises:
            StartupError: at the end, a child couldn't start again at once; it is tried again and again. Or the folder
                isn't one to serve, and nobody runs: put the former one back in another pause.
        """
        async with self._pausing:
            try:
                await self.stop()
                yield
            finally:
                if self._check is not None:
                    await self._check()
                with contextlib.suppress(StartupError):  # `begin` tries again, and tells
                    await self.launch()
                await self.begin(give_up=False)

    async def rebuild(self, space: str, *, alone: bool = False) -> AsyncGenerator[float, None]:
        """Have the index of `space` built from the store alone; give the share done, 0 to 1, as it grows.

        The last share comes again every `_REPEAT_S`, so that whoever waits can give up between two.

        With `alone` no older index is kept. Closing the generator early ends the builder's work on it.

        Raises:
            DiskFull: the index has no room on the disk.
            StoreUnavailable: the builder doesn't run, it couldn't build the index, or it ended meanwhile.
        """
        if not self._builder.status.ready:
            raise StoreUnavailable("the builder of the index doesn't run: try again in a moment")
        number = next(self._numbers)
        messages = self._operations[number] = asyncio.Queue()
        try:
            self._builder.say({"do": "rebuild", "space": space, "operation": number, "alone": alone})
            done = 0.0
            while done < 1:
                try:
                    async with asyncio.timeout(_REPEAT_S):
                        message = await messages.get()
                except TimeoutError:
                    yield done
                    continue
                if "error" in message:
                    raise (DiskFull if message.get("full") else StoreUnavailable)(
                        f"the index of space {space!r} was not rebuilt: {message['error']}"
                    )
                done = float(message["done"])
                yield done
        except (GeneratorExit, asyncio.CancelledError):
            self._builder.say({"do": "cancel", "operation": number})
            raise
        finally:
            del self._operations[number]

    async def reached(self, model: str) -> None:
        """Return once all workers embed with a model that the store names.

        Raises:
            EmbedderUnavailable: one of them doesn't for a long while.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REACH_S):
                while self._without(model):
                    self._told.clear()
                    await self._told.wait()
        if lacking := self._without(model):
            raise EmbedderUnavailable(
                f"{', '.join(lacking)} can't embed with {model} after {_REACH_S:g} s: see the log, then try again"
            )

    def _without(self, model: str) -> list[str]:
        return [worker.name for worker, models in zip(self._workers, self._reached, strict=True) if model not in models]

    def _hear_worker(self, number: int, message: Mapping[str, Any]) -> None:
        """Take note of the models that a worker embeds with; an empty message tells of its end."""
        self._reached[number] = message.get("models", ())
        self._told.set()

    @property
    def _children(self) -> list[Child]:
        return [*self._workers, self._builder]

    def _hear(self, message: Mapping[str, Any]) -> None:
        """Take a message of the builder to whom it concerns; an empty one, of its end, concerns all."""
        if not message:
            for messages in self._operations.values():
                messages.put_nowait({"error": "the builder ended"})
        elif message["operation"] in self._operations:
            self._operations[message["operation"]].put_nowait(message)
