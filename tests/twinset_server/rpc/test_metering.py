from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NoReturn

import grpc
import pytest

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeEmbedder
from fakes.service import filled_by
from twinset.v1 import catalog_pb2, catalog_pb2_grpc
from twinset_server.access import Scope, new_token, to_toml
from twinset_server.config import AccessSettings, ServerSettings
from twinset_server.embedding import PictureEmbedder
from twinset_server.rpc.server import RpcServer


class Counting:
    """Counts for all methods together."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[tuple[str, str, bool]] = []

    def of(self, method: str) -> Counting.Meter:
        return Counting.Meter(self, method.rpartition("/")[2])

    class Meter:
        def __init__(self, all_: Counting, method: str) -> None:
            self._all = all_
            self._method = method

        def begin(self) -> None:
            self._all.begun.append(self._method)

        def end(self, code: str, seconds: float | None) -> None:
            assert seconds is None or seconds > 0
            self._all.ended.append((self._method, code, seconds is None))


async def test_calls_are_counted_by_method_and_by_how_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    counting, embedder = Counting(), FakeEmbedder()
    catalog = FakeCatalog(filled_by(embedder.contract))
    pictures = PictureEmbedder(embedder, max_batch=4, max_in_flight=2, max_pictures=16, max_waiting_bytes=32 << 20)
    server = RpcServer(catalog, pictures, ServerSettings(port=0, drain_s=0), meter_of=counting.of)
    address = f"127.0.0.1:{await server.start()}"
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = catalog_pb2_grpc.CatalogServiceStub(channel)
            await stub.GetCatalog(catalog_pb2.GetCatalogRequest())
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.GetItem(catalog_pb2.GetItemRequest(id="none"))
            assert [one async for one in stub.ExportItems(catalog_pb2.ExportItemsRequest())] == []
            with pytest.raises(grpc.aio.AioRpcError):
                await anext(aiter(stub.GetPicture(catalog_pb2.GetPictureRequest(item_id="none"))))
            reached = asyncio.Event()

            async def never(**_: object) -> NoReturn:
                reached.set()
                await asyncio.Event().wait()
                raise AssertionError

            monkeypatch.setattr(catalog, "page", never)
            held = stub.ExportItems(catalog_pb2.ExportItemsRequest())
            await reached.wait()
            held.cancel()
            async with asyncio.timeout(10):
                while len(counting.ended) < 5:
                    await asyncio.sleep(0.01)
    finally:
        await server.stop()
        pictures.close()
    methods = ["GetCatalog", "GetItem", "ExportItems", "GetPicture", "ExportItems"]
    codes = ["OK", "NOT_FOUND", "OK", "NOT_FOUND", "CANCELLED"]
    assert counting.begun == methods
    assert counting.ended == list(zip(methods, codes, [False, False, True, True, True], strict=True))


async def test_calls_that_show_no_good_token_are_counted_too(tmp_path: Path) -> None:
    _, token = new_token("a", [Scope.READ])
    (tmp_path / "tokens.toml").write_text(to_toml(token))
    counting, embedder = Counting(), FakeEmbedder()
    pictures = PictureEmbedder(embedder, max_batch=4, max_in_flight=2, max_pictures=16, max_waiting_bytes=32 << 20)
    server = RpcServer(
        FakeCatalog(filled_by(embedder.contract)),
        pictures,
        ServerSettings(port=0, drain_s=0),
        access=AccessSettings(tokens=tmp_path / "tokens.toml"),
        meter_of=counting.of,
    )
    address = f"127.0.0.1:{await server.start()}"
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await catalog_pb2_grpc.CatalogServiceStub(channel).GetCatalog(catalog_pb2.GetCatalogRequest())
    finally:
        await server.stop()
        pictures.close()
    assert counting.ended == [("GetCatalog", "UNAUTHENTICATED", True)]
