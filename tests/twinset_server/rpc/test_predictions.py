"""Classes and categories over a real connection: what is told, and how it is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import grpc
import grpc.aio
import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.embedder import SHADES, TYPES, FakeClassifier
from fakes.pictures import BLUE, RED, TEXT, png
from fakes.service import filled_by
from twinset.v1 import catalog_pb2, catalog_pb2_grpc, embedding_pb2, embedding_pb2_grpc
from twinset_server.config import ServerSettings
from twinset_server.embedding import PictureEmbedder
from twinset_server.rpc.server import RpcServer


@pytest.fixture
def embedder() -> FakeClassifier:
    return FakeClassifier()


@pytest.fixture
def catalog(embedder: FakeClassifier) -> FakeCatalog:
    return FakeCatalog(filled_by(embedder.contract))


@pytest.fixture
async def channel(catalog: FakeCatalog, pictures: PictureEmbedder) -> AsyncIterator[grpc.aio.Channel]:
    server = RpcServer(catalog, pictures, ServerSettings(port=0, drain_s=0), fill_category="shade")
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop()


async def embed(channel: grpc.aio.Channel, **fields: object) -> list[embedding_pb2.EmbedResult]:
    request = embedding_pb2.EmbedRequest(**fields)  # type: ignore[arg-type]
    return list((await embedding_pb2_grpc.EmbeddingServiceStub(channel).Embed(request)).results)


async def refusal(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(caught.value.details())


def classes(result: embedding_pb2.EmbedResult) -> list[tuple[str, list[str]]]:
    return [
        (one.output, [prediction.class_name for prediction in one.predictions])
        for one in result.embedding.classifications
    ]


async def test_the_likeliest_classes_come_where_they_are_asked_for(channel: grpc.aio.Channel) -> None:
    pictures = [png(BLUE), TEXT, png(RED)]
    blue, text, red = await embed(channel, pictures=pictures, predictions=1)
    assert (classes(blue), classes(red)) == ([("shade", ["blue"])], [("shade", ["red"])])
    assert text.WhichOneof("result") == "error"
    assert [output.name for output in blue.embedding.outputs] == ["embedding", "source", "target"]
    (every, *_) = await embed(channel, pictures=pictures, predictions=100, outputs=["embedding"])
    (told,) = every.embedding.classifications
    assert {prediction.class_name for prediction in told.predictions} == set(SHADES)
    assert sum(prediction.probability for prediction in told.predictions) == pytest.approx(1, abs=1e-5)
    assert [output.name for output in every.embedding.outputs] == ["embedding"]


async def test_no_classes_come_where_none_are_asked_for(channel: grpc.aio.Channel) -> None:
    (result,) = await embed(channel, pictures=[png(RED)])
    assert classes(result) == []
    assert not result.embedding.category_unknown


async def test_each_picture_is_embedded_with_its_own_category(channel: grpc.aio.Channel) -> None:
    categories = ["lamp", "", "rug", "sofa"]
    results = await embed(channel, pictures=[png(RED)] * 4, outputs=["source"], categories=categories)
    steps = [np.frombuffer(one.embedding.outputs[0].vector.values, "<f4")[0] // 10 for one in results]
    assert steps == [2, 0, 0, 1]
    assert [one.embedding.category_unknown for one in results] == [False, False, True, False]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"predictions": -1}, "predictions: is -1: ask for 0 to 100"),
        ({"predictions": 101}, "predictions: is 101: ask for 0 to 100"),
        ({"categories": ["sofa"]}, "categories: holds 1 for 2 pictures: give one each, or none"),
        ({"categories": ["sofa", "x" * 257]}, r"categories[1]: "),
    ],
)
async def test_what_makes_no_sense_is_refused(
    channel: grpc.aio.Channel, fields: dict[str, object], complaint: str
) -> None:
    assert complaint in await refusal(embed(channel, pictures=[png(RED)] * 2, **fields))


async def test_a_stream_keeps_its_predictions_and_takes_categories_message_by_message(
    channel: grpc.aio.Channel,
) -> None:
    async def requests() -> AsyncIterator[embedding_pb2.StreamEmbedRequest]:
        yield embedding_pb2.StreamEmbedRequest(pictures=[png(RED)], outputs=["target"], predictions=1)
        yield embedding_pb2.StreamEmbedRequest(pictures=[png(BLUE)] * 2, categories=["lamp", "rug"])

    stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
    results = [result async for answer in stub.StreamEmbed(requests()) for result in answer.results]
    assert [classes(one)[0][1] for one in results] == [["red"], ["blue"], ["blue"]]
    steps = [np.frombuffer(one.embedding.outputs[0].vector.values, "<f4")[0] // 20 for one in results]
    assert steps == [0, 2, 0]
    assert [one.embedding.category_unknown for one in results] == [False, False, True]


async def test_a_stream_that_asks_for_predictions_later_is_refused(channel: grpc.aio.Channel) -> None:
    async def requests() -> AsyncIterator[embedding_pb2.StreamEmbedRequest]:
        for predictions in (0, 1):
            yield embedding_pb2.StreamEmbedRequest(pictures=[png(RED)], predictions=predictions)

    stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError, match="predictions: belong in the first message of the stream only"):
        [answer async for answer in stub.StreamEmbed(requests())]


async def test_the_catalogue_tells_what_its_model_knows(channel: grpc.aio.Channel, embedder: FakeClassifier) -> None:
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    model = (await stub.GetCatalog(catalog_pb2.GetCatalogRequest())).model
    assert (model.name, model.fingerprint) == (embedder.contract.model, embedder.contract.fingerprint)
    assert [(one.output, tuple(one.classes)) for one in model.class_outputs] == [("shade", SHADES)]
    assert (tuple(model.categories), list(model.category_spaces)) == (TYPES, ["pair_source", "pair_target"])
    pair = model.pair
    assert pair.metric == embedding_pb2.METRIC_EUCLIDEAN
    assert (pair.offset, pair.scale, pair.shift, pair.prior, pair.ece) == (1.5, 0.5, -0.25, 0.5, 0.02)


async def put(channel: grpc.aio.Channel, items: Sequence[catalog_pb2.Item]) -> list[catalog_pb2.PutItemResult]:
    async def requests() -> AsyncIterator[catalog_pb2.PutItemsRequest]:
        yield catalog_pb2.PutItemsRequest(items=items)

    answers = [one async for one in catalog_pb2_grpc.CatalogServiceStub(channel).PutItems(requests())]
    return list(answers[0].results)


async def test_a_put_tells_of_categories_that_the_model_does_not_know(channel: grpc.aio.Channel) -> None:
    picture = [catalog_pb2.Picture(content=png(RED))]
    results = await put(
        channel, [catalog_pb2.Item(id=name or "none", category=name, pictures=picture) for name in ("rug", "sofa", "")]
    )
    assert [one.WhichOneof("result") for one in results] == ["receipt"] * 3
    assert [one.category_unknown for one in results] == [True, False, False]

    async def updates() -> AsyncIterator[catalog_pb2.UpdateItemsRequest]:
        item = catalog_pb2.Item(id="sofa", category="rug")
        update = catalog_pb2.ItemUpdate(item=item, update_mask={"paths": ["category"]})  # type: ignore[arg-type]
        yield catalog_pb2.UpdateItemsRequest(updates=[update])

    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    (answer,) = [one async for one in stub.UpdateItems(updates())]
    assert answer.results[0].category_unknown


async def test_a_predicted_category_is_marked_and_stays_a_guess_when_it_is_put_back(
    channel: grpc.aio.Channel,
) -> None:
    await put(channel, [catalog_pb2.Item(id="a", pictures=[catalog_pb2.Picture(content=png(RED))])])
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    item = (await stub.GetItem(catalog_pb2.GetItemRequest(id="a"))).item
    assert (item.category, item.category_predicted.class_name) == ("red", "red")
    assert 0.5 < item.category_predicted.probability <= 1
    copied = catalog_pb2.Item(id="b", category=item.category, category_predicted=item.category_predicted)
    changed = catalog_pb2.Item(id="c", category="sofa", category_predicted=item.category_predicted)
    await put(channel, [copied, changed])
    b, c = [(await stub.GetItem(catalog_pb2.GetItemRequest(id=name))).item for name in "bc"]
    assert (b.category, b.category_predicted) == ("red", item.category_predicted)
    assert (c.category, c.HasField("category_predicted")) == ("sofa", False)
    impossible = catalog_pb2.Item(
        id="d", category="x", category_predicted=embedding_pb2.Prediction(class_name="x", probability=1.5)
    )
    (result,) = await put(channel, [impossible])
    assert "category_predicted.probability: is 1.5" in result.error.message
