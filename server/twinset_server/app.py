"""The composition root of a process that answers: knows every part, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType

from twinset_server import tracing
from twinset_server.catalog import Folder, open_catalog
from twinset_server.config import Settings
from twinset_server.domain import VISUAL
from twinset_server.embedding import PictureEmbedder, Pictures
from twinset_server.lineage.serving import Opened, ServedPictures, Tell
from twinset_server.metrics.folder import is_counting
from twinset_server.ports import Catalog, Embedder, Interactions
from twinset_server.ranking import NO_INTERACTIONS
from twinset_server.rpc.interceptor import Place
from twinset_server.rpc.server import RpcServer
from twinset_server.triton import open_embedder

_LONGEST_PROOF_S = 5.0

_BUILDER_WAIT_S = 120.0
"""A million vectors are written without their graph in a quarter of that."""


@asynccontextmanager
async def answering_worker(settings: Settings, place: Place, *, model_is_ready: bool, tell: Tell) -> AsyncIterator[int]:
    """Answer as one of several workers while the context is open; its value is the port.

    Args:
        settings: this worker's share of the server's; `triton.url` says where the model is.
        place: which worker this is.
        model_is_ready: the model was well a moment ago, so wait a little until it is proven here too. Without it what
            needs no model is answered.
        tell: told the models that can be asked, whenever there is one more.
    Raises:
        StartupError: a part can't start; the message says what to do.
    """
    opened = open_catalog(
        Folder(settings.store.path),
        settings.store,
        builder_wait_s=_BUILDER_WAIT_S,
        check_share=settings.search.check_share,
    )
    async with opened as catalog, contextlib.AsyncExitStack() as stack:

        @asynccontextmanager
        async def opening(model: str) -> AsyncIterator[Opened]:
            triton = settings.triton.model_copy(update={"model": model})
            visual = catalog.spaces().get(VISUAL)
            serves = visual is not None and visual.model == model
            async with open_embedder(
                triton,
                expected_fingerprint=visual.fingerprint if visual and serves else None,
                wait=False,
                sharers=place.workers + 1,
            ) as embedder:
                with contextlib.closing(_pictures(embedder, settings)) as pictures:
                    yield Opened(pictures, embedder.interactions, lambda timeout_s: embedder.ready(timeout_s=timeout_s))

        served = ServedPictures(catalog, opening, tell)
        stack.push_async_callback(served.close)
        await served.start(wait_s=_LONGEST_PROOF_S if model_is_ready else 0.0)
        following = asyncio.create_task(served.follow(), name="models")
        stack.callback(following.cancel)
        yield await stack.enter_async_context(_answering(catalog, served, settings, place, served))


@asynccontextmanager
async def answering(
    catalog: Catalog,
    embedder: Embedder,
    settings: Settings,
    place: Place | None = None,
    interactions: Interactions = NO_INTERACTIONS,
) -> AsyncIterator[int]:
    """Answer over `catalog` and the one model of `embedder` while the context is open; its value is the port.

    At the end calls in flight get `server.drain_s` seconds.

    Raises:
        StartupError: the port is taken, the address is none of this machine's, a file of TLS or of tokens can't be
            used, or OpenTelemetry is wanted and not installed.
    """
    with contextlib.closing(_pictures(embedder, settings)) as pictures:
        async with _answering(catalog, pictures, settings, place, interactions) as port:
            yield port


@asynccontextmanager
async def _answering(
    catalog: Catalog, pictures: Pictures, settings: Settings, place: Place | None, interactions: Interactions
) -> AsyncIterator[int]:
    counted = _counted()
    tracing.start(settings.traces, place.worker if place else 0)
    try:
        async with _listening(catalog, pictures, settings, place, interactions, counted) as port:
            yield port
    finally:
        # What is left is sent, which may take as long as the collector does.
        await asyncio.to_thread(tracing.stop)


@asynccontextmanager
async def _listening(
    catalog: Catalog,
    pictures: Pictures,
    settings: Settings,
    place: Place | None,
    interactions: Interactions,
    counted: ModuleType | None,
) -> AsyncIterator[int]:
    server = RpcServer(
        catalog,
        pictures,
        settings.server,
        place,
        interactions=interactions,
        fill_category=settings.catalog.fill_category,
        tls=settings.tls,
        access=settings.access,
        meter_of=counted.CallMeter if counted else None,
    )
    port = await server.start()
    watching = asyncio.create_task(counted.watch(catalog)) if counted else None
    try:
        yield port
    finally:
        if watching is not None:
            watching.cancel()
        await server.stop()


def _pictures(embedder: Embedder, settings: Settings) -> PictureEmbedder:
    counted = _counted()
    return PictureEmbedder(
        embedder,
        max_batch=settings.triton.max_batch,
        max_in_flight=settings.triton.max_in_flight,
        max_pictures=settings.server.max_pictures_in_flight,
        max_waiting_bytes=settings.server.max_waiting_bytes,
        max_wait_s=settings.server.max_picture_wait_s,
        decode_threads=settings.server.decode_threads,
        meter=counted.ModelMeter() if counted else None,
    )


def _counted() -> ModuleType | None:
    """Return what counts in this process, None where nobody reads it."""
    if not is_counting():
        return None
    return importlib.import_module("twinset_server.metrics.counted")
