"""The gRPC server: services, health and reflection on one port."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from twinset.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    recommender_pb2,
    recommender_pb2_grpc,
)
from twinset_server import limits
from twinset_server.access import Access, Scope
from twinset_server.admission import Admission
from twinset_server.config import EVERYBODY, PLAINTEXT, AccessSettings, ServerSettings, TlsSettings
from twinset_server.embedding import Pictures
from twinset_server.errors import StartupError
from twinset_server.ingest import Ingest
from twinset_server.ports import Catalog, Interactions
from twinset_server.ranking import NO_INTERACTIONS
from twinset_server.recommend import Recommender
from twinset_server.rpc.access import AccessInterceptor, scope_of
from twinset_server.rpc.catalog import CatalogServicer
from twinset_server.rpc.embedding import EmbeddingServicer
from twinset_server.rpc.interceptor import Door, DoorOf, Intercepted, Place
from twinset_server.rpc.listening import open_port
from twinset_server.rpc.metering import MeterOf
from twinset_server.rpc.pairs import PairCalls
from twinset_server.rpc.ranking import RankingCalls
from twinset_server.rpc.recommender import RecommenderServicer
from twinset_server.rpc.stream_watch import StreamWatch

EMBEDDING = embedding_pb2.DESCRIPTOR.services_by_name["EmbeddingService"].full_name

SERVICES = (
    EMBEDDING,
    catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].full_name,
    recommender_pb2.DESCRIPTOR.services_by_name["RecommenderService"].full_name,
)

_LIMITS = (
    ("grpc.max_receive_message_length", limits.MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", limits.MAX_RESPONSE_BYTES),
)

_WINDOWS = (
    # How far a caller may be ahead of what is read of its stream. Left to itself gRPC lets it grow to 6 MB, and a
    # stream that isn't read holds all of it. Of a message that is waited for the whole comes, whatever its size.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 128 << 10),
)

_KEEPALIVE = (
    # A caller whose machine is gone says nothing, and its open stream would stay for ever: it goes after a minute.
    ("grpc.keepalive_time_ms", 40_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # By default a stream without messages gets two of these and no more.
    ("grpc.http2.max_pings_without_data", 0),
    # Callers ask too: one whose feed is being committed sends nothing and hears nothing for as long as that takes.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


_ALWAYS_ANSWERED = (f"/{health.SERVICE_NAME}/", f"/{reflection.SERVICE_NAME}/")

_LOOK_EVERY_S = 0.2


class RpcServer:
    """Serves a catalogue on one port, alone or as one of several workers."""

    def __init__(
        self,
        catalog: Catalog,
        pictures: Pictures,
        settings: ServerSettings,
        place: Place | None = None,
        *,
        interactions: Interactions = NO_INTERACTIONS,
        fill_category: str | None = None,
        tls: TlsSettings = PLAINTEXT,
        access: AccessSettings = EVERYBODY,
        meter_of: MeterOf | None = None,
    ) -> None:
        """Prepare to listen where `settings` say.

        `place` is None where no other process shares the port. `interactions` are asked where candidates of a ranking
        are to be scored again. `fill_category` is the model's output that tells the
        category of items that lack one, None where they stay without. `tls` and `access` say how connections are
        encrypted, and who may call. `meter_of` gives what counts the calls of a method, None where nothing does.

        Raises:
            StartupError: the file of tokens can't be used.
        """
        self._settings = settings
        self._tls = tls
        self._pictures = pictures
        self._server = grpc.aio.server(interceptors=_guards(access, place, meter_of), options=_options(settings, place))
        self._health = health.aio.HealthServicer()
        self._stopping = asyncio.Event()
        embedding = EmbeddingServicer(pictures, self._stopping)
        ingest = Ingest(catalog, pictures, fill_category)
        items = CatalogServicer(catalog, pictures, ingest, self._stopping)
        pairs = PairCalls(catalog, pictures)
        recommender = RecommenderServicer(
            catalog, Recommender(catalog, pictures), pairs, RankingCalls(catalog, interactions), self._stopping
        )
        admission = Admission.of(settings, pictures)
        self._watch = StreamWatch(admission.stream_bytes, settings.stream_idle_s)
        self._watching: list[asyncio.Task[None]] = []
        server = Intercepted(self._server, place, meter_of, _doors(admission), self._watch)
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(embedding, server)  # type: ignore[no-untyped-call]
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(items, server)  # type: ignore[no-untyped-call]
        recommender_pb2_grpc.add_RecommenderServiceServicer_to_server(recommender, server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)  # type: ignore[arg-type]
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            StartupError: the port is taken, the address is none of this machine's, or a file of TLS can't be used.
        """
        try:
            port = open_port(self._server, f"{self._settings.host}:{self._settings.port}", self._tls)
        except RuntimeError as error:
            raise cannot_listen(self._settings, str(error)) from error
        await self._server.start()
        await self._set_health(serving=True)
        self._watching = [asyncio.create_task(self._watch.run()), asyncio.create_task(self._follow_model())]
        return port

    async def stop(self) -> None:
        """Turn new calls away, let streams end after what they have read, give all `drain_s` seconds, and close."""
        self._stopping.set()
        for task in self._watching:
            task.cancel()
        await self._set_health(serving=False)
        await self._server.stop(self._settings.drain_s)

    async def _set_health(self, *, serving: bool) -> None:
        for service in ("", *SERVICES):
            await self._tell(service, serving=serving and (service != EMBEDDING or self._pictures.is_well))

    async def _follow_model(self) -> None:
        """Keep saying of `EmbeddingService` what is true of its model; the others need it for pictures alone."""
        while True:
            await self._tell(EMBEDDING, serving=self._pictures.is_well)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _tell(self, service: str, *, serving: bool) -> None:
        statuses = health_pb2.HealthCheckResponse
        await self._health.set(service, statuses.SERVING if serving else statuses.NOT_SERVING)


