"""The composition root: the one place that knows every part, starts them in order and stops them in reverse."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from twinset.contract import ModelContract
from twinset_server.catalog import declare_spaces, external_space, hold, open_catalog
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
        folder = stack.enter_context(hold(settings.store.path))
        external = [external_space(name, section) for name, section in settings.spaces.items()]
        visual = declare_spaces(folder, external).get(VISUAL)
        embedder = await stack.enter_async_context(
            open_embedder(
                settings.triton,
                expected_model=visual.model if visual else None,
                expected_fingerprint=visual.fingerprint if visual else None,
                # Without a model's contract an empty catalogue has no space; a filled one can serve without Triton.
                wait=visual is None,
            )
        )
        if visual is None:
            declare_spaces(folder, _spaces_of(embedder.contract))
        catalog = await stack.enter_async_context(open_catalog(folder, settings.store))
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


def _spaces_of(contract: ModelContract) -> list[Space]:
    """Return the spaces that the model fills."""
    if contract.space(VISUAL) is None:
        raise StartupError(f"the model {contract.model} fills no space {VISUAL!r}: choose another with --model")
    return [
        Space(filled.name, filled.dimension, filled.metric, contract.fingerprint, contract.model)
        for filled in contract.spaces
    ]
