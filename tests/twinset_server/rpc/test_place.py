"""Each answer of a worker says which worker gave it."""

from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fakes.catalog import FakeCatalog
from twinset.v1 import catalog_pb2, catalog_pb2_grpc, embedding_pb2, embedding_pb2_grpc
from twinset_server.config import ServerSettings
from twinset_server.embedding import PictureEmbedder
from twinset_server.rpc.interceptor import Place
from twinset_server.rpc.server import RpcServer

NAMED = {"twinset-worker": "1", "twinset-workers": "2"}


@pytest.fixture
async def worker(catalog: FakeCatalog, pictures: PictureEmbedder) -> AsyncIterator[grpc.aio.Channel]:
    server = RpcServer(catalog, pictures, ServerSettings(port=0, drain_s=0), Place(1, 2))
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop()


def named(metadata: object) -> dict[str, str]:
    return {key: value for key, value in metadata or () if key in NAMED}  # type: ignore[attr-defined]


async def test_a_single_answer_names_its_worker(worker: grpc.aio.Channel) -> None:
    call = catalog_pb2_grpc.CatalogServiceStub(worker).GetCatalog(catalog_pb2.GetCatalogRequest())
    await call
    assert named(await call.trailing_metadata()) == NAMED


async def test_a_failure_names_its_worker(worker: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await catalog_pb2_grpc.CatalogServiceStub(worker).GetItem(catalog_pb2.GetItemRequest(id="nobody"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert named(raised.value.trailing_metadata()) == NAMED


async def test_a_stream_names_its_worker_with_its_first_answer(worker: grpc.aio.Channel) -> None:
    stream = embedding_pb2_grpc.EmbeddingServiceStub(worker).StreamEmbed()
    await stream.write(embedding_pb2.StreamEmbedRequest(pictures=[b"no picture"]))
    await stream.read()
    assert named(await stream.initial_metadata()) == NAMED
    await stream.done_writing()


async def test_the_health_check_names_its_worker(worker: grpc.aio.Channel) -> None:
    call = health_pb2_grpc.HealthStub(worker).Check(health_pb2.HealthCheckRequest())
    assert (await call).status == health_pb2.HealthCheckResponse.SERVING
    assert named(await call.trailing_metadata()) == NAMED


async def test_a_server_that_is_alone_names_nobody(channel: grpc.aio.Channel) -> None:
    call = catalog_pb2_grpc.CatalogServiceStub(channel).GetCatalog(catalog_pb2.GetCatalogRequest())
    await call
    assert named(await call.trailing_metadata()) == {}
