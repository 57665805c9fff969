"""Every answer of the recommender names itself, and an interaction may say which one it came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import grpc
import pytest

from fakes.embedder import TYPES, FakeClassifier
from fakes.pictures import png
from fakes.service import FakeService
from twinset import Client, Interaction, Item, Picture, Slot
from twinset.v1 import recommender_pb2, recommender_pb2_grpc

IDS = ["sofa", "lamp", "other"]


@pytest.fixture(scope="module")
def service() -> Iterator[FakeService]:
    with FakeService(FakeClassifier()) as service, Client(service.address) as client:
        for shade, item_id in enumerate(IDS):
            picture = Picture(png((80 * shade, 90, 20)))
            (put,) = client.put_items([Item(item_id, [picture], category=TYPES[shade % len(TYPES)])])
            assert put.error is None
        yield service


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with Client(service.address) as client:
        yield client


def streamed(client: Client) -> list[str]:
    request = recommender_pb2.RecommendRequest(examples=[{"item_id": "sofa"}], k=1)
    message = recommender_pb2.StreamRecommendRequest(requests=[request, request])
    with grpc.insecure_channel(client.server) as channel:
        stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
        [answer] = stub.StreamRecommend(iter([message]))
        batch = stub.BatchRecommend(recommender_pb2.BatchRecommendRequest(requests=[request, request]))
    return [one.response.recommendation_id for one in (*answer.results, *batch.results)]


ASKED: dict[str, Callable[[Client], list[str]]] = {
    "Recommend": lambda client: [client.recommend(item="sofa", k=1).recommendation_id],
    "BatchRecommend": streamed,
    "StreamRecommend": streamed,
    "ScorePair": lambda client: [client.score_pair("sofa", "lamp").recommendation_id],
    "BatchScorePairs": lambda client: list(client.score_pairs(["sofa"], ["lamp"]).recommendation_ids),
    "CompleteSet": lambda client: [client.complete_set(["sofa"], [Slot(TYPES[1])]).recommendation_id],
    "RankForUser": lambda client: [client.rank_for_user("ann").recommendation_id],
}


def test_no_method_of_the_service_is_left_out() -> None:
    methods = recommender_pb2.DESCRIPTOR.services_by_name["RecommenderService"].methods
    assert [method.name for method in methods] == list(ASKED)


@pytest.mark.parametrize("method", ASKED)
def test_each_answer_has_a_name_of_its_own_that_an_interaction_takes(client: Client, method: str) -> None:
    names = [name for _ in range(2) for name in ASKED[method](client)]
    assert len(set(names)) == len(names) >= 2
    for name in names:
        assert re.fullmatch("[0-9a-f]{32}", name)
        (put,) = client.put_interactions([Interaction("ann", "lamp", "buy", recommendation_id=name)])
        assert put.error is None
        assert list(client.export_interactions())[-1].recommendation_id == name
