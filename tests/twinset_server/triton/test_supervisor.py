"""When the supervisor starts a host anew, and when it leaves a slow one alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from fakes.models import DIMENSION, MAX_BATCH_SIZE, tiny_contract
from fakes.triton import FakeTriton
from twinset_server.config import TritonSettings
from twinset_server.errors import StartupError
from twinset_server.triton.connection import Connection
from twinset_server.triton.served_model import ServedModel
from twinset_server.triton.supervisor import State, Supervisor


class ScriptedHost:
    """A host whose processes are in the state that a test says; its Triton is in this process."""

    def __init__(self, triton: FakeTriton) -> None:
        self.starts = 0
        self.process_fault: str | None = None
        self.sleeping = False
        self.start_error: str | None = None
        self._triton = triton

    @property
    def address(self) -> str:
        return self._triton.address

    async def start(self) -> str:
        self.starts += 1
        if self.start_error:
            raise StartupError(self.start_error)
        return self._triton.address

    async def describe(self, connection: Connection, *, timeout_s: float) -> ServedModel:
        outputs = {"features": DIMENSION, "embedding": DIMENSION}
        return ServedModel(tiny_contract().model, tiny_contract(), outputs, MAX_BATCH_SIZE)

    def fault(self) -> str | None:
        return self.process_fault

    def asleep(self) -> bool:
        return self.sleeping

    def last_words(self) -> str:
        return "; Triton's last lines:\n  farewell"

    async def stop(self, *, grace_s: float = 0) -> None:
        # A new start mends what was wrong.
        self.process_fault = None
        self._triton.before_known_reply = None

    def close(self) -> None:
        pass


@pytest.fixture
async def triton() -> AsyncIterator[FakeTriton]:
    async with FakeTriton() as triton:
        yield triton


@pytest.fixture
def host(triton: FakeTriton) -> ScriptedHost:
    return ScriptedHost(triton)


@pytest.fixture
async def supervisor(host: ScriptedHost, triton: FakeTriton) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(host, TritonSettings(url=triton.address, request_timeout_s=20))
    await supervisor.open(wait=True)
    yield supervisor
    await supervisor.close()


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


class Hang:
    """A model that takes requests and never answers."""

    def __init__(self) -> None:
        self.requests = 0

    async def __call__(self) -> None:
        self.requests += 1
        await asyncio.Event().wait()


async def test_a_faulty_process_is_started_anew(supervisor: Supervisor, host: ScriptedHost) -> None:
    host.process_fault = "tritonserver 7 is stopped"
    await wait_until(lambda: host.starts == 2 and supervisor.state is State.READY)


async def test_a_host_that_sleeps_while_a_request_waits_is_started_anew(
    supervisor: Supervisor, host: ScriptedHost, triton: FakeTriton
) -> None:
    triton.before_known_reply = Hang()
    host.sleeping = True
    await wait_until(lambda: host.starts == 2 and supervisor.state is State.READY)


async def test_a_host_that_works_while_a_request_waits_is_left_alone(
    supervisor: Supervisor, host: ScriptedHost, triton: FakeTriton
) -> None:
    triton.before_known_reply = hang = Hang()
    await wait_until(lambda: hang.requests == 1)
    await asyncio.sleep(3)
    assert host.starts == 1
    assert supervisor.state is State.READY


async def test_an_idle_host_that_answers_is_left_alone(supervisor: Supervisor, host: ScriptedHost) -> None:
    host.sleeping = True
    await asyncio.sleep(3)
    assert host.starts == 1
    assert supervisor.state is State.READY


async def test_nobody_gets_a_connection_in_doubt(supervisor: Supervisor, triton: FakeTriton) -> None:
    connection = supervisor.connection
    assert connection is not None
    triton.before_known_reply = hang = Hang()
    supervisor.doubt(connection, "a request failed")
    await wait_until(lambda: hang.requests == 1)
    assert supervisor.connection is None


async def test_a_doubt_about_an_old_connection_changes_nothing(supervisor: Supervisor, host: ScriptedHost) -> None:
    old = supervisor.connection
    assert old is not None
    host.process_fault = "the model's process 8 is dead"
    await wait_until(lambda: host.starts == 2 and supervisor.state is State.READY)
    supervisor.doubt(old, "late news")
    assert supervisor.state is State.READY


async def test_a_start_that_fails_is_tried_again_when_it_worked_before(
    supervisor: Supervisor, host: ScriptedHost
) -> None:
    host.start_error = "no memory"
    host.process_fault = "tritonserver 7 is dead"
    await wait_until(lambda: host.starts == 3)
    host.start_error = None
    await wait_until(lambda: supervisor.state is State.READY)


async def test_a_first_start_that_fails_ends_with_tritons_last_lines(host: ScriptedHost, triton: FakeTriton) -> None:
    host.process_fault = "the model's process 8 is dead"
    supervisor = Supervisor(host, TritonSettings(url=triton.address))
    with pytest.raises(StartupError, match="process 8 is dead; Triton's last lines:\n  farewell"):
        await supervisor.open(wait=True)
    assert host.starts == 1
    await supervisor.close()
