"""On a full disk writes are refused with a time to come back, reads go on, and writes recover by themselves."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import code_pb2, error_details_pb2

from fakes.triton import FakeTriton
from faults.disk.power import GROWING, Action, PoweredFolder, compiled, compiler
from faults.kill.callers import connected, item
from faults.kill.reading import unfound
from faults.kill.service import KillableService
from faults.scratch import scratch
from twinset.v1 import catalog_pb2, catalog_pb2_grpc

SIZE = 24 << 20
"""Of the disk: what an empty catalogue and its write-ahead logs take, several times over."""

IN_OWN_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def can_mount() -> bool:
    """Return whether this user may mount a file system of its own, which only its processes see."""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run([*IN_OWN_NAMESPACE, "mount -t tmpfs none /mnt"], capture_output=True, check=False)
    return tried.returncode == 0


async def put(address: str, name: str, version: int, timeout_s: float = 20) -> Any:
    """Put one item; return its result."""
    async with connected(address) as channel:
        request = catalog_pb2.PutItemsRequest(items=[item(name, (version, 0))])
        call = catalog_pb2_grpc.CatalogServiceStub(channel).PutItems(iter([request]), timeout=timeout_s)
        response = await call.read()
        assert response is not grpc.aio.EOF, await call.details()
        return response.results[0]


def refused_as_full(result: Any) -> bool:
    """Return whether a put was refused for now, with a time to come back."""
    details: list[Packed] = list(result.error.details)
    retry = error_details_pb2.RetryInfo()
    told = any(detail.Unpack(retry) for detail in details if detail.Is(retry.DESCRIPTOR))
    return result.error.code == code_pb2.RESOURCE_EXHAUSTED and told and retry.retry_delay.ToMilliseconds() > 0


async def still_reads(address: str) -> None:
    async with connected(address) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        assert (await stub.GetItem(catalog_pb2.GetItemRequest(id="first"))).item.title
        assert await unfound(channel, [("first", (1, 0))]) == []


async def recovers(address: str) -> None:
    for version in range(10, 60):
        if (await put(address, "after", version)).HasField("receipt"):
            async with connected(address) as channel:
                assert await unfound(channel, [("after", (version, 0))]) == []
            return
        await asyncio.sleep(0.1)
    raise AssertionError("writes did not recover")


@asynccontextmanager
async def running(service: KillableService) -> AsyncIterator[str]:
    await asyncio.to_thread(service.start)
    try:
        yield service.address
    finally:
        await asyncio.to_thread(service.stop)


@pytest.mark.skipif(compiler() is None, reason="no C compiler: install gcc or clang")
async def test_writes_that_find_no_room_are_refused_until_there_is_some() -> None:
    with scratch() as folder:
        disk = PoweredFolder(compiled(folder), folder / "data", folder / "disk")
        disk.arm()
        async with FakeTriton() as triton:
            service = KillableService(folder, triton.address, folder / "log", environment=disk.environment)
            async with running(service) as address:
                assert (await put(address, "first", 1)).HasField("receipt")
                disk.strike(GROWING, Action.FAIL_FOR_GOOD, error=errno.ENOSPC)
                # With a picture and without one.
                for version in (3, 4, 5):
                    result = await put(address, "refused", version)
                    assert refused_as_full(result), result
                    await still_reads(address)
                disk.calm()
                await recovers(address)
                async with connected(address) as channel:
                    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
                    with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
                        await stub.GetItem(catalog_pb2.GetItemRequest(id="refused"))


@pytest.mark.skipif(not can_mount(), reason="this user may not mount a file system of its own")
async def test_a_disk_that_fills_up_refuses_writes_and_serves_on() -> None:
    with scratch() as folder:
        (folder / "data").mkdir()
        async with FakeTriton() as triton:
            service = SmallDiskService(folder, triton.address, folder / "log")
            async with running(service) as address:
                assert (await put(address, "first", 1)).HasField("receipt")
                ballast = service.fill()
                refusals = 0
                for version in range(3, 400):
                    result = await put(address, f"filler {version}", version)
                    if result.HasField("error"):
                        assert refused_as_full(result), result
                        refusals += 1
                    if refusals == 5:
                        break
                assert refusals == 5, "the disk never filled up"
                await still_reads(address)
                ballast.unlink()
                await recovers(address)


class SmallDiskService(KillableService):
    """A server that sees a small file system of its own where its folder is."""

    def command(self, settings: Path) -> list[str]:
        program = f'mount -t tmpfs -o size={SIZE} none "$1" && exec "$2" -m twinset_server serve --config "$3"'
        return [*IN_OWN_NAMESPACE, program, "sh", str(self.data), sys.executable, str(settings)]

    def fill(self) -> Path:
        """Leave next to no room; return the file whose end gives it back."""
        assert self.process is not None
        # The file system is there for the server's processes alone.
        ballast = Path(f"/proc/{self.process.pid}/root") / self.data.relative_to("/") / "ballast"
        found = os.statvfs(ballast.parent)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(found.f_frsize, found.f_bavail * found.f_frsize - (64 << 10)))
        return ballast
