"""Streams of changes over a real connection: masks, etags, request ids, feeds and exports."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from google.protobuf import field_mask_pb2
from google.rpc import code_pb2, error_details_pb2

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeEmbedder
from fakes.pictures import BLUE, RED, TEXT, png
from twinset.v1 import catalog_pb2, catalog_pb2_grpc, embedding_pb2
from twinset_server.domain import Change, Written
from twinset_server.errors import StoreUnavailable


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> catalog_pb2_grpc.CatalogServiceStub:
    return catalog_pb2_grpc.CatalogServiceStub(channel)


def _item(item_id: str, *contents: bytes, **fields: Any) -> catalog_pb2.Item:
    return catalog_pb2.Item(id=item_id, pictures=[catalog_pb2.Picture(content=c) for c in contents], **fields)


def _numbers(**numbers: int) -> Mapping[str, catalog_pb2.AttributeValue]:
    return {name: catalog_pb2.AttributeValue(int_value=number) for name, number in numbers.items()}


async def _each(messages: Iterable[Any]) -> AsyncIterator[Any]:
    for message in messages:
        yield message


async def _answers(call: Any, *messages: Any) -> list[Any]:
    return [answer async for answer in call(_each(messages))]


async def _results(call: Any, message: Any) -> list[Any]:
    (answer,) = await _answers(call, message)
    return list(answer.results)


def _puts(*items: catalog_pb2.Item, name: str = "") -> catalog_pb2.PutItemsRequest:
    return catalog_pb2.PutItemsRequest(items=items, request_id=name)


def _update(item: catalog_pb2.Item, *paths: str) -> catalog_pb2.ItemUpdate:
    return catalog_pb2.ItemUpdate(item=item, update_mask=field_mask_pb2.FieldMask(paths=paths))


def _updates(*updates: catalog_pb2.ItemUpdate, name: str = "") -> catalog_pb2.UpdateItemsRequest:
    return catalog_pb2.UpdateItemsRequest(updates=updates, request_id=name)


def _feed(*items: catalog_pb2.Item) -> catalog_pb2.ReplaceCatalogRequest:
    return catalog_pb2.ReplaceCatalogRequest(items=catalog_pb2.FeedItems(items=items))


def _commit(**options: bool) -> catalog_pb2.ReplaceCatalogRequest:
    return catalog_pb2.ReplaceCatalogRequest(commit=catalog_pb2.FeedCommit(**options))


def _reason(status: Any) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return str(info.reason)


def _field(status: Any) -> str:
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    return str(bad.field_violations[0].field)


async def test_a_repeated_put_is_made_once_and_its_failures_again(
    stub: catalog_pb2_grpc.CatalogServiceStub, embedder: FakeEmbedder, catalog: FakeCatalog
) -> None:
    message = _puts(_item("plain"), _item("pictured", png(RED)), name="night-1")
    embedder.down = True
    first = await _results(stub.PutItems, message)
    assert [result.WhichOneof("result") for result in first] == ["receipt", "error"]
    embedder.down = False
    second = await _results(stub.PutItems, message)
    assert second[0] == first[0]
    assert second[1].receipt.sequence == first[0].receipt.sequence + 1
    # Now all of it was made: without the model, too, the receipts of then are the answer.
    embedder.down = True
    assert await _results(stub.PutItems, message) == second
    assert (await catalog.status()).sequence == second[1].receipt.sequence


async def test_a_request_id_for_other_changes_is_refused_in_every_result_and_the_stream_goes_on(
    stub: catalog_pb2_grpc.CatalogServiceStub,
) -> None:
    answers = await _answers(
        stub.PutItems, _puts(_item("a"), name="one"), _puts(_item("b"), _item("c"), name="one"), _puts(_item("d"))
    )
    assert [[result.WhichOneof("result") for result in answer.results] for answer in answers] == [
        ["receipt"], ["error", "error"], ["receipt"]
    ]  # fmt: skip
    assert {_reason(result.error) for result in answers[1].results} == {"REQUEST_ID_REUSED"}


async def test_a_store_that_is_away_fails_each_change_and_not_the_stream(
    stub: catalog_pb2_grpc.CatalogServiceStub, catalog: FakeCatalog
) -> None:
    write = catalog.write

    async def away(changes: Sequence[Change], *, request_id: str = "", digest: bytes = b"") -> Written:
        raise StoreUnavailable("the store is away")

    catalog.write = away  # type: ignore[method-assign]
    (refused,) = await _results(stub.PutItems, _puts(_item("a")))
    assert refused.error.code == code_pb2.UNAVAILABLE
    catalog.write = write  # type: ignore[method-assign]
    (made,) = await _results(stub.PutItems, _puts(_item("a")))
    assert made.receipt.sequence == 1


@pytest.mark.parametrize("method", ["PutItems", "UpdateItems", "DeleteItems", "PutUsers", "PutInteractions"])
async def test_a_message_without_elements_or_with_a_long_name_ends_its_stream(
    stub: catalog_pb2_grpc.CatalogServiceStub, method: str
) -> None:
    request = getattr(catalog_pb2, f"{method}Request")
    field = request.DESCRIPTOR.fields[0].name
    element = getattr(request(), field).add()
    for message in (request(), request(request_id="x" * 65, **{field: [element]})):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _answers(getattr(stub, method), message)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("method", "most"),
    [("PutItems", 256), ("UpdateItems", 256), ("DeleteItems", 1000), ("PutUsers", 256), ("PutInteractions", 1000)],
)
async def test_a_message_holds_as_many_elements_as_the_proto_says(
    stub: catalog_pb2_grpc.CatalogServiceStub, method: str, most: int
) -> None:
    request = getattr(catalog_pb2, f"{method}Request")
    field = request.DESCRIPTOR.fields[0].name
    element = getattr(request(), field).add()
    assert len(await _results(getattr(stub, method), request(**{field: [element] * most}))) == most
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _answers(getattr(stub, method), request(**{field: [element] * (most + 1)}))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_mask_says_what_an_update_changes(stub: catalog_pb2_grpc.CatalogServiceStub) -> None:
    await _results(
        stub.PutItems, _puts(_item("a", title="t", uri="u", category="c", attributes=_numbers(x=1, y=2, **{"z.w": 3})))
    )
    given = _item("a", title="T", uri="U", category="", attributes=_numbers(x=7))
    (result,) = await _results(
        stub.UpdateItems, _updates(_update(given, "title", "category", "attributes.x", "attributes.z.w"))
    )
    stored = (await stub.GetItem(catalog_pb2.GetItemRequest(id="a"))).item
    assert (stored.title, stored.uri, stored.category) == ("T", "u", "")
    assert dict(stored.attributes) == _numbers(x=7, y=2)
    assert result.receipt.etag == stored.etag
    await _results(stub.UpdateItems, _updates(_update(given, "attributes")))
    assert dict((await stub.GetItem(catalog_pb2.GetItemRequest(id="a"))).item.attributes) == _numbers(x=7)


async def test_a_change_of_attributes_needs_no_embedder(
    stub: catalog_pb2_grpc.CatalogServiceStub, embedder: FakeEmbedder
) -> None:
    await _results(stub.PutItems, _puts(_item("a", png(RED))))
    embedder.down = True
    (result,) = await _results(
        stub.UpdateItems, _updates(_update(_item("a", attributes=_numbers(x=1)), "attributes.x"))
    )
    assert result.WhichOneof("result") == "receipt"
    (result,) = await _results(stub.UpdateItems, _updates(_update(_item("a", png(BLUE)), "pictures")))
    assert result.error.code == code_pb2.UNAVAILABLE


@pytest.mark.parametrize(
    ("update", "code", "field"),
    [
        (_update(_item("a")), code_pb2.INVALID_ARGUMENT, "update_mask"),
        (_update(_item("a"), "title", "etag"), code_pb2.INVALID_ARGUMENT, "update_mask.paths[1]"),
        (_update(_item("a"), "*"), code_pb2.INVALID_ARGUMENT, "update_mask.paths[0]"),
        (_update(_item("a"), "attributes."), code_pb2.INVALID_ARGUMENT, "attributes"),
        (_update(_item("a"), "vectors"), code_pb2.INVALID_ARGUMENT, "vectors"),
        (_update(_item("a", TEXT), "pictures"), code_pb2.INVALID_ARGUMENT, "pictures[0].content"),
        (_update(_item("a", title="x" * 1025), "title"), code_pb2.INVALID_ARGUMENT, "title"),
        (_update(_item("a", etag="x" * 65), "title"), code_pb2.INVALID_ARGUMENT, "etag"),
        (_update(_item(""), "title"), code_pb2.INVALID_ARGUMENT, "id"),
    ],
)
async def test_a_bad_update_fails_alone_by_field(
    stub: catalog_pb2_grpc.CatalogServiceStub, update: catalog_pb2.ItemUpdate, code: int, field: str
) -> None:
    await _results(stub.PutItems, _puts(_item("a"), _item("b")))
    bad, good = await _results(stub.UpdateItems, _updates(update, _update(_item("b", title="t"), "title")))
    assert bad.error.code == code
    assert _field(bad.error) == field
    assert good.WhichOneof("result") == "receipt"


async def test_an_update_or_deletion_of_nobody_and_a_stale_etag_are_told_apart(
    stub: catalog_pb2_grpc.CatalogServiceStub,
) -> None:
    await _results(stub.PutItems, _puts(_item("a")))
    updated = await _results(
        stub.UpdateItems, _updates(_update(_item("nobody"), "title"), _update(_item("a", etag="stale"), "title"))
    )
    deletions = [catalog_pb2.ItemDeletion(id="nobody"), catalog_pb2.ItemDeletion(id="a", etag="stale")]
    deleted = await _results(stub.DeleteItems, catalog_pb2.DeleteItemsRequest(deletions=deletions))
    for results in (updated, deleted):
        assert [result.error.code for result in results] == [code_pb2.NOT_FOUND, code_pb2.ABORTED]
        assert _reason(results[1].error) == "STALE_ETAG"


async def test_a_repeated_deletion_gets_the_receipt_of_the_first(stub: catalog_pb2_grpc.CatalogServiceStub) -> None:
    await _results(stub.PutItems, _puts(_item("a"), _item("b")))
    request = catalog_pb2.DeleteItemsRequest(deletions=[catalog_pb2.ItemDeletion(id="a")], request_id="once")
    assert await _results(stub.DeleteItems, request) == await _results(stub.DeleteItems, request)
    single = catalog_pb2.DeleteItemRequest(id="b", request_id="once more")
    assert await stub.DeleteItem(single) == await stub.DeleteItem(single)


async def test_another_content_under_the_same_request_id_is_refused(
    stub: catalog_pb2_grpc.CatalogServiceStub,
) -> None:
    (first,) = await _results(stub.PutItems, _puts(_item("a", title="first"), name="once"))
    (again,) = await _results(stub.PutItems, _puts(_item("a", title="first"), name="once"))
    (other,) = await _results(stub.PutItems, _puts(_item("a", title="other"), name="once"))
    assert again == first
    assert _reason(other.error) == "REQUEST_ID_REUSED"


async def test_an_answer_that_was_held_back_says_so(
    stub: catalog_pb2_grpc.CatalogServiceStub, catalog: FakeCatalog
) -> None:
    (quick,) = await _answers(stub.PutItems, _puts(_item("a")))
    assert not quick.HasField("slowed_by")
    catalog.slowed_s = 0.5
    (slowed,) = await _answers(stub.PutItems, _puts(_item("a")))
    assert slowed.slowed_by.ToMilliseconds() == 500


async def test_nothing_of_a_feed_is_seen_before_its_commit(
    stub: catalog_pb2_grpc.CatalogServiceStub, catalog: FakeCatalog
) -> None:
    await _results(stub.PutItems, _puts(_item("old")))
    call = stub.ReplaceCatalog()
    await call.write(_feed(_item("new")))
    answer = await call.read()
    assert [(r.id, r.unchanged, r.HasField("error")) for r in answer.items.results] == [("new", False, False)]
    assert [item.id for item in (await stub.ListItems(catalog_pb2.ListItemsRequest())).items] == ["old"]
    await call.write(_commit())
    summary = (await call.read()).summary
    assert (summary.created, summary.deleted, summary.sequence) == (1, 1, 3)
    assert [item.id for item in (await stub.ListItems(catalog_pb2.ListItemsRequest())).items] == ["new"]
    assert await call.read() is grpc.aio.EOF


@pytest.mark.parametrize("end", ["half-close", "cancel"])
async def test_a_feed_without_commit_leaves_no_trace(
    stub: catalog_pb2_grpc.CatalogServiceStub, catalog: FakeCatalog, end: str
) -> None:
    await _results(stub.PutItems, _puts(_item("old")))
    call = stub.ReplaceCatalog()
    await call.write(_feed(_item("new")))
    await call.read()
    assert catalog.feeds_open == 1
    if end == "cancel":
        call.cancel()
    else:
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    async with asyncio.timeout(5):
        while catalog.feeds_open:
            await asyncio.sleep(0.01)
    assert [item.id for item in (await stub.ListItems(catalog_pb2.ListItemsRequest())).items] == ["old"]


async def test_a_feed_that_nothing_comes_for_is_abandoned(
    stub: catalog_pb2_grpc.CatalogServiceStub, catalog: FakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinset_server.rpc.feeds.IDLE_S", 0.2)
    call = stub.ReplaceCatalog()
    await call.write(_feed(_item("new")))
    await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert catalog.feeds_open == 0


async def test_of_two_items_of_one_id_in_a_feed_the_later_counts(
    stub: catalog_pb2_grpc.CatalogServiceStub, embedder: FakeEmbedder
) -> None:
    await _results(stub.PutItems, _puts(_item("a", title="stored")))
    embedder.delay_s = 0.05  # the first needs an embedding, the second is stored just so
    *_, last = await _answers(
        stub.ReplaceCatalog, _feed(_item("a", png(RED), title="first")), _feed(_item("a", title="stored")), _commit()
    )
    assert (last.summary.unchanged, last.summary.replaced) == (1, 0)
    assert (await stub.GetItem(catalog_pb2.GetItemRequest(id="a"))).item.title == "stored"


async def test_an_item_of_a_feed_that_failed_can_be_mended(stub: catalog_pb2_grpc.CatalogServiceStub) -> None:
    first, second, last = await _answers(stub.ReplaceCatalog, _feed(_item("a", TEXT)), _feed(_item("a")), _commit())
    assert first.items.results[0].error.code == code_pb2.INVALID_ARGUMENT
    assert not second.items.results[0].HasField("error")
    assert (last.summary.created, last.summary.failed) == (1, 0)


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([_item("a"), _item("a")], "id"),
        ([_item("b"), _item("a", etag="1")], "etag"),
        ([_item("b"), _item("a", TEXT)], "pictures[0].content"),
    ],
)
async def test_a_feed_with_a_bad_item_is_refused_and_allowed_to_keep_what_is_stored(
    stub: catalog_pb2_grpc.CatalogServiceStub, items: Sequence[catalog_pb2.Item], field: str
) -> None:
    await _results(stub.PutItems, _puts(_item("a", title="stored"), _item("gone")))
    call = stub.ReplaceCatalog(_each([_feed(*items), _commit()]))
    answer = await call.read()
    assert _field(answer.items.results[1].error) == field
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "'a'" in (caught.value.details() or "")
    listed = (await stub.ListItems(catalog_pb2.ListItemsRequest())).items
    assert [item.id for item in listed] == ["a", "gone"]
    *_, last = await _answers(stub.ReplaceCatalog, _feed(*items), _commit(allow_failed=True))
    assert (last.summary.failed, last.summary.deleted) == (1, 1)
    assert (await stub.GetItem(catalog_pb2.GetItemRequest(id="a"))).item.title == "stored"


async def test_what_comes_behind_a_commit_is_not_read(stub: catalog_pb2_grpc.CatalogServiceStub) -> None:
    answers = await _answers(stub.ReplaceCatalog, _feed(_item("a")), _commit(), _feed(_item("b")), _commit())
    assert [answer.WhichOneof("response") for answer in answers] == ["items", "summary"]
    assert [item.id for item in (await stub.ListItems(catalog_pb2.ListItemsRequest())).items] == ["a"]


@pytest.mark.parametrize("message", [catalog_pb2.ReplaceCatalogRequest(), _feed()])
async def test_a_feed_message_that_says_nothing_is_refused(
    stub: catalog_pb2_grpc.CatalogServiceStub, message: catalog_pb2.ReplaceCatalogRequest
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _answers(stub.ReplaceCatalog, _feed(_item("a")), message)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_vector_that_changed_makes_another_item_of_a_feed(stub: catalog_pb2_grpc.CatalogServiceStub) -> None:
    def vector(*values: float) -> embedding_pb2.Vector:
        return embedding_pb2.Vector(space="own", values=np.array(values, "<f4").tobytes())

    feed = [_feed(_item("a", vectors=[vector(1, 2)]), _item("b", vectors=[vector(1, 2)])), _commit()]
    await _answers(stub.ReplaceCatalog, *feed)
    changed = [_feed(_item("a", vectors=[vector(1, 2)]), _item("b", vectors=[vector(1, 3)])), _commit()]
    *_, last = await _answers(stub.ReplaceCatalog, *changed)
    assert (last.summary.unchanged, last.summary.replaced) == (1, 1)


async def test_an_export_of_interactions_goes_on_behind_a_sequence(stub: catalog_pb2_grpc.CatalogServiceStub) -> None:
    given = [catalog_pb2.Interaction(user_id="u", item_id=str(n), kind="view") for n in range(1000)]
    messages = [catalog_pb2.PutInteractionsRequest(interactions=given)] * 2
    await _answers(stub.PutInteractions, *messages)
    request = catalog_pb2.ExportInteractionsRequest(after_sequence=500)
    pages = [page async for page in stub.ExportInteractions(request)]
    exported = [interaction for page in pages for interaction in page.interactions]
    assert [i.sequence for i in exported] == list(range(501, 2001))
    assert max(len(page.interactions) for page in pages) == 1000
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ExportInteractions(catalog_pb2.ExportInteractionsRequest(after_sequence=-1)).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_export_of_items_stays_under_the_limit_of_an_answer(
    stub: catalog_pb2_grpc.CatalogServiceStub,
) -> None:
    heavy = {f"a{n}": catalog_pb2.AttributeValue(string_value="x" * 1000) for n in range(60)}
    ids = [f"{n:03}" for n in range(150)]
    for start in range(0, 150, 50):
        await _results(stub.PutItems, _puts(*(_item(i, attributes=heavy) for i in ids[start : start + 50])))
    pages = [page async for page in stub.ExportItems(catalog_pb2.ExportItemsRequest())]
    assert [item.id for page in pages for item in page.items] == ids
    assert len(pages) > 1
    assert max(page.ByteSize() for page in pages) <= 4 << 20
    rest = [page async for page in stub.ExportItems(catalog_pb2.ExportItemsRequest(after_id="147"))]
    assert [item.id for page in rest for item in page.items] == ["148", "149"]


async def test_the_catalogue_counts_users_and_interactions(stub: catalog_pb2_grpc.CatalogServiceStub) -> None:
    users = [catalog_pb2.User(id="u"), catalog_pb2.User(id="v")]
    await _results(stub.PutUsers, catalog_pb2.PutUsersRequest(users=users))
    await _results(
        stub.PutInteractions,
        catalog_pb2.PutInteractionsRequest(
            interactions=[catalog_pb2.Interaction(user_id="u", item_id="a", kind="buy")]
        ),
    )
    status = await stub.GetCatalog(catalog_pb2.GetCatalogRequest())
    assert (status.user_count, status.interaction_count, status.item_count) == (2, 1, 0)


async def test_a_repeated_interaction_without_a_time_is_stored_once(stub: catalog_pb2_grpc.CatalogServiceStub) -> None:
    request = catalog_pb2.PutInteractionsRequest(
        interactions=[catalog_pb2.Interaction(user_id="u", item_id="a", kind="buy")], request_id="once"
    )
    assert await _results(stub.PutInteractions, request) == await _results(stub.PutInteractions, request)
    assert (await stub.GetCatalog(catalog_pb2.GetCatalogRequest())).interaction_count == 1


async def test_a_failed_item_takes_the_place_of_an_earlier_one_of_its_id(
    stub: catalog_pb2_grpc.CatalogServiceStub,
) -> None:
    await _results(stub.PutItems, _puts(_item("a", title="stored")))
    *_, last = await _answers(
        stub.ReplaceCatalog,
        _feed(_item("a", title="first")),
        _feed(_item("a", TEXT)),
        _commit(allow_failed=True, allow_empty=True),
    )
    assert (last.summary.unchanged, last.summary.failed) == (1, 1)
    assert (await stub.GetItem(catalog_pb2.GetItemRequest(id="a"))).item.title == "stored"
