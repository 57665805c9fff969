"""Health for whoever runs the container, on a port of its own: it answers however busy the workers are.

It is plain `grpc.health.v1`, in plaintext and without a token, as the probes of Kubernetes need it, and it
tells no more than these words. SERVING is

- `liveness` for as long as the process runs: no Triton, no disk and no load changes it;
- `startup` from when all of it has started;
- `readiness`, and the empty name, while a worker answers, so its store is open and its index as far as the store was
  when it started; not from the first SIGTERM on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from twinset_server.config import ProbeSettings
from twinset_server.errors import StartupError

LIVENESS, STARTUP, READINESS = "liveness", "startup", "readiness"

_LOOK_EVERY_S = 0.2

_STATUSES = health_pb2.HealthCheckResponse


class Probes:
    """Answers probes; `start` comes first, `started` when the server has started, `leave` when it is to end."""

    def __init__(self, settings: ProbeSettings) -> None:
        self._settings = settings
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        self._health = health.aio.HealthServicer()
        self._watching: asyncio.Task[None] | None = None
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self) -> int | None:
        """Listen where a port is set, and return it; nothing but `liveness` is well yet.

        Raises:
            StartupError: the port is taken, or the address is none of this machine's.
        """
        await self._set(True, LIVENESS)
        await self._set(False, STARTUP, READINESS, "")
        if self._settings.port is None:
            return None
        address = f"{self._settings.host}:{self._settings.port}"
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise StartupError(
                f"can't listen for probes on {address} ({error}): stop the process that does, or set probes.host and "
                "probes.port"
            ) from error
        await self._server.start()
        return port

    async def started(self, is_ready: Callable[[], bool]) -> None:
        """Say that the server has started, and from now on what `is_ready` says."""
        await self._set(True, STARTUP)
        await self._set(is_ready(), READINESS, "")
        self._watching = asyncio.create_task(self._watch(is_ready))

    async def leave(self, pause_s: float) -> None:
        """Say that no more calls should come, and wait until that has got about."""
        await self._unwatch()
        await self._set(False, READINESS, "")
        await asyncio.sleep(pause_s)

    async def stop(self) -> None:
        """Close the port."""
        await self._unwatch()
        await self._server.stop(0)

    async def _watch(self, is_ready: Callable[[], bool]) -> None:
        while True:
            await self._set(is_ready(), READINESS, "")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _unwatch(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
            self._watching = None

    async def _set(self, well: bool, *services: str) -> None:
        for service in services:
            await self._health.set(service, _STATUSES.SERVING if well else _STATUSES.NOT_SERVING)
