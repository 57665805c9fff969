"""The real gRPC server in a thread of this process, on fakes of its seams: for callers that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeEmbedder
from fakes.interactions import FakeInteractions
from twinset.contract import ModelContract
from twinset_server.config import EVERYBODY, PLAINTEXT, AccessSettings, ServerSettings, TlsSettings
from twinset_server.domain import Metric, Space
from twinset_server.embedding import PictureEmbedder
from twinset_server.rpc.server import RpcServer

OWN = Space("own", 2, Metric.EUCLIDEAN, "c" * 64)


def filled_by(contract: ModelContract) -> list[Space]:
    """Return the spaces that a model fills."""
    return [
        Space(one.name, one.dimension, one.metric, contract.fingerprint_of(one.output), contract.model)
        for one in contract.spaces
    ]


class FakeService:
    """Listens on a free port of loopback while its context lasts. What it stands on are its attributes."""

    def __init__(
        self,
        embedder: FakeEmbedder | None = None,
        *,
        spaces: Sequence[Space] | None = None,
        fill_category: str | None = None,
        tls: TlsSettings = PLAINTEXT,
        access: AccessSettings = EVERYBODY,
    ) -> None:
        """Stand on a catalogue of `spaces`, by default those that the embedder fills, and `OWN`."""
        self._tls = tls
        self._access = access
        self.embedder = embedder or FakeEmbedder()
        self.catalog = FakeCatalog([*filled_by(self.embedder.contract), OWN] if spaces is None else spaces)
        self.interactions = FakeInteractions()
        self._fill_category = fill_category
        self.address = ""
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fake-service")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        pictures = PictureEmbedder(
            self.embedder, max_batch=4, max_in_flight=2, max_pictures=16, max_waiting_bytes=32 << 20, decode_threads=2
        )
        server = RpcServer(
            self.catalog,
            pictures,
            ServerSettings(port=0, drain_s=0),
            interactions=self.interactions,
            fill_category=self._fill_category,
            tls=self._tls,
            access=self._access,
        )
        self.address = f"127.0.0.1:{await server.start()}"
        self._ready.set()
        await self._stopped.wait()
        await server.stop()
        pictures.close()
