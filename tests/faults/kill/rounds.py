"""Rounds of: let callers write, kill something, let them go on until all is answered, compare what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc.aio

from fakes.triton import FakeTriton
from faults.disk.power import Action, Operation, PoweredFolder
from faults.kill.callers import Caller, connected, feed
from faults.kill.reading import Reading, unfound, unreadable
from faults.kill.service import WORKERS, KillableService
from faults.ledger import Ledger
from faults.planted import plant_in_children
from twinset.v1 import catalog_pb2, catalog_pb2_grpc

CALLERS = 6
SEARCHED = 48
"""Items that are searched for after each round; all of them each tenth round."""

PROCESSES = ("worker", "builder", "supervisor")
CALLS = {f"{one.name}".lower(): one for one in Operation if one is not Operation.TRUNCATE}
"""Calls of the system at which any process of the server may be killed, before or after; a log is cut too seldom."""

READY_WITHIN_S = 60.0
"""When a round gives up; that it takes 5 s at the most is judged from what was measured."""


@dataclass(slots=True)
class Tally:
    """What rounds of one kind came to.

    For each kill `ready_s` has how long it took until a new connection read and wrote, `whole_s` until every process
    was there and each worker answered.
    """

    rounds: int = 0
    kills: int = 0
    acknowledged: int = 0
    problems: list[str] = field(default_factory=list)
    ready_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)


@dataclass
class Rounds:
    """A server with callers, and what became of it."""

    service: KillableService
    disk: PoweredFolder
    chance: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    callers: list[Caller] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    number: int = 0
    feeds: bool = False

    def __post_init__(self) -> None:
        self._reading = Reading(self.service.data / "catalog.sqlite")

    async def begin(self) -> None:
        """Start the server and connect the callers."""
        await asyncio.to_thread(self.service.start)
        self.callers = [Caller(self.service.address, number, self.ledger) for number in range(CALLERS)]

    async def end(self) -> None:
        """Close everything."""
        for caller in self.callers:
            await caller.close()
        await asyncio.to_thread(self.service.stop)

    async def round(self, kind: str) -> Tally:
        """Do one round: `kind` is one of PROCESSES or CALLS, or "step" where the server was told to end at a step."""
        self.number += 1
        tally = self.tallies.setdefault(kind, Tally())
        before = self.ledger.acknowledged
        if self.number % 5 == 1:
            for caller in self.callers:
                await caller.reconnect()
        there = set(self.service.children())
        async with self._writing(whole_feed=self.feeds or self.number % 7 == 0):
            await asyncio.sleep(self.chance.uniform(0.02, 0.4))
            killed = await self._kill(kind, there)
            tally.kills += bool(killed)
            if killed:
                await self._recover(killed, tally)
                if kind in (*PROCESSES, *CALLS):
                    await self._complete(tally)
        tally.rounds += 1
        tally.acknowledged += self.ledger.acknowledged - before
        tally.problems += [f"round {self.number} ({kind}): {problem}" for problem in await self._problems()]
        return tally

    @contextlib.asynccontextmanager
    async def _writing(self, *, whole_feed: bool) -> AsyncIterator[None]:
        """Have callers write while the context is open; at its end all that they sent was answered."""
        stop = asyncio.Event()
        if whole_feed:
            tasks = [asyncio.create_task(feed(self.service.address, self.ledger, self.callers, self.chance))]
        else:
            tasks = [asyncio.create_task(caller.run(stop)) for caller in self.callers]
        try:
            yield
            await asyncio.sleep(0.05)
        finally:
            stop.set()
            done = await asyncio.gather(*tasks, return_exceptions=True)
        for error in done:
            if isinstance(error, BaseException):
                raise error

    async def _kill(self, kind: str, there: set[int]) -> list[int]:
        """Kill by `kind`, and return who is gone of those who were there before the round."""
        if kind in PROCESSES:
            return self.service.kill(kind)
        if kind in CALLS:
            action = self.chance.choice([Action.KILL_BEFORE, Action.KILL_AFTER])
            self.disk.strike(CALLS[kind], action, after=self.chance.randrange(40))
        # Whoever gets there first is killed; perhaps nobody does while this round lasts.
        end = time.monotonic() + 3
        while time.monotonic() < end and self._runs() and there <= set(self.service.children()):
            await asyncio.sleep(0.005)
        self.disk.calm()
        if not self._runs():
            return [*self.service.kill("supervisor"), *there]
        return sorted(there - set(self.service.children()))

    def _runs(self) -> bool:
        return self.service.process is not None and self.service.process.poll() is None

    async def _recover(self, killed: Sequence[int], tally: Tally) -> None:
        begun = time.monotonic()
        if not self._runs():
            # Whoever lost its supervisor must end by itself: it would hold the folder, or write beside the next.
            await asyncio.to_thread(self.service.wait_gone, list(killed), 10)
            await asyncio.to_thread(self.service.start)
        while not await self._answers():
            if time.monotonic() - begun > READY_WITHIN_S:
                raise TimeoutError(f"no answer within {READY_WITHIN_S:.0f} s after the kill")
            await asyncio.sleep(0.02)
        tally.ready_s.append(time.monotonic() - begun)

    async def _complete(self, tally: Tally) -> None:
        """Wait until all are back. Where they end at a step that may never be: they get there again."""
        begun = time.monotonic() - tally.ready_s[-1]
        everybody = ["builder"] + ["worker"] * WORKERS
        answering: set[str] = set()
        while len(answering) < WORKERS or sorted(self.service.children().values()) != everybody:
            if time.monotonic() - begun > READY_WITHIN_S:
                raise TimeoutError(f"not all processes are back within {READY_WITHIN_S:.0f} s after the kill")
            await asyncio.sleep(0.01)
            answering |= await self._who_answers()
        tally.whole_s.append(time.monotonic() - begun)

    async def _who_answers(self) -> set[str]:
        """Return the worker that a new connection gets to, if any."""
        async with connected(self.service.address) as channel:
            call = catalog_pb2_grpc.CatalogServiceStub(channel).GetCatalog(catalog_pb2.GetCatalogRequest(), timeout=2)
            try:
                await call
            except grpc.aio.AioRpcError:
                return set()
            return {str(value) for name, value in await call.trailing_metadata() if name == "twinset-worker"}

    async def _answers(self) -> bool:
        """Return whether a new connection reads and writes."""
        async with connected(self.service.address) as channel:
            try:
                stub = catalog_pb2_grpc.CatalogServiceStub(channel)
                await stub.GetCatalog(catalog_pb2.GetCatalogRequest(), timeout=2)
                user = catalog_pb2.User(id="probe")
                user.attributes["version"].int_value = 1
                request = catalog_pb2.PutUsersRequest(users=[user])
                call = stub.PutUsers(iter([request]), timeout=2)
                response = await call.read()
                answered = response is not grpc.aio.EOF and response.results[0].HasField("receipt")
                call.cancel()
            except grpc.aio.AioRpcError:
                return False
            if answered:
                self.ledger.users["probe"] = 1
            return answered

    async def _problems(self) -> list[str]:
        async with connected(self.service.address) as channel:
            while True:
                try:
                    problems = await self._reading.read(channel)
                    stored = self._reading.stored
                    problems += self.ledger.problems(stored)
                    items = sorted(stored.items.items())
                    if self.number % 10:
                        items = self.chance.sample(items, min(SEARCHED, len(items)))
                    return problems + await unfound(channel, items) + await unreadable(channel, items)
                except grpc.aio.AioRpcError as error:
                    # A step may be reached by a worker that only reads, or late: the next one answers.
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def rounds(
    folder: Path, library: Path, seed: int, *, step: str = "", feeds: bool = False, bug: str = ""
) -> AsyncIterator[Rounds]:
    """Return rounds on a new server in `folder`, an empty one.

    Args:
        folder: where all of it lies.
        library: what `faults.disk` compiled, so that calls can be struck.
        seed: of what is random.
        step: where processes end, as TWINSET_FAULT_AT says; none where it is empty.
        feeds: whether all that is written comes by feeds; otherwise each seventh round does.
        bug: what is planted in every process; see `planted`.
    """
    async with FakeTriton() as triton:
        service = KillableService(folder, triton.address, folder / "server.log")
        disk = PoweredFolder(library, service.data, folder / "disk")
        disk.arm()
        service.environment = {**disk.environment, "TWINSET_FAULT_AT": step}
        if bug:
            service.environment = plant_in_children(bug, folder, service.environment)
        made = Rounds(service, disk, random.Random(seed), feeds=feeds)
        await made.begin()
        try:
            yield made
        finally:
            await made.end()


def save(path: Path, tallies: dict[str, Tally]) -> None:
    """Write the tallies down, so that a run that is cut off can go on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({kind: asdict(tally) for kind, tally in tallies.items()}))
    temporary.replace(path)


def load(path: Path) -> dict[str, Tally]:
    """Return the tallies written down, none where there are none."""
    if not path.exists():
        return {}
    return {kind: Tally(**tally) for kind, tally in json.loads(path.read_text()).items()}
