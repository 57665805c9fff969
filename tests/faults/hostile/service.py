"""Every service of the protos in this process: a real catalogue and a real folder to maintain, a fake of the model."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from PIL import Image

from fakes.embedder import SHADES, TYPES, FakeClassifier
from fakes.factors import factors
from fakes.pictures import BLUE, GREEN, RED, png
from fakes.service import OWN, filled_by
from twinset.v1 import admin_pb2, catalog_pb2, catalog_pb2_grpc, embedding_pb2, recommender_pb2
from twinset_server.admin import AdminServer
from twinset_server.catalog import open_alone
from twinset_server.catalog.folder import hold
from twinset_server.catalog.maintenance.idle import IdleFolder
from twinset_server.config import AdminSettings, ServerSettings, StoreSettings
from twinset_server.embedding import PictureEmbedder
from twinset_server.rpc.server import RpcServer

SERVICES: tuple[ServiceDescriptor, ...] = (
    embedding_pb2.DESCRIPTOR.services_by_name["EmbeddingService"],
    catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"],
    recommender_pb2.DESCRIPTOR.services_by_name["RecommenderService"],
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
)

ITEMS = tuple(f"i{number}" for number in range(6))
USERS = tuple(f"u{number}" for number in range(4))
_COLOURS = (RED, GREEN, BLUE)


@dataclass
class Services:
    """What calls go to.

    Attributes:
        channels: to each service, by its full name.
        known: plausible values of fields by name; see `Messages`.
    """

    channels: Mapping[str, grpc.Channel]
    known: Mapping[str, Sequence[Any]]

    def fill(self) -> None:
        """Put items, users, interactions and factors again: what was sent may have deleted them."""
        stub = catalog_pb2_grpc.CatalogServiceStub(self.channels[SERVICES[1].full_name])
        items = [
            catalog_pb2.Item(
                id=item_id,
                title=f"item {number}",
                category=TYPES[number % len(TYPES)],
                pictures=[catalog_pb2.Picture(content=_picture(number))],
                attributes={"price": catalog_pb2.AttributeValue(double_value=10.0 * number)},
                vectors=[embedding_pb2.Vector(space=OWN.name, values=np.float32([number, 1]).tobytes())],
            )
            for number, item_id in enumerate(ITEMS)
        ]
        users = [catalog_pb2.User(id=user_id) for user_id in USERS]
        acts = [catalog_pb2.Interaction(user_id=u, item_id=i, kind="like") for u in USERS for i in ITEMS[:2]]
        list(stub.PutItems(iter([catalog_pb2.PutItemsRequest(items=items)])))
        list(stub.PutUsers(iter([catalog_pb2.PutUsersRequest(users=users)])))
        list(stub.PutInteractions(iter([catalog_pb2.PutInteractionsRequest(interactions=acts)])))
        list(stub.ImportFactors(iter(_factors())))


@asynccontextmanager
async def services(folder: Path) -> AsyncIterator[Services]:
    """Serve in `folder` while the context is open."""
    embedder = FakeClassifier()
    async with AsyncExitStack() as stack:
        catalog = await stack.enter_async_context(
            open_alone(StoreSettings(path=folder / "data"), {}, [*filled_by(embedder.contract), OWN])
        )
        pictures = PictureEmbedder(
            embedder, max_batch=8, max_in_flight=2, max_pictures=64, max_waiting_bytes=64 << 20, decode_threads=2
        )
        stack.callback(pictures.close)
        server = RpcServer(catalog, pictures, ServerSettings(port=0, drain_s=0))
        port = await server.start()
        stack.push_async_callback(server.stop)
        # A sound catalogue of its own, which operations may replace and rewrite.
        async with open_alone(StoreSettings(path=folder / "maintained"), {}, [OWN]):
            pass
        maintained = stack.enter_context(hold(folder / "maintained")).path
        admin = AdminServer(AdminSettings(port=0), IdleFolder(maintained))
        admin_port = await admin.start()
        stack.push_async_callback(admin.stop)
        options = [("grpc.max_send_message_length", 64 << 20)]
        ordinary, operators = (
            stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{one}", options=options))
            for one in (port, admin_port)
        )
        channels = {one.full_name: ordinary for one in SERVICES[:3]} | {SERVICES[3].full_name: operators}
        yield Services(channels, _known(folder, embedder))


@contextmanager
def in_thread(folder: Path) -> Iterator[Services]:
    """Serve in `folder` on a loop of its own while the context is open: for callers that block."""
    ready: Future[Services] = Future()
    ending = threading.Event()

    async def serve() -> None:
        async with services(folder) as opened:
            ready.set_result(opened)
            await asyncio.to_thread(ending.wait)

    with ThreadPoolExecutor(1) as thread:
        served = thread.submit(asyncio.run, serve())
        try:
            done, _ = wait([ready, served], return_when=FIRST_COMPLETED)
            opened = ready.result() if ready in done else served.result()
            assert isinstance(opened, Services)
            opened.fill()
            yield opened
        finally:
            ending.set()
            served.result()


def method_path(method: MethodDescriptor) -> str:
    """Return the path of an RPC as gRPC names it."""
    return f"/{method.containing_service.full_name}/{method.name}"


def _known(folder: Path, embedder: FakeClassifier) -> dict[str, Sequence[Any]]:
    contract = embedder.contract
    fingerprints = [contract.fingerprint_of(one.output) for one in contract.spaces]
    vectors = [np.full(size, 0.5, "<f4").tobytes() for size in (2, 3, 4, 64)]
    ids = [*ITEMS, "i9"]
    pictures = [_picture(number) for number in range(3)]
    fields = ["category", "attributes.price"]
    mask = ["title", "category", "attributes", "attributes.price", "pictures", "vectors", "uri"]
    return {
        "": ["a", "b", "like", *TYPES],
        "bytes": [*vectors, *pictures],
        "id": [*ids, *USERS],
        "ids": ids,
        "item_id": ids,
        "item_ids": ids,
        "exclude": ids,
        "candidates": ids,
        "user_id": [*USERS, "u9"],
        "space": ["", "visual", "pair_source", "pair_target", "taste", OWN.name],
        "spaces": ["visual", OWN.name],
        "fingerprint": ["", *fingerprints],
        "values": [*vectors],
        "value": [*vectors],
        "picture": pictures,
        "pictures": pictures,
        "content": pictures,
        "picture_id": ["", "0"],
        "etag": [""],
        "request_id": ["", "r1", "r2"],
        "kind": ["like", "buy"],
        "category": ["", *TYPES],
        "target_categories": TYPES,
        "class_name": SHADES,
        "field": fields,
        "exists": fields,
        "filter": ["", 'category = "sofa"', "attributes.price < 30"],
        "paths": mask,
        "page_token": [""],
        "after_id": ["", "i2"],
        "outputs": ["features", "embedding", "shade", "source"],
        "k": [1, 3, 10],
        "page_size": [0, 1, 10],
        "left": [0, 1],
        "right": [1, 2],
        "seconds": [0, 1, 1_700_000_000],
        "nanos": [0, 5_000_000],
        # Of the operators' service; nothing may be written outside the folder.
        "folder": [str(folder / "backups"), "backups", ""],
        "path": [str(folder / "data"), str(folder / "nothing"), "data", ""],
        "name": ["", "operations/check-000001", "one", "../x", "x" * 200, "operations/backup-" + "9" * 5000],
    }


def _picture(number: int) -> bytes:
    if number % 2:
        return png(_COLOURS[number % 3], _COLOURS[(number + 1) % 3])
    target = io.BytesIO()
    Image.new("RGB", (40, 30), _COLOURS[number % 3]).save(target, "JPEG" if number % 3 else "WEBP")
    return target.getvalue()


def _factors() -> list[catalog_pb2.ImportFactorsRequest]:
    header, items, users = factors(len(ITEMS), len(USERS))
    of_header = catalog_pb2.FactorsHeader(
        fingerprint=header.fingerprint,
        dimension=header.dimension,
        item_count=header.items,
        user_count=header.users,
        temperature=header.temperature,
        fold_in_start=header.start.tobytes(),
    )
    of_items = catalog_pb2.FactorItems(
        ids=items.ids,
        factors=items.factors.tobytes(),
        fold_in_liked=items.liked.tobytes(),
        fold_in_known=items.known.tobytes(),
    )
    of_users = catalog_pb2.FactorUsers(ids=users.ids, factors=users.factors.tobytes())
    return [
        catalog_pb2.ImportFactorsRequest(header=of_header),
        catalog_pb2.ImportFactorsRequest(items=of_items),
        catalog_pb2.ImportFactorsRequest(users=of_users),
    ]