def _guards(access: AccessSettings, place: Place | None, meter_of: MeterOf | None) -> list[grpc.aio.ServerInterceptor]:
    if access.tokens is None:
        return []
    return [AccessInterceptor(Access(access.tokens, place.workers if place else 1), meter_of)]


def _doors(admission: Admission) -> DoorOf:
    def door(method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> Door | None:
        if method.startswith(_ALWAYS_ANSWERED):
            return None
        if handler.request_streaming or handler.response_streaming:
            return Door(admission.streams)
        if scope_of(method) is Scope.WRITE:
            return Door(admission.writes)
        return Door(admission.reads, (admission.pictures,) if method == f"/{EMBEDDING}/Embed" else ())

    return door


def _options(settings: ServerSettings, place: Place | None) -> list[tuple[str, int]]:
    options = [*_LIMITS, *_WINDOWS, *_KEEPALIVE, ("grpc.so_reuseport", int(place is not None))]
    # What waits in gRPC itself, unseen by any handler: its own limits of 1,000 and 3,000 calls are seconds of work.
    # Between the two it cuts off more and more; far apart they would make the line as much longer as the load is more.
    options += [
        ("grpc.server.max_pending_requests", settings.max_backlog),
        ("grpc.server.max_pending_requests_hard_limit", settings.max_backlog + settings.max_backlog // 8),
    ]
    if settings.max_connection_age_s:
        # Streams go on until they end by themselves: only new calls need a new connection.
        options.append(("grpc.max_connection_age_ms", round(settings.max_connection_age_s * 1000)))
    return options


def cannot_listen(settings: ServerSettings, reason: str) -> StartupError:
    """Return what to raise where the address can't be had."""
    return StartupError(
        f"can't listen on {settings.host}:{settings.port} ({reason}): stop the process that does, or choose another "
        "address with --port or --host"
    )
