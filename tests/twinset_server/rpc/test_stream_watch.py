"""Streams over which nothing goes are ended, and all together hold no more than they may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from fakes.catalog import FakeCatalog
from fakes.pictures import RED, png
from twinset.v1 import catalog_pb2, catalog_pb2_grpc, embedding_pb2, embedding_pb2_grpc
from twinset_server.admission import Budget
from twinset_server.config import ServerSettings
from twinset_server.embedding import PictureEmbedder
from twinset_server.rpc.server import RpcServer
from twinset_server.rpc.stream_watch import StreamWatch

IDLE_S = 0.4


@pytest.fixture
async def impatient(catalog: FakeCatalog, pictures: PictureEmbedder) -> AsyncIterator[grpc.aio.Channel]:
    server = RpcServer(catalog, pictures, ServerSettings(port=0, drain_s=0, stream_idle_s=IDLE_S))
    port = await server.start()
    # A caller that takes little before it reads: by default some MB go into its buffers.
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as opened:
        yield opened
    await server.stop()


async def test_a_stream_without_messages_is_ended_and_its_answers_stand(impatient: grpc.aio.Channel) -> None:
    stream = catalog_pb2_grpc.CatalogServiceStub(impatient).PutItems()
    await stream.write(catalog_pb2.PutItemsRequest(items=[catalog_pb2.Item(id="a")]))
    assert len((await stream.read()).results) == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(stream.read(), 10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "server.stream_idle_s" in (caught.value.details() or "")


async def test_a_stream_that_goes_on_is_left_alone(impatient: grpc.aio.Channel) -> None:
    stream = embedding_pb2_grpc.EmbeddingServiceStub(impatient).StreamEmbed()
    for _ in range(8):
        await stream.write(embedding_pb2.StreamEmbedRequest(pictures=[png(RED)]))
        assert len((await stream.read()).results) == 1
        await asyncio.sleep(IDLE_S / 3)
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF


async def test_a_stream_whose_answers_nobody_takes_is_ended_and_lets_go(
    impatient: grpc.aio.Channel, catalog: FakeCatalog
) -> None:
    attributes = {"text": catalog_pb2.AttributeValue(string_value="x" * 1000)}
    items = [catalog_pb2.Item(id=f"{number:06}", attributes=attributes) for number in range(256)]
    stub = catalog_pb2_grpc.CatalogServiceStub(impatient)
    for start in range(20):
        renamed = [catalog_pb2.Item(id=f"{start}/{item.id}", attributes=attributes) for item in items]
        stream = stub.PutItems()
        await stream.write(catalog_pb2.PutItemsRequest(items=renamed))
        await stream.read()
        await stream.done_writing()
        await stream.read()
    exported = stub.ExportItems(catalog_pb2.ExportItemsRequest())
    await exported.read()
    await asyncio.sleep(3 * IDLE_S)
    # What was on its way comes, and behind it the reason.
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(10):
            while await exported.read() is not grpc.aio.EOF:
                pass
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


class _Context:
    """Stands for a call's context where nothing of it is asked."""


async def test_streams_together_hold_no_more_than_the_budget_but_for_one_message_each() -> None:
    message = catalog_pb2.PutItemsRequest(request_id="x" * 60)
    size = message.ByteSize()
    budget = Budget(2 * size)
    watch = StreamWatch(budget, 0)
    taken: list[str] = []

    async def requests() -> AsyncIterator[catalog_pb2.PutItemsRequest]:
        while True:
            yield message

    async def read(name: str, holding: asyncio.Event) -> None:
        with watch.watching(_Context(), answers_each=True) as stream:  # type: ignore[arg-type]
            async for _ in stream.reading(requests()):
                taken.append(name)
                if len(taken) > 100:
                    raise AssertionError("a stream reads without end")
                await asyncio.sleep(0)
            await holding.wait()

    never = asyncio.Event()
    readers = [asyncio.create_task(read(name, never)) for name in "ab"]
    await asyncio.sleep(0.05)
    assert sorted(taken) == ["a", "b"]
    readers[0].cancel()
    await asyncio.wait({readers[0]})
    await asyncio.sleep(0.05)
    assert taken.count("b") == 2
    readers[1].cancel()
    await asyncio.wait({readers[1]})
    assert budget.take(2 * size, alone=False)
