"""Pairs and sets over gRPC."""

import math
from typing import Any

import grpc.aio
import numpy as np
import pytest
from google.rpc import code_pb2

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeClassifier, FakeEmbedder
from fakes.items import new_picture, put, writable
from fakes.service import filled_by
from twinset.v1 import catalog_pb2, embedding_pb2, pairs_pb2, recommender_pb2, recommender_pb2_grpc
from twinset_server.domain import ItemVector
from twinset_server.limits import MAX_PAIRS

SOURCE, TARGET = "9" * 64, "a" * 64

Stub = recommender_pb2_grpc.RecommenderServiceStub


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeClassifier()


@pytest.fixture
def catalog(embedder: FakeEmbedder) -> FakeCatalog:
    return FakeCatalog(filled_by(embedder.contract))


@pytest.fixture
async def stub(channel: grpc.aio.Channel, catalog: FakeCatalog) -> Stub:
    pieces = [("sofa", (0, 0), (2, 0)), ("lamp", (1, 1), (1, 0)), ("rug", (0, 3), (0, 2))]
    await put(
        catalog,
        [
            writable(
                item_id,
                [
                    ItemVector("pair_source", "p", np.array(source, np.float32)),
                    ItemVector("pair_target", "p", np.array(target, np.float32)),
                ],
                [new_picture("p", b"p")],
                category=item_id,
                title=item_id.title(),
            )
            for item_id, source, target in pieces
        ],
    )
    return Stub(channel)


def vector(space: str, *values: float) -> dict[str, Any]:
    fingerprint = SOURCE if space == "pair_source" else TARGET
    return {"vector": {"space": space, "values": np.array(values, "<f4").tobytes(), "fingerprint": fingerprint}}


def probability(distance: float) -> float:
    return 1 / (1 + math.exp(-(0.5 * (1.5 - distance) - 0.25)))


async def test_a_pair_is_answered_with_what_made_it(stub: Stub) -> None:
    answer = await stub.ScorePair(
        pairs_pb2.ScorePairRequest(left={"item_id": "sofa"}, right={"item_id": "lamp"}, both_directions=True)
    )
    assert answer.score.probability == pytest.approx(probability(1))
    assert answer.score.distance == pytest.approx(1)
    assert (answer.score.left_picture_id, answer.score.right_picture_id) == ("p", "p")
    assert answer.reverse.distance == pytest.approx(2)
    scoring = answer.scoring
    assert (scoring.pair.metric, scoring.pair.offset, scoring.prior) == (embedding_pb2.METRIC_EUCLIDEAN, 1.5, 0.5)
    assert (scoring.source_fingerprint, scoring.target_fingerprint) == (SOURCE, TARGET)
    assert not answer.left_category_unknown
    assert answer.sequence == 3


async def test_a_vector_without_its_category_is_answered_as_unknown(stub: Stub) -> None:
    request = pairs_pb2.ScorePairRequest(
        left=vector("pair_source", 0, 0), right=vector("pair_target", 1, 0) | {"category": "lamp"}, prior=0.5
    )
    answer = await stub.ScorePair(request)
    assert answer.score.probability == pytest.approx(probability(1))
    assert (answer.left_category_unknown, answer.right_category_unknown) == (True, False)
    assert not answer.HasField("reverse")


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"left": {}}, grpc.StatusCode.INVALID_ARGUMENT, "left: is empty"),
        ({"left": {"item_id": "sofa", "category": "x"}}, grpc.StatusCode.INVALID_ARGUMENT, "left.category"),
        ({"prior": 0.0}, grpc.StatusCode.INVALID_ARGUMENT, "prior"),
        ({"right": {"item_id": "nobody"}}, grpc.StatusCode.NOT_FOUND, "nobody"),
        ({"right": vector("pair_source", 0, 0)}, grpc.StatusCode.FAILED_PRECONDITION, "right.*'pair_target'"),
    ],
)
async def test_a_bad_pair_is_refused(stub: Stub, fields: dict[str, Any], code: grpc.StatusCode, said: str) -> None:
    request = {"left": {"item_id": "sofa"}, "right": {"item_id": "lamp"}, **fields}
    with pytest.raises(grpc.aio.AioRpcError, match=said) as failed:
        await stub.ScorePair(pairs_pb2.ScorePairRequest(**request))
    assert failed.value.code() is code


