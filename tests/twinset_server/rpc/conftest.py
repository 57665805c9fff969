"""The real gRPC server on fakes of its seams, and a channel to it."""

from collections.abc import AsyncIterator

import grpc.aio
import pytest

from fakes.catalog import FakeCatalog
from twinset_server.config import ServerSettings
from twinset_server.embedding import PictureEmbedder
from twinset_server.rpc.server import RpcServer


@pytest.fixture
async def channel(catalog: FakeCatalog, pictures: PictureEmbedder) -> AsyncIterator[grpc.aio.Channel]:
    server = RpcServer(catalog, pictures, ServerSettings(port=0, drain_s=0))
    port = await server.start()
    options = [("grpc.max_send_message_length", 64 << 20)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as opened:
        yield opened
    await server.stop()
