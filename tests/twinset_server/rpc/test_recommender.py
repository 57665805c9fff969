"""Batches and streams of recommendations."""

import asyncio
import dataclasses
import datetime
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc.aio
import pytest
from google.rpc import code_pb2

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeEmbedder
from fakes.pictures import BLUE, GREEN, RED, png
from twinset.v1 import catalog_pb2, catalog_pb2_grpc, filter_pb2, recommender_pb2, recommender_pb2_grpc
from twinset_server.domain import CatalogStatus, ItemDeletion, MeasuredRecall, Search, SearchResult
from twinset_server.limits import MAX_REQUESTS_PER_MESSAGE

COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> recommender_pb2_grpc.RecommenderServiceStub:
    items = [
        catalog_pb2.Item(id=name, title=name.title(), pictures=[catalog_pb2.Picture(content=png(colour))])
        for name, colour in COLOURS.items()
    ]

    async def requests() -> AsyncIterator[catalog_pb2.PutItemsRequest]:
        yield catalog_pb2.PutItemsRequest(items=items)

    [answer] = [one async for one in catalog_pb2_grpc.CatalogServiceStub(channel).PutItems(requests())]
    assert all(result.HasField("receipt") for result in answer.results)
    return recommender_pb2_grpc.RecommenderServiceStub(channel)


def by_picture(colour: tuple[int, int, int], **fields: Any) -> recommender_pb2.RecommendRequest:
    return recommender_pb2.RecommendRequest(examples=[{"picture": png(colour)}], **{"k": 1, **fields})


def by_item(name: str, **fields: Any) -> recommender_pb2.RecommendRequest:
    return recommender_pb2.RecommendRequest(examples=[{"item_id": name}], **fields)


def batch(*requests: recommender_pb2.RecommendRequest) -> recommender_pb2.BatchRecommendRequest:
    return recommender_pb2.BatchRecommendRequest(requests=requests)


async def stream_of(
    *messages: Sequence[recommender_pb2.RecommendRequest],
) -> AsyncIterator[recommender_pb2.StreamRecommendRequest]:
    for requests in messages:
        yield recommender_pb2.StreamRecommendRequest(requests=requests)


def found(results: Sequence[recommender_pb2.RecommendResult]) -> list[list[str] | str]:
    """Return the ids found for each request, or the field that its error names."""
    return [
        result.error.message.partition(":")[0]
        if result.WhichOneof("result") == "error"
        else [one.item.id for one in result.response.recommendations]
        for result in results
    ]


async def test_each_request_of_a_batch_is_answered_as_by_itself(
    stub: recommender_pb2_grpc.RecommenderServiceStub,
) -> None:
    requests = [
        by_picture(BLUE),
        by_item("red", k=2, view=catalog_pb2.ITEM_VIEW_BASIC),
        by_item("green", exclude=["red"], exact=True),
    ]
    answer = await stub.BatchRecommend(batch(*requests))
    alone = [await stub.Recommend(one) for one in requests]
    for response in (*alone, *(result.response for result in answer.results)):
        assert response.recommendation_id
        response.recommendation_id = ""
    assert [result.response for result in answer.results] == alone
    assert answer.results[1].response.recommendations[0].item.title


async def test_a_bad_request_leaves_the_others_of_its_batch_alone(
    stub: recommender_pb2_grpc.RecommenderServiceStub,
) -> None:
    answer = await stub.BatchRecommend(
        batch(
            by_picture(RED),
            by_picture(RED, k=0),
            by_item("nobody"),
            recommender_pb2.RecommendRequest(),
            recommender_pb2.RecommendRequest(examples=[{"picture": b"no picture"}]),
            by_picture(GREEN),
        )
    )
    assert found(answer.results) == [
        ["red"],
        "requests[1].k",
        "no item 'nobody'",
        "requests[3].examples",
        "requests[4].examples[0].picture",
        ["green"],
    ]
    assert [result.error.code for result in answer.results] == [
        0,
        code_pb2.INVALID_ARGUMENT,
        code_pb2.NOT_FOUND,
        code_pb2.INVALID_ARGUMENT,
        code_pb2.INVALID_ARGUMENT,
        0,
    ]


async def test_a_batch_without_a_model_answers_what_needs_none(
    stub: recommender_pb2_grpc.RecommenderServiceStub, embedder: FakeEmbedder
) -> None:
    embedder.down = True
    answer = await stub.BatchRecommend(batch(by_picture(RED), by_item("red", k=1)))
    assert answer.results[0].error.code == code_pb2.UNAVAILABLE
    assert answer.results[1].response.recommendations


async def test_a_batch_with_only_bad_requests_is_answered(stub: recommender_pb2_grpc.RecommenderServiceStub) -> None:
    assert found((await stub.BatchRecommend(batch(by_item("red", k=-1)))).results) == ["requests[0].k"]


