"""Many recommendations at once, and how sure they must be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.pictures import BLUE, GREEN, RED, png
from fakes.server import FakeServer, unavailable
from twinset import Client, InvalidArgument, Item, NotFound, Picture, Query, QueryResult, TwinsetError

COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with Client(server.address, timeout_s=10) as client:
        items = [Item(name, (Picture(png(colour)),)) for name, colour in COLOURS.items()]
        assert not any(result.error for result in client.put_items(items))
        yield client


def ids(result: QueryResult) -> list[str]:
    assert result.recommendations is not None
    return [found.item.id for found in result.recommendations]


@pytest.mark.parametrize("method", ["recommend_many", "stream_recommend"])
def test_many_queries_are_answered_in_order_in_messages_of_so_many(
    client: Client, server: FakeServer, method: str
) -> None:
    queries = [Query(item=name, k=2) for name in COLOURS] * 5
    results = list(getattr(client, method)(iter(queries), batch=4))
    assert [result.query for result in results] == queries
    assert [ids(result) for result in results] == [
        [found.item.id for found in client.recommend(item=query.item, k=2)] for query in queries
    ]
    assert server.batches == [4, 4, 4, 3]


@pytest.mark.parametrize("method", ["recommend_many", "stream_recommend"])
def test_a_query_that_fails_carries_its_error_and_leaves_the_others_alone(client: Client, method: str) -> None:
    queries = [
        Query(item="red"),
        Query(item="nobody"),
        Query(picture=b"none"),
        Query(item="red", k=0),
        Query(item="blue"),
    ]
    results = list(getattr(client, method)(queries))
    assert [type(result.error) for result in results] == [
        type(None),
        NotFound,
        InvalidArgument,
        InvalidArgument,
        type(None),
    ]
    assert [result.recommendations is None for result in results] == [False, True, True, True, False]


@pytest.mark.parametrize("method", ["recommend_many", "stream_recommend"])
def test_a_query_needs_exactly_one_example(client: Client, method: str) -> None:
    with pytest.raises(ValueError, match="exactly one of item, picture, vector and examples"):
        list(getattr(client, method)([Query(item="red", picture=b"x")]))


def test_a_batch_is_tried_again_while_the_server_is_unavailable(client: Client, server: FakeServer) -> None:
    server.refusals = [unavailable(0)]
    [result] = client.recommend_many([Query(item="red", k=1)])
    assert ids(result)
    assert server.calls.count("BatchRecommend") == 2


def test_a_stream_that_breaks_raises_after_what_was_answered(client: Client, server: FakeServer) -> None:
    server.streamed, server.break_stream_after = 0, 2
    answers = client.stream_recommend([Query(item="red")] * 6, batch=1)
    assert ids(next(answers)) == ids(next(answers))
    with pytest.raises(TwinsetError):
        next(answers)


def test_the_accuracy_asked_for_reaches_the_server_and_the_plan_comes_back(client: Client, server: FakeServer) -> None:
    client.recommend(item="red")
    client.recommend(item="red", exact=True)
    answer = client.recommend(item="red", target_recall=0.9)
    assert server.accuracies == [None, True, 0.9]
    assert (answer.plan.method, answer.plan.width, answer.plan.expected_recall) == ("scan", 0, 1.0)
    with pytest.raises(ValueError, match="not both"):
        client.recommend(item="red", exact=True, target_recall=0.9)
