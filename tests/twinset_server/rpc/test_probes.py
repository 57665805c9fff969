from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from twinset_server.config import ProbeSettings
from twinset_server.errors import StartupError
from twinset_server.rpc.probes import LIVENESS, READINESS, STARTUP, Probes


@pytest.fixture
async def probes() -> AsyncIterator[Probes]:
    made = Probes(ProbeSettings(port=0))
    yield made
    await made.stop()


async def well(port: int | None) -> list[str]:
    """Return the services that are well."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return [
            service
            for service in (LIVENESS, STARTUP, READINESS, "")
            if (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status
            == health_pb2.HealthCheckResponse.SERVING
        ]


async def test_a_server_that_starts_lives_and_is_not_ready(probes: Probes) -> None:
    assert await well(await probes.start()) == [LIVENESS]


async def test_readiness_follows_the_workers_and_nothing_else_does(probes: Probes) -> None:
    ready = True
    port = await probes.start()
    await probes.started(lambda: ready)
    assert await well(port) == [LIVENESS, STARTUP, READINESS, ""]
    ready = False
    async with asyncio.timeout(10):
        while READINESS in await well(port):
            await asyncio.sleep(0.01)
    assert await well(port) == [LIVENESS, STARTUP]


async def test_one_that_leaves_says_so_before_it_waits(probes: Probes) -> None:
    port = await probes.start()
    await probes.started(lambda: True)
    leaving = asyncio.create_task(probes.leave(60))
    async with asyncio.timeout(10):
        while READINESS in await well(port):
            await asyncio.sleep(0.01)
    assert not leaving.done()
    assert LIVENESS in await well(port)
    leaving.cancel()


async def test_without_a_port_nothing_listens() -> None:
    silent = Probes(ProbeSettings())
    assert await silent.start() is None
    await silent.stop()


async def test_a_taken_port_is_named(probes: Probes) -> None:
    port = await probes.start()
    other = Probes(ProbeSettings(port=port))
    with pytest.raises(StartupError, match=r"probes\.port"):
        await other.start()
    await other.stop()