async def test_an_item_deleted_after_a_batch_was_searched_is_replaced(
    stub: recommender_pb2_grpc.RecommenderServiceStub, catalog: FakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_many = catalog.search_many

    async def then_deleted(searches: Sequence[Search]) -> list[SearchResult]:
        results = await search_many(searches)
        await catalog.write([ItemDeletion("red")])
        return results

    monkeypatch.setattr(catalog, "search_many", then_deleted)
    answer = await stub.BatchRecommend(batch(by_picture(RED, view=catalog_pb2.ITEM_VIEW_BASIC)))
    [[name]] = found(answer.results)
    assert name in ("green", "blue")


@pytest.mark.parametrize("count", [0, MAX_REQUESTS_PER_MESSAGE + 1])
async def test_a_batch_of_no_requests_or_too_many_is_refused(
    stub: recommender_pb2_grpc.RecommenderServiceStub, count: int
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.BatchRecommend(batch(*[by_item("red")] * count))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith("requests: ")


async def test_a_batch_whose_answer_is_too_large_is_refused(
    stub: recommender_pb2_grpc.RecommenderServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinset_server.rpc.answers.MAX_RESPONSE_BYTES", 1024)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.BatchRecommend(batch(*[by_item("red")] * 20))
    assert (caught.value.details() or "").startswith("requests: asks for an answer of")


async def test_a_stream_answers_message_by_message_in_order_each_request_in_its_place(
    stub: recommender_pb2_grpc.RecommenderServiceStub,
) -> None:
    messages = [[by_picture(RED), by_item("nobody")], [by_picture(GREEN)], [by_picture(BLUE), by_picture(BLUE, k=0)]]
    answers = [found(answer.results) async for answer in stub.StreamRecommend(stream_of(*messages))]
    assert answers == [[["red"], "no item 'nobody'"], [["green"]], [["blue"], "requests[1].k"]]


async def test_a_stream_ends_at_a_message_without_requests_after_what_came_before(
    stub: recommender_pb2_grpc.RecommenderServiceStub,
) -> None:
    answers = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for answer in stub.StreamRecommend(stream_of([by_picture(RED)], [], [by_picture(RED)])):
            answers.append(answer)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(answers) == 1


async def test_a_stream_reads_no_more_than_it_may_hold(
    stub: recommender_pb2_grpc.RecommenderServiceStub, catalog: FakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched, may_go = 0, asyncio.Event()
    search_many = catalog.search_many

    async def held(searches: Sequence[Search]) -> list[SearchResult]:
        nonlocal searched
        searched += len(searches)
        await may_go.wait()
        return await search_many(searches)

    monkeypatch.setattr(catalog, "search_many", held)
    monkeypatch.setattr("twinset_server.rpc.recommender.MAX_UNDONE_REQUESTS", 6)
    answers = stub.StreamRecommend(stream_of(*[[by_item("red"), by_item("blue")]] * 8))
    reader = asyncio.create_task(_count(answers))
    while searched < 6:
        await asyncio.sleep(0.001)
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert searched == 6
    may_go.set()
    assert await reader == 8


async def _count(answers: AsyncIterator[Any]) -> int:
    return len([answer async for answer in answers])


async def test_a_filter_leaves_what_matches_and_facets_count_it(
    stub: recommender_pb2_grpc.RecommenderServiceStub,
) -> None:
    answer = await stub.Recommend(
        by_item("red", filter="NOT category:*", facets=[filter_pb2.FacetRequest(field="category")])
    )
    assert [one.item.id for one in answer.recommendations] == ["blue", "green"]
    assert (answer.matching_count, answer.facets[0].missing_count) == (3, 3)
    nothing = await stub.Recommend(by_item("red", filter_expression=filter_pb2.Filter(exists="category")))
    assert list(nothing.recommendations) == []
    assert not nothing.HasField("matching_count")


async def test_a_bad_filter_of_a_batch_is_refused_in_its_place(
    stub: recommender_pb2_grpc.RecommenderServiceStub,
) -> None:
    facet = filter_pb2.FacetRequest(field="title")
    answer = await stub.BatchRecommend(batch(by_item("red", filter="category ="), by_item("red", facets=[facet])))
    assert found(answer.results) == ["requests[0].filter", "requests[1].facets[0].field"]


async def test_the_catalogue_tells_the_recall_that_was_measured(
    channel: grpc.aio.Channel, catalog: FakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC)
    status = await catalog.status()
    first, *rest = status.spaces
    told = dataclasses.replace(first, recall=MeasuredRecall(0.97, 250, since))

    async def measured() -> CatalogStatus:
        return dataclasses.replace(status, spaces=[told, *rest])

    monkeypatch.setattr(catalog, "status", measured)
    answer = await catalog_pb2_grpc.CatalogServiceStub(channel).GetCatalog(catalog_pb2.GetCatalogRequest())
    recall = answer.spaces[0].measured_recall
    assert (recall.recall_at_10, recall.search_count) == (0.97, 250)
    assert recall.since.ToDatetime(datetime.UTC) == since
    assert not answer.spaces[1].HasField("measured_recall")
