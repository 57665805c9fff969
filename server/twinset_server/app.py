"""The composition root: the one place that knows every part, starts them in order and stops them in reverse."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from twinset.contract import ModelContract
from twinset_server.catalog import SqliteCatalog, open_catalog
from twinset_server.config import Settings
from twinset_server.domain import VISUAL, Space
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import StartupError
from twinset_server.rpc.server import RpcServer
from twinset_server.triton import open_embedder

_log = logging.getLogger(__name__)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[int]:
    """Serve while the context is open; its value is the port.

    Raises:
        StartupError: a part can't start; the message says what to do.
    """
    RpcServer.check_address(settings.server)
    async with AsyncExitStack() as stack:
        catalog = await stack.enter_async_context(open_catalog(settings.store, settings.spaces))
        visual = catalog.spaces().get(VISUAL)
        # Another model may stand in where it fills `visual` alike, and may fill more spaces than the one before.
        changes = visual is None or settings.triton.model not in (None, visual.model)
        embedder = await stack.enter_async_context(
            open_embedder(
                settings.triton,
                expected_model=visual.model if visual else None,
                expected_fingerprint=visual.fingerprint if visual else None,
                # Without a new model's contract its spaces aren't known; a filled catalogue can serve without Triton.
                wait=changes,
            )
        )
        if changes:
            await _add_spaces(catalog, embedder.contract)
        pictures = PictureEmbedder(
            embedder,
            max_batch=settings.triton.max_batch,
            max_in_flight=settings.triton.max_in_flight,
            max_pictures=settings.server.max_pictures_in_flight,
            max_waiting_bytes=settings.server.max_waiting_bytes,
            decode_threads=settings.server.decode_threads,
        )
        stack.callback(pictures.close)
        server = RpcServer(catalog, pictures)
        port = await server.start(settings.server)
        stack.push_async_callback(server.stop, settings.server.drain_s)
        yield port


async def serve(settings: Settings, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT, which may come during the start already; `ready` is told the port after it.

    Raises:
        StartupError: a part can't start; the message says what to do.
    """
    stopped = asyncio.Event()
    serving = False

    async def run() -> None:
        nonlocal serving
        async with running(settings) as port:
            serving = True
            ready(port)
            await stopped.wait()
            _log.info("stopping: calls in flight get %.0f s", settings.server.drain_s)

    task = asyncio.create_task(run())

    def stop() -> None:
        # A signal during the start ends it, and a second one while calls end hurries them.
        if not serving or stopped.is_set():
            task.cancel()
        stopped.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        _log.info("stopped in a hurry" if serving else "stopped while starting")


async def _add_spaces(catalog: SqliteCatalog, contract: ModelContract) -> None:
    """Give the catalogue the spaces that the model fills, and find those that it has held by another model."""
    if contract.space(VISUAL) is None:
        raise StartupError(f"the model {contract.model} fills no space {VISUAL!r}: choose another with --model")
    for filled in contract.spaces:
        await catalog.add_space(
            Space(
                filled.name,
                filled.dimension,
                filled.metric,
                contract.fingerprint_of(filled.output),
                contract.model,
            )
        )
