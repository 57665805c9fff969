"""Pages of recommendations: together they are the answer that would have come at once."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.items import delete, put, vectored, writable
from twinset.v1 import catalog_pb2, recommender_pb2, recommender_pb2_grpc
from twinset_server.config import ServerSettings
from twinset_server.domain import ItemVector
from twinset_server.embedding import PictureEmbedder
from twinset_server.rpc.server import RpcServer

COUNT = 23


def at(n: float) -> np.ndarray:
    """Return a vector that is the nearer to the example, the smaller `n` is."""
    return np.array([n, 0], np.float32)


@pytest.fixture
async def stub(channel: grpc.aio.Channel, catalog: FakeCatalog) -> recommender_pb2_grpc.RecommenderServiceStub:
    kinds = [{"kind": f"{n % 3}"} for n in range(COUNT)]
    await put(
        catalog,
        [writable(f"{n:03d}", [ItemVector("own", "", at(n))], attributes=kinds[n], title=f"{n}") for n in range(COUNT)],
    )
    return recommender_pb2_grpc.RecommenderServiceStub(channel)


def ask(**fields: Any) -> recommender_pb2.RecommendRequest:
    example = recommender_pb2.Example(vector={"space": "own", "values": at(0).astype("<f4").tobytes()})
    return recommender_pb2.RecommendRequest(examples=[example], space="own", **{"k": COUNT, **fields})


def ids(answer: recommender_pb2.RecommendResponse) -> list[str]:
    return [one.item.id for one in answer.recommendations]


async def pages(stub: recommender_pb2_grpc.RecommenderServiceStub, **fields: Any) -> list[Any]:
    """Return the pages of an answer, the first one first."""
    found = [await stub.Recommend(ask(**fields))]
    while found[-1].next_page_token:
        found.append(await stub.Recommend(ask(page_token=found[-1].next_page_token, **fields)))
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"view": catalog_pb2.ITEM_VIEW_FULL},
        {"explain": True},
        {"mmr_lambda": 0.5, "k": 20},
        {"group_by": {"field": "attributes.kind", "size": 4}},
    ],
    ids=lambda fields: "-".join(fields) or "plain",
)
async def test_pages_equal_one_long_answer(
    stub: recommender_pb2_grpc.RecommenderServiceStub, fields: dict[str, Any]
) -> None:
    whole = await stub.Recommend(ask(**fields))
    found = await pages(stub, page_size=5, **fields)
    assert [one for page in found for one in page.recommendations] == list(whole.recommendations)
    assert all(len(page.recommendations) == 5 for page in found[:-1])
    assert len({page.recommendation_id for page in found}) == 1
    assert {page.sequence for page in found} == {whole.sequence}


async def test_pages_stay_what_they_were_while_others_write(
    stub: recommender_pb2_grpc.RecommenderServiceStub, catalog: FakeCatalog
) -> None:
    whole = ids(await stub.Recommend(ask()))
    found = [await stub.Recommend(ask(page_size=5))]
    for turn in range(100):
        if not found[-1].next_page_token:
            break
        # A new best item, an old one that is better now, and one that was given already and is worse now.
        moved = whole[8 + turn]
        await put(catalog, [vectored(n, at(x), space="own") for n, x in (("new", 0), (moved, 0), ("000", 99))])
        found.append(await stub.Recommend(ask(page_size=5, page_token=found[-1].next_page_token)))
    assert [one for page in found for one in ids(page)] == whole


async def test_deleted_items_are_gone_from_pages_that_are_full_all_the_same(
    stub: recommender_pb2_grpc.RecommenderServiceStub, catalog: FakeCatalog
) -> None:
    first = await stub.Recommend(ask(page_size=4))
    for n in (5, 6, 12, 22):
        await delete(catalog, f"{n:03d}")
    second = await stub.Recommend(ask(page_size=4, page_token=first.next_page_token))
    assert ids(second) == ["004", "007", "008", "009"]
    third = await stub.Recommend(ask(page_size=100, page_token=second.next_page_token))
    assert ids(third) == [f"{n:03d}" for n in range(10, 22) if n != 12]
    assert not third.next_page_token


async def test_a_token_holds_in_every_worker(
    stub: recommender_pb2_grpc.RecommenderServiceStub, catalog: FakeCatalog, pictures: PictureEmbedder
) -> None:
    first = await stub.Recommend(ask(page_size=20))
    async with _another(catalog, pictures) as other:
        second = await other.Recommend(ask(page_size=20, page_token=first.next_page_token))
    assert ids(second) == ["020", "021", "022"]


async def test_pages_of_a_batch_are_answered_in_their_places(
    stub: recommender_pb2_grpc.RecommenderServiceStub,
) -> None:
    first = await stub.Recommend(ask(page_size=20))
    requests = [ask(page_size=20, page_token=first.next_page_token), ask(page_size=2), ask(page_size=2, page_token="x")]
    answer = await stub.BatchRecommend(recommender_pb2.BatchRecommendRequest(requests=requests))
    assert ids(answer.results[0].response) == ["020", "021", "022"]
    assert ids(answer.results[1].response) == ["000", "001"]
    assert answer.results[1].response.next_page_token
    assert answer.results[2].error.message.startswith("requests[2].page_token: ")


@pytest.mark.parametrize(
    "changed",
    [{"k": 22}, {"filter": "category = shoes"}, {"exclude": ["a"]}, {"exact": True}, {"view": 2}, {"explain": True}],
    ids=str,
)
async def test_changed_arguments_with_a_token_are_refused(
    stub: recommender_pb2_grpc.RecommenderServiceStub, changed: dict[str, Any]
) -> None:
    first = await stub.Recommend(ask(page_size=5))
    await _refused(stub, ask(page_size=5, page_token=first.next_page_token, **changed), "other arguments")


@pytest.mark.parametrize("where", [0, 20, -30, -1])
async def test_a_damaged_token_is_refused(stub: recommender_pb2_grpc.RecommenderServiceStub, where: int) -> None:
    first = await stub.Recommend(ask(page_size=5))
    held = bytearray(base64.urlsafe_b64decode(first.next_page_token))
    held[where] ^= 1
    token = base64.urlsafe_b64encode(held).decode()
    await _refused(stub, ask(page_size=5, page_token=token), "damaged" if where else "other arguments")
    await _refused(stub, ask(page_size=5, page_token=first.next_page_token[:-8]), "damaged")


async def test_a_page_with_vectors_is_no_longer_than_other_answers_with_them(
    stub: recommender_pb2_grpc.RecommenderServiceStub,
) -> None:
    fields = {"view": catalog_pb2.ITEM_VIEW_FULL, "k": 1000}
    first = await stub.Recommend(ask(page_size=5, **fields))
    assert len(first.recommendations) == 5
    await _refused(stub, ask(page_size=101, page_token=first.next_page_token, **fields), "page_size")


async def _refused(
    stub: recommender_pb2_grpc.RecommenderServiceStub, request: recommender_pb2.RecommendRequest, told: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Recommend(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told in (caught.value.details() or "")


@asynccontextmanager
async def _another(
    catalog: FakeCatalog, pictures: PictureEmbedder
) -> AsyncIterator[recommender_pb2_grpc.RecommenderServiceStub]:
    """Another worker on the same catalogue."""
    server = RpcServer(catalog, pictures, ServerSettings(port=0, drain_s=0))
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield recommender_pb2_grpc.RecommenderServiceStub(channel)
    await server.stop()
