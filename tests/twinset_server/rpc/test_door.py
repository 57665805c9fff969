"""At the door of a full server: refused at once, told when to come back, and nothing of the request is looked at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeEmbedder
from fakes.pictures import RED, png
from twinset.v1 import catalog_pb2, catalog_pb2_grpc, embedding_pb2, embedding_pb2_grpc
from twinset_server.config import ServerSettings
from twinset_server.embedding import PictureEmbedder
from twinset_server.rpc.server import EMBEDDING, RpcServer

Channel = grpc.aio.Channel


class HeldCatalog(FakeCatalog):
    """Answers reads of items once `released` is set, and writes none before either."""

    released: asyncio.Event
    asked = 0

    async def get(self, *args: object, **options: object) -> object:
        self.asked += 1
        await self.released.wait()
        return await super().get(*args, **options)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def serving(catalog: FakeCatalog, pictures: PictureEmbedder, **settings: float) -> AsyncIterator[Channel]:
    server = RpcServer(catalog, pictures, ServerSettings(port=0, drain_s=0, **settings))  # type: ignore[arg-type]
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        try:
            yield opened
        finally:
            await server.stop()


def retry_after_s(error: grpc.aio.AioRpcError) -> float:
    """Return what a refusal says; it must be one, with its reason."""
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(error)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert info.reason in ("OVERLOADED", "TOO_MANY_PICTURES")
    assert status.details[1].Unpack(retry)
    return retry.retry_delay.ToTimedelta().total_seconds()  # type: ignore[no-any-return]


@pytest.fixture
def held(catalog: FakeCatalog) -> HeldCatalog:
    found = HeldCatalog(list(catalog.spaces().values()))
    found.released = asyncio.Event()
    return found


async def until(condition: object) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_reads_beyond_their_places_are_refused_and_let_in_again_later(
    held: HeldCatalog, pictures: PictureEmbedder
) -> None:
    async with serving(held, pictures, max_reads=2) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        request = catalog_pb2.BatchGetItemsRequest(ids=["a"])
        let_in = [asyncio.ensure_future(_answer(stub.BatchGetItems(request))) for _ in range(2)]
        await until(lambda: held.asked == 2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.BatchGetItems(request)
        assert retry_after_s(caught.value) > 0
        assert "server.max_reads" in (caught.value.details() or "")
        # Writes have places of their own, and health answers everybody.
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await stub.DeleteItem(catalog_pb2.DeleteItemRequest(id="nobody"))
        assert missing.value.code() is grpc.StatusCode.NOT_FOUND
        checked = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
        held.released.set()
        await asyncio.gather(*let_in)
        await stub.BatchGetItems(request)


async def test_a_refused_request_is_not_parsed(held: HeldCatalog, pictures: PictureEmbedder) -> None:
    async with serving(held, pictures, max_reads=1) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        let_in = asyncio.ensure_future(_answer(stub.BatchGetItems(catalog_pb2.BatchGetItemsRequest(ids=["a"]))))
        await until(lambda: held.asked == 1)
        raw = channel.unary_unary("/twinset.v1.CatalogService/BatchGetItems")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(b"\xff no message of any kind")
        assert retry_after_s(caught.value) > 0
        held.released.set()
        await let_in


async def test_of_calls_refused_together_one_that_leaves_holds_up_no_other(
    held: HeldCatalog, pictures: PictureEmbedder
) -> None:
    async with serving(held, pictures, max_reads=1) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        request = catalog_pb2.BatchGetItemsRequest(ids=["a"])
        let_in = asyncio.ensure_future(_answer(stub.BatchGetItems(request)))
        await until(lambda: held.asked == 1)
        for turn in range(5):
            calls = [stub.BatchGetItems(request) for _ in range(40)]
            ended = asyncio.gather(*(_answer(call) for call in calls), return_exceptions=True)
            await asyncio.sleep(0.002 * turn)  # at some point of their way
            for call in calls[::4]:
                call.cancel()
            for place, error in enumerate(await ended):
                if place % 4:
                    assert isinstance(error, grpc.aio.AioRpcError)
                    assert retry_after_s(error) > 0
        held.released.set()
        await let_in
        await stub.BatchGetItems(request)


async def test_a_cancelled_call_leaves_its_place(held: HeldCatalog, pictures: PictureEmbedder) -> None:
    async with serving(held, pictures, max_reads=1) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        call = stub.BatchGetItems(catalog_pb2.BatchGetItemsRequest(ids=["a"]))
        waiting = asyncio.ensure_future(_answer(call))
        await until(lambda: held.asked == 1)
        call.cancel()
        await asyncio.wait({waiting})
        held.released.set()

        async def is_let_in() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.BatchGetItems(catalog_pb2.BatchGetItemsRequest(ids=["a"]))
                return True
            return False

        async with asyncio.timeout(10):
            while not await is_let_in():
                await asyncio.sleep(0.005)


async def test_streams_beyond_their_places_are_refused(catalog: FakeCatalog, pictures: PictureEmbedder) -> None:
    async with serving(catalog, pictures, max_streams=1) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        first = stub.PutItems()
        await first.write(catalog_pb2.PutItemsRequest(items=[catalog_pb2.Item(id="a")]))
        await first.read()
        second = stub.PutItems()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await second.read()
        assert retry_after_s(caught.value) > 0
        await first.done_writing()
        assert await first.read() is grpc.aio.EOF


async def test_pictures_that_would_wait_too_long_are_refused_before_they_are_decoded(
    catalog: FakeCatalog, embedder: FakeEmbedder, pictures: PictureEmbedder
) -> None:
    embedder.delay_s = 0.3
    async with serving(catalog, pictures, max_backlog=1000) as channel:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        calls = [stub.Embed(embedding_pb2.EmbedRequest(pictures=[png(RED)])) for _ in range(160)]
        outcomes = await asyncio.gather(*map(_answer, calls), return_exceptions=True)
        refused = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
        assert refused
        assert {retry_after_s(one) for one in refused} == {1.0}
        assert embedder.embedded == 160 - len(refused) >= 64
        await stub.Embed(embedding_pb2.EmbedRequest(pictures=[png(RED)]))


async def test_the_health_of_embedding_follows_its_model(
    catalog: FakeCatalog, embedder: FakeEmbedder, pictures: PictureEmbedder
) -> None:
    async with serving(catalog, pictures) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watched = stub.Watch(health_pb2.HealthCheckRequest(service=EMBEDDING))
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING
        embedder.down = True
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        everything = await stub.Check(health_pb2.HealthCheckRequest())
        assert everything.status == health_pb2.HealthCheckResponse.SERVING
        embedder.down = False
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING
        watched.cancel()


async def _answer(call: grpc.aio.UnaryUnaryCall) -> object:
    return await call