async def test_many_pairs_are_answered_in_columns(stub: Stub) -> None:
    request = pairs_pb2.BatchScorePairsRequest(
        item_ids=["sofa", "nobody", "lamp"],
        sides=[vector("pair_target", 1, 0), {"picture": b"none"}],
        left=[0, 0, 1, 0],
        right=[2, 3, 2, 4],
    )
    answer = await stub.BatchScorePairs(request)
    np.testing.assert_allclose(answer.probabilities, [probability(1), probability(1), np.nan, np.nan])
    np.testing.assert_allclose(answer.distances, [1, 1, np.nan, np.nan])
    assert [(one.side, one.error.code) for one in answer.failed_sides] == [
        (1, code_pb2.NOT_FOUND),
        (4, code_pb2.INVALID_ARGUMENT),
    ]
    assert "sides[1].picture" in answer.failed_sides[1].error.message
    assert list(answer.category_unknown_sides) == [3, 4]
    assert answer.scoring.pair.offset == 1.5
    assert not answer.reverse_probabilities
    both = await stub.BatchScorePairs(
        pairs_pb2.BatchScorePairsRequest(item_ids=["sofa", "lamp"], left=[0], right=[1], both_directions=True)
    )
    assert list(both.reverse_distances) == [2.0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"left": [], "right": []}, "left: holds 0"),
        ({"right": [0, 1]}, "right: holds 2 numbers, and left 1"),
        ({"right": [3]}, r"right\[0\]: is 3"),
        ({"item_ids": ["a", "b", "a"]}, r"item_ids\[2\].*twice"),
        ({"left": [0] * (MAX_PAIRS + 1)}, "left: holds 16385"),
        ({"sides": [{"item_id": "sofa"}]}, r"sides\[0\].item_id"),
        ({"sides": [{}]}, r"sides\[0\]: is empty"),
    ],
)
async def test_a_bad_table_of_pairs_is_refused(stub: Stub, fields: dict[str, Any], said: str) -> None:
    request = {"item_ids": ["sofa", "lamp"], "left": [0], "right": [1], **fields}
    with pytest.raises(grpc.aio.AioRpcError, match=said) as failed:
        await stub.BatchScorePairs(pairs_pb2.BatchScorePairsRequest(**request))
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_set_is_completed_with_items_by_their_view(stub: Stub) -> None:
    request = pairs_pb2.CompleteSetRequest(
        given=[{"item_id": "sofa"}],
        slots=[{"category": "lamp"}, {"filter": "category = rug"}, {"category": "bed"}],
        view=catalog_pb2.ITEM_VIEW_BASIC,
    )
    answer = await stub.CompleteSet(request)
    assert [slot.chosen.item.title for slot in answer.slots] == ["Lamp", "Rug", ""]
    assert not answer.slots[2].HasField("chosen")
    expected = [probability(1), probability(4), probability(2)]
    assert answer.score == pytest.approx(sum(map(math.log, expected)))
    assert (answer.pair_count, answer.exact, answer.sequence) == (3, True, 3)
    assert answer.slots[0].chosen.set_score == pytest.approx(answer.score)


async def test_complements_have_the_probability_of_their_pair(stub: Stub) -> None:
    for relation, sides in (
        (recommender_pb2.RELATION_COMPLETES, ("sofa", None)),
        (recommender_pb2.RELATION_COMPLETED_BY, (None, "sofa")),
    ):
        example = {"item_id": "sofa", "relation": relation}
        answer = await stub.Recommend(recommender_pb2.RecommendRequest(examples=[example], k=2))
        assert len(answer.recommendations) == 2
        for found in answer.recommendations:
            left, right = ({"item_id": side or found.item.id} for side in sides)
            pair = await stub.ScorePair(pairs_pb2.ScorePairRequest(left=left, right=right))
            assert found.probability == pytest.approx(pair.score.probability)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"given": []}, "given: holds 0"),
        ({"slots": [{"filter": "category ="}]}, r"slots\[0\].filter"),
        ({"beam": 0}, "beam: is 0"),
        ({"view": catalog_pb2.ITEM_VIEW_FULL, "alternatives": 100}, "alternatives.*FULL"),
    ],
)
async def test_a_bad_set_is_refused(stub: Stub, fields: dict[str, Any], said: str) -> None:
    request = {"given": [{"item_id": "sofa"}], "slots": [{"category": "lamp"}], **fields}
    with pytest.raises(grpc.aio.AioRpcError, match=said) as failed:
        await stub.CompleteSet(pairs_pb2.CompleteSetRequest(**request))
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


class TestWithoutPairs:
    @pytest.fixture
    def embedder(self) -> FakeEmbedder:
        return FakeEmbedder()

    async def test_a_model_that_tells_of_no_pairs_is_named(self, channel: grpc.aio.Channel) -> None:
        for call, request in (
            ("ScorePair", pairs_pb2.ScorePairRequest(left={"item_id": "a"}, right={"item_id": "b"})),
            ("BatchScorePairs", pairs_pb2.BatchScorePairsRequest(item_ids=["a"], left=[0], right=[0])),
            ("CompleteSet", pairs_pb2.CompleteSetRequest(given=[{"item_id": "a"}], slots=[{}])),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=r"colours-.*compatibility head") as failed:
                await getattr(Stub(channel), call)(request)
            assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION
