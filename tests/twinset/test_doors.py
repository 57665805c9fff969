"""Every door of the service that a vector, factors or a model come in by: of another fingerprint they are refused.

The error is FAILED_PRECONDITION, and names both fingerprints. Doors are found by reading the protos, so that a new one
without a row here fails a test.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from fakes.embedder import FakeClassifier
from fakes.factors import each, factors
from fakes.interactions import interaction_contract
from fakes.items import put, writable
from fakes.pictures import png
from fakes.service import OWN, FakeService, filled_by
from twinset.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    embedding_pb2,
    pairs_pb2,
    ranking_pb2,
    recommender_pb2,
    recommender_pb2_grpc,
)
from twinset_server.domain import ItemVector

OTHER = "e" * 64
SERVICES = (
    embedding_pb2.DESCRIPTOR.services_by_name["EmbeddingService"],
    catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"],
    recommender_pb2.DESCRIPTOR.services_by_name["RecommenderService"],
)

Channel = grpc.Channel
Asking = Callable[[Channel], Iterable[status_pb2.Status]]


@dataclasses.dataclass(frozen=True)
class Door:
    """A field that something of a fingerprint comes in by, and what is asked through it: its answer is the error."""

    field: str
    ask: Asking
    expected: str
    given: str = OTHER


def vector(space: str, dimension: int, fingerprint: str = OTHER) -> embedding_pb2.Vector:
    return embedding_pb2.Vector(space=space, values=np.ones(dimension, "<f4").tobytes(), fingerprint=fingerprint)


CONTRACT = FakeClassifier().contract
FILLED = {space.name: space for space in filled_by(CONTRACT)}
LOOKS = vector("visual", FILLED["visual"].dimension)
SOURCE, TARGET = vector("pair_source", 2), vector("pair_target", 2)
HEADER, ITEMS, USERS = factors(seed=7)
ITEM = catalog_pb2.Item(id="a", vectors=[LOOKS])
PICTURED = catalog_pb2.Item(id="a", pictures=[catalog_pb2.Picture(content=png())])
SIDE = pairs_pb2.PairSide(item_id="i0")


def called(stub: type, method: str, request: Any) -> Asking:
    """Return what asks once, and gives the call's error."""

    def ask(channel: Channel) -> Iterable[status_pb2.Status]:
        with pytest.raises(grpc.RpcError) as caught:
            getattr(stub(channel), method)(request, timeout=10)
        yield rpc_status.from_call(caught.value)

    return ask


def streamed(stub: type, method: str, *requests: Any) -> Asking:
    """Return what asks in a stream, and gives the errors of its elements, or that of the call."""

    def ask(channel: Channel) -> Iterable[status_pb2.Status]:
        try:
            for response in getattr(stub(channel), method)(iter(requests), timeout=10):
                found = response.items if response.DESCRIPTOR.name == "ReplaceCatalogResponse" else response
                yield from (result.error for result in getattr(found, "results", ()))
        except grpc.RpcError as failure:
            yield rpc_status.from_call(failure)

    return ask


def recommending(**example: Any) -> recommender_pb2.RecommendRequest:
    return recommender_pb2.RecommendRequest(examples=[recommender_pb2.Example(**example)])


CATALOG, RECOMMENDER = catalog_pb2_grpc.CatalogServiceStub, recommender_pb2_grpc.RecommenderServiceStub


def batched(request: recommender_pb2.RecommendRequest) -> Asking:
    def ask(channel: Channel) -> Iterable[status_pb2.Status]:
        batch = recommender_pb2.BatchRecommendRequest(requests=[request])
        yield from (result.error for result in RECOMMENDER(channel).BatchRecommend(batch, timeout=10).results)

    return ask


def failed_sides(side: pairs_pb2.PairSide, *, left: bool) -> Asking:
    request = pairs_pb2.BatchScorePairsRequest(item_ids=["i0"], sides=[side], left=[int(left)], right=[int(not left)])

    def ask(channel: Channel) -> Iterable[status_pb2.Status]:
        yield from (one.error for one in RECOMMENDER(channel).BatchScorePairs(request, timeout=10).failed_sides)

    return ask


def updated(item: catalog_pb2.Item, mask: str) -> catalog_pb2.UpdateItemsRequest:
    request = catalog_pb2.UpdateItemsRequest()
    update = request.updates.add(item=item)
    update.update_mask.paths.append(mask)
    return request


COMPLETES, COMPLETED_BY = recommender_pb2.RELATION_COMPLETES, recommender_pb2.RELATION_COMPLETED_BY
VISUAL_PRINT, SOURCE_PRINT, TARGET_PRINT = (
    FILLED[name].fingerprint for name in ("visual", "pair_source", "pair_target")
)
RANK = "RankForUser: rerank"
HEADER_MESSAGE = catalog_pb2.FactorsHeader(
    fingerprint=HEADER.fingerprint,
    dimension=4,
    item_count=6,
    user_count=4,
    temperature=0.5,
    fold_in_start=np.zeros(3, "<f4").tobytes(),
)

DOORS = [
    Door(
        "PutItems: items.vectors",
        streamed(CATALOG, "PutItems", catalog_pb2.PutItemsRequest(items=[ITEM])),
        VISUAL_PRINT,
    ),
    Door(
        "UpdateItems: updates.item.vectors",
        streamed(CATALOG, "UpdateItems", updated(catalog_pb2.Item(id="i0", vectors=[LOOKS]), "vectors")),
        VISUAL_PRINT,
    ),
    Door(
        "ReplaceCatalog: items.items.vectors",
        streamed(
            CATALOG,
            "ReplaceCatalog",
            catalog_pb2.ReplaceCatalogRequest(items=catalog_pb2.FeedItems(items=[ITEM])),
        ),
        VISUAL_PRINT,
    ),
    Door(
        "PutUsers: users.vectors",
        streamed(
            CATALOG,
            "PutUsers",
            catalog_pb2.PutUsersRequest(users=[catalog_pb2.User(id="u", vectors=[LOOKS])]),
        ),
        VISUAL_PRINT,
    ),
    Door("Recommend: examples.vector", called(RECOMMENDER, "Recommend", recommending(vector=LOOKS)), VISUAL_PRINT),
    Door(
        "Recommend: examples.vector",
        called(RECOMMENDER, "Recommend", recommending(vector=SOURCE, relation=COMPLETES)),
        SOURCE_PRINT,
    ),
    Door(
        "Recommend: examples.vector",
        called(RECOMMENDER, "Recommend", recommending(vector=TARGET, relation=COMPLETED_BY)),
        TARGET_PRINT,
    ),
    Door(
        "Recommend: examples.vector",
        called(
            RECOMMENDER,
            "Recommend",
            recommender_pb2.RecommendRequest(
                space="taste", examples=[recommender_pb2.Example(vector=vector("taste", 4))]
            ),
        ),
        HEADER.fingerprint,
    ),
    Door("BatchRecommend: requests.examples.vector", batched(recommending(vector=LOOKS)), VISUAL_PRINT),
    Door(
        "StreamRecommend: requests.examples.vector",
        streamed(
            RECOMMENDER,
            "StreamRecommend",
            recommender_pb2.StreamRecommendRequest(requests=[recommending(vector=LOOKS)]),
        ),
        VISUAL_PRINT,
    ),
    Door(
        "ScorePair: left.vector",
        called(RECOMMENDER, "ScorePair", pairs_pb2.ScorePairRequest(left={"vector": SOURCE}, right=SIDE)),
        SOURCE_PRINT,
    ),
    Door(
        "ScorePair: right.vector",
        called(RECOMMENDER, "ScorePair", pairs_pb2.ScorePairRequest(left=SIDE, right={"vector": TARGET})),
        TARGET_PRINT,
    ),
    Door("BatchScorePairs: sides.vector", failed_sides(pairs_pb2.PairSide(vector=SOURCE), left=True), SOURCE_PRINT),
    Door("BatchScorePairs: sides.vector", failed_sides(pairs_pb2.PairSide(vector=TARGET), left=False), TARGET_PRINT),
    Door(
        "CompleteSet: given.vector",
        called(
            RECOMMENDER,
            "CompleteSet",
            pairs_pb2.CompleteSetRequest(given=[pairs_pb2.PairSide(vector=SOURCE)], slots=[pairs_pb2.Slot()]),
        ),
        SOURCE_PRINT,
    ),
    Door(
        RANK,
        called(
            RECOMMENDER,
            "RankForUser",
            ranking_pb2.RankForUserRequest(user_id="u0", rerank=ranking_pb2.Rerank()),
        ),
        HEADER.fingerprint,
    ),
    Door(
        RANK,
        called(
            RECOMMENDER,
            "RankForUser",
            ranking_pb2.RankForUserRequest(
                user_id="u0", rerank=ranking_pb2.Rerank(model=interaction_contract(OTHER).model)
            ),
        ),
        HEADER.fingerprint,
    ),
]


@pytest.fixture(scope="module")
def channel() -> Iterator[Channel]:
    """Return a channel to a service with looks, pairs and imported factors, whose Triton ranks by other factors."""
    with FakeService(FakeClassifier()) as service, grpc.insecure_channel(service.address) as opened:
        sides = [ItemVector(name, "", np.ones(2, np.float32)) for name in ("pair_source", "pair_target")]
        asyncio.run(put(service.catalog, [writable(item_id, sides) for item_id in ITEMS.ids]))
        asyncio.run(service.catalog.import_factors(HEADER, each(ITEMS, USERS)))
        service.interactions.serve([interaction_contract(OTHER)])
        yield opened


@pytest.fixture(scope="module")
def outgrown() -> Iterator[Channel]:
    """Return a channel to a service whose catalogue is of another model than the one that it serves."""
    spaces = [dataclasses.replace(space, fingerprint=OTHER) for space in FILLED.values()]
    taste = dataclasses.replace(OWN, name="taste", fingerprint=OTHER)
    with (
        FakeService(FakeClassifier(), spaces=[*spaces, taste]) as service,
        grpc.insecure_channel(service.address) as opened,
    ):
        asyncio.run(put(service.catalog, [writable("i0")]))
        yield opened


@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door.field}, {door.expected[:4]}")
def test_what_is_of_another_fingerprint_is_refused_with_both_named(channel: Channel, door: Door) -> None:
    check_refused(list(door.ask(channel)), door)


PICTURES = [
    Door(
        "PutItems",
        streamed(CATALOG, "PutItems", catalog_pb2.PutItemsRequest(items=[PICTURED])),
        VISUAL_PRINT,
    ),
    Door(
        "UpdateItems",
        streamed(CATALOG, "UpdateItems", updated(catalog_pb2.Item(id="i0", pictures=PICTURED.pictures), "pictures")),
        VISUAL_PRINT,
    ),
    Door(
        "ReplaceCatalog",
        streamed(
            CATALOG,
            "ReplaceCatalog",
            catalog_pb2.ReplaceCatalogRequest(items=catalog_pb2.FeedItems(items=[PICTURED])),
        ),
        VISUAL_PRINT,
    ),
    Door("Recommend", called(RECOMMENDER, "Recommend", recommending(picture=png())), VISUAL_PRINT),
    Door(
        "Recommend",
        called(RECOMMENDER, "Recommend", recommending(picture=png(), relation=COMPLETES)),
        SOURCE_PRINT,
    ),
    Door("BatchRecommend", batched(recommending(picture=png())), VISUAL_PRINT),
    Door(
        "StreamRecommend",
        streamed(
            RECOMMENDER,
            "StreamRecommend",
            recommender_pb2.StreamRecommendRequest(requests=[recommending(picture=png())]),
        ),
        VISUAL_PRINT,
    ),
    Door(
        "ScorePair",
        called(RECOMMENDER, "ScorePair", pairs_pb2.ScorePairRequest(left={"picture": png()}, right=SIDE)),
        SOURCE_PRINT,
    ),
    Door(
        "BatchScorePairs",
        called(
            RECOMMENDER,
            "BatchScorePairs",
            pairs_pb2.BatchScorePairsRequest(item_ids=["i0"], left=[0], right=[0]),
        ),
        SOURCE_PRINT,
    ),
    Door(
        "CompleteSet",
        called(
            RECOMMENDER,
            "CompleteSet",
            pairs_pb2.CompleteSetRequest(given=[{"picture": png()}], slots=[pairs_pb2.Slot()]),
        ),
        SOURCE_PRINT,
    ),
    Door(
        "ImportFactors: header.fingerprint",
        streamed(CATALOG, "ImportFactors", catalog_pb2.ImportFactorsRequest(header=HEADER_MESSAGE)),
        HEADER.fingerprint,
    ),
]


@pytest.mark.parametrize("door", PICTURES, ids=lambda door: f"{door.field}, {door.expected[:4]}")
def test_a_model_of_another_fingerprint_than_the_catalogues_is_refused_with_both_named(
    outgrown: Channel, door: Door
) -> None:
    check_refused(list(door.ask(outgrown)), door)


def check_refused(errors: list[status_pb2.Status], door: Door) -> None:
    assert len(errors) == 1
    (error,) = errors
    assert error.code == code_pb2.FAILED_PRECONDITION, error.message
    for fingerprint in (door.given, door.expected):
        assert fingerprint in error.message
    failure = error_details_pb2.PreconditionFailure()
    assert any(detail.Unpack(failure) for detail in error.details)
    assert door.given in failure.violations[0].description
    assert door.expected in failure.violations[0].description


def test_every_door_of_the_protos_has_a_row() -> None:
    found = {
        f"{method.name}: {'.'.join(path)}"
        for service in SERVICES
        for method in service.methods
        for path in doors(method.input_type, ())
    }
    # A user's acts and pictures carry no fingerprint.
    assert found == {door.field for door in (*DOORS, *PICTURES) if ":" in door.field}
    pictures = {method.name for service in SERVICES for method in service.methods if brings_pictures(method.input_type)}
    assert pictures - {"Embed", "StreamEmbed"} == {door.field for door in PICTURES if ":" not in door.field}


def doors(
    message: Descriptor, within: tuple[str, ...], above: tuple[Descriptor, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Yield the paths to fields that hold a vector, a fingerprint, or name a model that was trained on factors."""
    for field in message.fields:
        path, inner = (*within, field.name), field.message_type
        if field.name == "fingerprint" or (inner is not None and inner.name in ("Vector", "Rerank")):
            yield path
        elif inner is not None and inner not in above:
            yield from doors(inner, path, (*above, message))


def brings_pictures(message: Descriptor, above: tuple[Descriptor, ...] = ()) -> bool:
    return any(
        field.name in ("picture", "pictures")
        or (
            field.message_type is not None
            and field.message_type not in above
            and brings_pictures(field.message_type, (*above, message))
        )
        for field in message.fields
    )
