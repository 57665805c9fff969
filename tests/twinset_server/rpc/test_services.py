"""Every RPC over a real connection: what it answers, and how it refuses."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status.rpc_status import GRPC_DETAILS_METADATA_KEY

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeEmbedder
from fakes.pictures import BLUE, RED, TEXT, png
from twinset.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    recommender_pb2,
    recommender_pb2_grpc,
)
from twinset_server import logs
from twinset_server.domain import Float32Array, SearchResult
from twinset_server.errors import EmbedderUnavailable


def _item(item_id: str, *contents: bytes, **fields: object) -> catalog_pb2.Item:
    return catalog_pb2.Item(
        id=item_id,
        pictures=[catalog_pb2.Picture(content=content) for content in contents],
        **fields,  # type: ignore[arg-type]
    )


async def _put(channel: grpc.aio.Channel, *messages: Sequence[catalog_pb2.Item]) -> list[catalog_pb2.PutItemsResponse]:
    async def requests() -> AsyncIterator[catalog_pb2.PutItemsRequest]:
        for items in messages:
            yield catalog_pb2.PutItemsRequest(items=items)

    return [response async for response in catalog_pb2_grpc.CatalogServiceStub(channel).PutItems(requests())]


async def _refusal(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.code() is not grpc.StatusCode.INTERNAL
    metadata = caught.value.trailing_metadata()
    assert metadata is not None
    assert GRPC_DETAILS_METADATA_KEY in metadata
    return caught.value


async def test_puts_are_answered_message_by_message_in_order(channel: grpc.aio.Channel) -> None:
    answers = await _put(channel, [_item("a", png(RED)), _item("b", TEXT)], [_item("")], [_item("c")])
    assert [[result.id for result in answer.results] for answer in answers] == [["a", "b"], [""], ["c"]]
    outcomes = [result.WhichOneof("result") for answer in answers for result in answer.results]
    assert outcomes == ["receipt", "error", "error", "receipt"]
    assert answers[0].results[1].error.code == code_pb2.INVALID_ARGUMENT


async def test_of_two_puts_of_one_id_in_a_stream_the_later_wins(
    channel: grpc.aio.Channel, embedder: FakeEmbedder
) -> None:
    embedder.delay_s = 0.05  # the first needs an embedding and is ready later than the second
    await _put(channel, [_item("a", png(RED), title="first")], [_item("a", title="second")])
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    assert (await stub.GetItem(catalog_pb2.GetItemRequest(id="a"))).item.title == "second"


async def test_a_put_message_without_items_ends_the_stream_after_what_came_before(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _put(channel, [_item("a")], [])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    assert (await stub.GetItem(catalog_pb2.GetItemRequest(id="a"))).item.id == "a"


async def test_attributes_come_back_with_their_types(channel: grpc.aio.Channel) -> None:
    item = _item("a", title="t", uri="https://example.org/a", category="c")
    item.attributes["whole"].int_value = 1
    item.attributes["number"].double_value = 1.0
    item.attributes["truth"].bool_value = True
    item.attributes["text"].string_value = "1"
    item.attributes["list"].string_list.values.extend(["x", "y"])
    item.attributes["time"].time_value.FromJsonString("2024-02-29T12:00:00.25Z")
    await _put(channel, [item])
    stored = (await catalog_pb2_grpc.CatalogServiceStub(channel).GetItem(catalog_pb2.GetItemRequest(id="a"))).item
    assert dict(stored.attributes) == dict(item.attributes)
    assert (stored.title, stored.uri, stored.category) == ("t", "https://example.org/a", "c")
    assert stored.etag
    assert stored.create_time.seconds > 0


@pytest.mark.parametrize(
    ("view", "fields"),
    [
        (catalog_pb2.ITEM_VIEW_ID, set()),
        (catalog_pb2.ITEM_VIEW_BASIC, {"pictures"}),
        (catalog_pb2.ITEM_VIEW_FULL, {"pictures", "vectors"}),
    ],
)
async def test_a_view_says_how_much_of_an_item_comes(channel: grpc.aio.Channel, view: int, fields: set[str]) -> None:
    await _put(channel, [_item("a", png(RED))])
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    item = (await stub.GetItem(catalog_pb2.GetItemRequest(id="a", view=view))).item  # type: ignore[arg-type]
    assert {name for name in ("pictures", "vectors") if getattr(item, name)} == fields
    assert not any(picture.content for picture in item.pictures)


async def test_an_unknown_item_is_not_found(channel: grpc.aio.Channel) -> None:
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    for call in (
        stub.GetItem(catalog_pb2.GetItemRequest(id="nobody")),
        stub.DeleteItem(catalog_pb2.DeleteItemRequest(id="nobody")),
        recommender_pb2_grpc.RecommenderServiceStub(channel).Recommend(
            recommender_pb2.RecommendRequest(examples=[recommender_pb2.Example(item_id="nobody")])
        ),
    ):
        error = await _refusal(call)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert "nobody" in (error.details() or "")


async def test_several_items_come_each_with_a_status(channel: grpc.aio.Channel) -> None:
    await _put(channel, [_item("a"), _item("b")])
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    results = (await stub.BatchGetItems(catalog_pb2.BatchGetItemsRequest(ids=["b", "x", "a"]))).results
    assert [r.item.id or r.error.code for r in results] == ["b", code_pb2.NOT_FOUND, "a"]


async def test_pages_hold_every_item_once_by_id(channel: grpc.aio.Channel) -> None:
    ids = [f"item {n:03}" for n in range(25)]
    await _put(channel, [_item(item_id) for item_id in reversed(ids)])
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    seen: list[str] = []
    request = catalog_pb2.ListItemsRequest(page_size=10)
    while True:
        page = await stub.ListItems(request)
        seen += [item.id for item in page.items]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == ids


async def test_a_page_stays_under_the_limit_of_an_answer(channel: grpc.aio.Channel) -> None:
    heavy = {f"a{n}": catalog_pb2.AttributeValue(string_value="x" * 1000) for n in range(60)}
    for start in range(0, 200, 50):
        await _put(channel, [_item(f"{n:03}", attributes=heavy) for n in range(start, start + 50)])
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    page = await stub.ListItems(catalog_pb2.ListItemsRequest(page_size=1000))
    assert page.ByteSize() <= 4 << 20
    assert 0 < len(page.items) < 200
    rest = await stub.ListItems(catalog_pb2.ListItemsRequest(page_size=1000, page_token=page.next_page_token))
    assert [item.id for item in (*page.items, *rest.items)][: len(page.items) + 1] == [
        f"{n:03}" for n in range(len(page.items) + 1)
    ]


async def test_a_picture_comes_in_pieces_as_it_was_put(channel: grpc.aio.Channel) -> None:
    rng = np.random.default_rng(0)
    import io

    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (900, 900, 3), dtype=np.uint8)).save(target, "PNG")
    content = target.getvalue()
    await _put(channel, [_item("a", content)])
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    pieces = [piece async for piece in stub.GetPicture(catalog_pb2.GetPictureRequest(item_id="a"))]
    assert b"".join(piece.chunk for piece in pieces) == content
    assert len(pieces) == 3
    assert pieces[0].picture.size_bytes == len(content)
    assert not pieces[1].HasField("picture")


async def test_the_catalogue_says_what_it_holds(channel: grpc.aio.Channel, embedder: FakeEmbedder) -> None:
    await _put(channel, [_item("a", png(RED), png(BLUE)), _item("b")])
    state = await catalog_pb2_grpc.CatalogServiceStub(channel).GetCatalog(catalog_pb2.GetCatalogRequest())
    assert (state.item_count, state.picture_count, state.sequence) == (2, 2, 2)
    by_name = {space.name: space for space in state.spaces}
    assert by_name["visual"].fingerprint == embedder.contract.fingerprint
    assert by_name["visual"].model == embedder.contract.model
    assert by_name["visual"].metric == embedding_pb2.METRIC_COSINE
    assert (by_name["visual"].vector_count, by_name["own"].vector_count) == (2, 0)


async def test_embed_answers_each_picture_and_what_it_returns_can_be_sent_back(channel: grpc.aio.Channel) -> None:
    await _put(channel, [_item("red", png(RED)), _item("blue", png(BLUE))])
    stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
    answer = await stub.Embed(embedding_pb2.EmbedRequest(pictures=[png(BLUE), TEXT], outputs=["embedding", "features"]))
    assert [output.name for output in answer.results[0].embedding.outputs] == ["embedding", "features"]
    assert answer.results[1].error.code == code_pb2.INVALID_ARGUMENT
    assert "pictures[1]" in answer.results[1].error.message
    vector = answer.results[0].embedding.outputs[0].vector
    found = await recommender_pb2_grpc.RecommenderServiceStub(channel).Recommend(
        recommender_pb2.RecommendRequest(examples=[recommender_pb2.Example(vector=vector)], k=1)
    )
    assert found.recommendations[0].item.id == "blue"
    assert found.exact
    assert found.candidates_examined == 2
    assert found.plan.method == recommender_pb2.SEARCH_METHOD_SCAN
    assert found.plan.expected_recall == 1


@pytest.mark.parametrize(
    ("accuracy", "target"),
    [({}, 0.98), ({"exact": True}, 1.0), ({"exact": False}, 0.98), ({"target_recall": 0.9}, 0.9)],
    ids=str,
)
async def test_the_accuracy_asked_for_is_the_searchs_target_recall(
    channel: grpc.aio.Channel,
    catalog: FakeCatalog,
    monkeypatch: pytest.MonkeyPatch,
    accuracy: dict[str, Any],
    target: float,
) -> None:
    targets: list[float] = []
    search = catalog.search

    async def watched(*asked: Any, target_recall: float, **more: Any) -> SearchResult:
        targets.append(target_recall)
        return await search(*asked, **more)

    monkeypatch.setattr(catalog, "search", watched)
    await _put(channel, [_item("a", png(RED))])
    stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
    await stub.Recommend(_recommend(recommender_pb2.Example(item_id="a"), **accuracy))
    assert targets == [target]


async def test_a_stream_embeds_message_by_message_with_the_outputs_of_the_first(channel: grpc.aio.Channel) -> None:
    async def requests() -> AsyncIterator[embedding_pb2.StreamEmbedRequest]:
        yield embedding_pb2.StreamEmbedRequest(pictures=[png(RED), TEXT], outputs=["features"])
        yield embedding_pb2.StreamEmbedRequest(pictures=[png(BLUE)])

    stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
    answers = [answer async for answer in stub.StreamEmbed(requests())]
    assert [[r.WhichOneof("result") for r in answer.results] for answer in answers] == [
        ["embedding", "error"],
        ["embedding"],
    ]
    assert answers[1].results[0].embedding.outputs[0].name == "features"


async def test_a_stream_that_names_outputs_twice_is_refused(channel: grpc.aio.Channel) -> None:
    async def requests() -> AsyncIterator[embedding_pb2.StreamEmbedRequest]:
        yield embedding_pb2.StreamEmbedRequest(pictures=[png(RED)], outputs=["features"])
        yield embedding_pb2.StreamEmbedRequest(pictures=[png(RED)], outputs=["embedding"])

    stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [answer async for answer in stub.StreamEmbed(requests())]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def _recommend(*examples: recommender_pb2.Example, **fields: object) -> recommender_pb2.RecommendRequest:
    return recommender_pb2.RecommendRequest(examples=examples, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (_recommend(), "examples"),
        (_recommend(*[recommender_pb2.Example(item_id="a")] * 17), "examples"),
        (_recommend(recommender_pb2.Example()), "examples[0]"),
        (_recommend(recommender_pb2.Example(item_id="a", relation=7)), "examples[0].relation"),  # type: ignore[arg-type]
        (_recommend(recommender_pb2.Example(item_id="a", weight=0)), "examples[0].weight"),
        (
            _recommend(recommender_pb2.Example(item_id="a"), recommender_pb2.Example(item_id="a", weight=-1)),
            "examples",
        ),
        (_recommend(recommender_pb2.Example(item_id="a", relation=4)), "examples[0].relation"),  # type: ignore[arg-type]
        (_recommend(recommender_pb2.Example(user_id="u", relation=2)), "examples[0].relation"),  # type: ignore[arg-type]
        (_recommend(recommender_pb2.Example(item_id="a", relation=2, space="own")), "examples[0].space"),  # type: ignore[arg-type]
        (_recommend(recommender_pb2.Example(item_id="a", category="sofa")), "examples[0].category"),
        (_recommend(recommender_pb2.Example(item_id="a"), target_categories=["x"] * 101), "target_categories"),
        (_recommend(recommender_pb2.Example(item_id="a"), min_score=float("inf")), "min_score"),
        (_recommend(recommender_pb2.Example(item_id="a"), mmr_lambda=1.5), "mmr_lambda"),
        (_recommend(recommender_pb2.Example(item_id="a"), max_similarity=float("nan")), "max_similarity"),
        (_recommend(recommender_pb2.Example(item_id="a"), group_by={"field": "price"}), "group_by.field"),
        (_recommend(recommender_pb2.Example(item_id="a"), group_by={"field": "category", "size": 0}), "group_by.size"),
        (_recommend(recommender_pb2.Example(item_id="a"), k=5, page_size=6), "page_size"),
        (_recommend(recommender_pb2.Example(item_id="a"), page_size=1, page_token="x"), "page_token"),
        (_recommend(recommender_pb2.Example(item_id="a", weight=float("nan"))), "examples[0].weight"),
        (_recommend(recommender_pb2.Example(item_id="a\n")), "examples[0].item_id"),
        (_recommend(recommender_pb2.Example(picture=b"")), "examples[0].picture"),
        (_recommend(recommender_pb2.Example(item_id="a"), k=0), "k"),
        (_recommend(recommender_pb2.Example(item_id="a"), k=200, view=catalog_pb2.ITEM_VIEW_FULL), "k"),
        (_recommend(recommender_pb2.Example(item_id="a"), view=9), "view"),
        (_recommend(recommender_pb2.Example(item_id="a"), target_recall=0), "target_recall"),
        (_recommend(recommender_pb2.Example(item_id="a"), target_recall=1.01), "target_recall"),
        (_recommend(recommender_pb2.Example(item_id="a"), target_recall=float("nan")), "target_recall"),
        (_recommend(recommender_pb2.Example(item_id="a"), exclude=["x"] * 1001), "exclude"),
        (
            _recommend(recommender_pb2.Example(vector=embedding_pb2.Vector(space="visual", values=b"123"))),
            "examples[0].vector.values",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_request_names_its_field(
    channel: grpc.aio.Channel, request_: recommender_pb2.RecommendRequest, field: str
) -> None:
    await _put(channel, [_item("a", png(RED))])
    error = await _refusal(recommender_pb2_grpc.RecommenderServiceStub(channel).Recommend(request_))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.details() or "").startswith(f"{field}: ")


async def test_a_defect_is_internal_with_a_fixed_text(
    channel: grpc.aio.Channel, catalog: FakeCatalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(space: str, query: Float32Array, k: int, **_: object) -> SearchResult:
        raise KeyError("a secret of the inside")

    await _put(channel, [_item("a", png(RED))])
    monkeypatch.setattr(catalog, "search", broken)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await recommender_pb2_grpc.RecommenderServiceStub(channel).Recommend(
            _recommend(recommender_pb2.Example(item_id="a"))
        )
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (caught.value.details() or "")
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    facts = getattr(record, logs.FIELDS)
    assert facts["request"] in (caught.value.details() or "")
    assert "KeyError in broken" in facts["error"]
    assert "secret" not in facts["error"]


async def test_a_deadline_that_passes_is_told(channel: grpc.aio.Channel, embedder: FakeEmbedder) -> None:
    embedder.delay_s = 5
    stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
    # Server and client look at their own clocks: either may be the first to say so.
    try:
        answer = await stub.Embed(embedding_pb2.EmbedRequest(pictures=[png(RED)]), timeout=0.2)
        code = answer.results[0].error.code
    except grpc.aio.AioRpcError as error:
        code = error.code().value[0]
    assert code == code_pb2.DEADLINE_EXCEEDED


async def test_a_message_over_the_limit_is_refused_and_the_server_goes_on(channel: grpc.aio.Channel) -> None:
    stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Embed(embedding_pb2.EmbedRequest(pictures=[bytes(25 << 20)]))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await stub.Embed(embedding_pb2.EmbedRequest(pictures=[png(RED)]))).results


async def test_health_is_told_for_every_service(channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "twinset.v1.EmbeddingService", "twinset.v1.CatalogService", "twinset.v1.RecommenderService"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_many_callers_at_once_each_get_their_own_answer(channel: grpc.aio.Channel) -> None:
    await _put(channel, [_item("red", png(RED)), _item("blue", png(BLUE))])
    stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
    asked = [(RED, "red"), (BLUE, "blue")] * 20
    answers = await asyncio.gather(
        *(stub.Recommend(_recommend(recommender_pb2.Example(picture=png(colour)), k=1)) for colour, _ in asked)
    )
    assert [answer.recommendations[0].item.id for answer in answers] == [expected for _, expected in asked]


async def test_more_outputs_than_fit_in_an_answer_are_refused_before_the_work(
    channel: grpc.aio.Channel, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEmbedder, "outputs", {"features": 25_088, "embedding": 64})
    stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
    request = embedding_pb2.EmbedRequest(pictures=[png(RED)] * 42, outputs=["features"])
    error = await _refusal(stub.Embed(request))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert embedder.embedded == 0


async def test_a_stream_goes_on_while_no_model_is_known(
    channel: grpc.aio.Channel, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = property(lambda _: (_ for _ in ()).throw(EmbedderUnavailable("not reached so far")))

    async def requests() -> AsyncIterator[embedding_pb2.StreamEmbedRequest]:
        with monkeypatch.context() as patch:
            patch.setattr(FakeEmbedder, "contract", unknown)
            yield embedding_pb2.StreamEmbedRequest(pictures=[png(RED)], outputs=["features"])
            await first_answered.wait()
        yield embedding_pb2.StreamEmbedRequest(pictures=[png(RED)])

    first_answered = asyncio.Event()
    answers = []
    async for answer in embedding_pb2_grpc.EmbeddingServiceStub(channel).StreamEmbed(requests()):
        answers.append(answer.results[0])
        first_answered.set()
    assert answers[0].error.code == code_pb2.UNAVAILABLE
    assert answers[1].embedding.outputs[0].name == "features"


@pytest.mark.parametrize("method", ["RecommenderService/Recommend", "CatalogService/GetItem", "EmbeddingService/Embed"])
async def test_bytes_that_are_no_message_are_an_invalid_argument(channel: grpc.aio.Channel, method: str) -> None:
    error = await _refusal(channel.unary_unary(f"/twinset.v1.{method}")(b"\xff\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", ["CatalogService/PutItems", "EmbeddingService/StreamEmbed"])
async def test_bytes_that_are_no_message_end_a_stream_as_an_invalid_argument(
    channel: grpc.aio.Channel, method: str
) -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield b"\xff\xff\xff"

    call = channel.stream_stream(f"/twinset.v1.{method}")(requests())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [answer async for answer in call]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
