"""What every implementation of the port `Catalog` promises."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.items import delete, new_picture, put, unit, vectored, writable
from twinset.contract import Metric
from twinset_server.catalog import open_alone
from twinset_server.config import StoreSettings
from twinset_server.domain import (
    Expression,
    Facet,
    FacetRequest,
    FeedSummary,
    Interaction,
    ItemDeletion,
    ItemUpdate,
    ItemVector,
    Receipt,
    Search,
    Space,
    UserDeletion,
    WritableUser,
)
from twinset_server.errors import (
    BadVector,
    ItemNotFound,
    NoVector,
    PictureNotFound,
    PictureNotStored,
    RequestIdReused,
    SpaceNotFound,
    StaleEtag,
    UserNotFound,
)
from twinset_server.filters.parse import parse

VISUAL = Space("visual", 3, Metric.COSINE, "a" * 64, "net-aaaaaaaa")
SHAPE = Space("shape", 2, Metric.EUCLIDEAN, "b" * 64)
TASTE = Space("taste", 2, Metric.INNER_PRODUCT, "c" * 64)


@pytest.fixture(params=["fake", "sqlite"])
async def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "fake":
        yield FakeCatalog([VISUAL, SHAPE, TASTE])
        return
    async with open_alone(StoreSettings(path=tmp_path / "store"), {}, [VISUAL, SHAPE, TASTE]) as opened:
        yield opened


@pytest.fixture(params=["fake", "sqlite"])
async def pictureless(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "fake":
        yield FakeCatalog([VISUAL], keep_pictures=False)
        return
    async with open_alone(StoreSettings(path=tmp_path / "store", pictures="none"), {}) as opened:
        yield opened


def ids(result: Any) -> list[str]:
    return [neighbour.item_id for neighbour in result.neighbours]


async def test_a_put_item_is_found_by_the_next_search(catalog: Any) -> None:
    [receipt] = await put(catalog, [vectored("shoe", unit(1, 0, 0))])
    result = await catalog.search("visual", unit(1, 0, 0), 1)
    assert ids(result) == ["shoe"]
    assert result.neighbours[0].distance == pytest.approx(0, abs=1e-6)
    assert result.sequence == receipt.sequence


async def test_search_in_an_empty_space_finds_nothing(catalog: Any) -> None:
    result = await catalog.search("visual", unit(1, 0, 0), 5)
    assert (ids(result), result.exact, result.examined, result.sequence) == ([], True, 0, 0)


async def test_a_put_replaces_the_whole_item(catalog: Any) -> None:
    old = ItemVector("visual", "0", unit(1, 0, 0)), ItemVector("shape", "", np.array([1, 1], np.float32))
    await put(catalog, [writable("shoe", old, [new_picture("0", b"old")], title="old", attributes={"size": 1})])
    await put(catalog, [vectored("shoe", unit(0, 1, 0))])
    [item] = await catalog.get(["shoe"], vectors=True)
    assert (item.title, item.attributes, item.pictures) == ("", {}, ())
    assert [vector.space for vector in item.vectors] == ["visual"]
    assert ids(await catalog.search("shape", np.array([1, 1], np.float32), 1)) == []
    [neighbour] = (await catalog.search("visual", unit(1, 0, 0), 5)).neighbours
    assert neighbour.distance == pytest.approx(1)


async def test_the_later_item_of_one_id_in_a_call_wins(catalog: Any) -> None:
    receipts = await put(catalog, [vectored("shoe", unit(1, 0, 0)), vectored("shoe", unit(0, 1, 0))])
    assert receipts[0].sequence < receipts[1].sequence
    [neighbour] = (await catalog.search("visual", unit(0, 1, 0), 5)).neighbours
    assert neighbour.distance == pytest.approx(0, abs=1e-6)


async def test_of_two_calls_the_one_made_later_wins(catalog: Any) -> None:
    await asyncio.gather(*(put(catalog, [writable("shoe", title=str(number))]) for number in range(20)))
    [item] = await catalog.get(["shoe"], vectors=False)
    assert item.title == "19"


async def test_a_bad_item_gets_its_own_error_and_leaves_no_trace(catalog: Any) -> None:
    results = await put(
        catalog,
        [
            vectored("good", unit(1, 0, 0)),
            vectored("long", np.ones(4, np.float32)),
            vectored("nan", np.array([np.nan, 0, 1], np.float32)),
            vectored("unscaled", np.array([3, 0, 4], np.float32)),
            vectored("lost", unit(1, 0, 0), space="nowhere"),
            vectored("last", unit(0, 1, 0)),
        ],
    )
    kinds = [type(result) for result in results]
    assert kinds == [Receipt, BadVector, BadVector, BadVector, SpaceNotFound, Receipt]
    assert [item.id for item in await catalog.page(after="", limit=10, vectors=False)] == ["good", "last"]


async def test_an_error_leaves_what_was_stored_before(catalog: Any) -> None:
    await put(catalog, [vectored("shoe", unit(1, 0, 0))])
    await put(catalog, [vectored("shoe", np.ones(4, np.float32))])
    assert ids(await catalog.search("visual", unit(1, 0, 0), 1)) == ["shoe"]


async def test_etag_and_sequence_change_with_every_put_and_created_stays(catalog: Any) -> None:
    [first] = await put(catalog, [writable("shoe")])
    [before] = await catalog.get(["shoe"], vectors=False)
    [second] = await put(catalog, [writable("shoe")])
    [after] = await catalog.get(["shoe"], vectors=False)
    assert first.etag != second.etag
    assert first.sequence < second.sequence
    assert (after.etag, after.sequence) == (second.etag, second.sequence)
    assert after.created == before.created
    assert after.updated >= before.updated


async def test_attributes_keep_their_types(catalog: Any) -> None:
    attributes = {
        "int": 1,
        "double": 1.0,
        "bool": True,
        "large": 2**63 - 1,
        "text": "1",
        "time text": "2026-01-02T03:04:05+00:00",
        "texts": ("a", "é"),
        "none": (),
        "time": datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, datetime.UTC),
    }
    await put(catalog, [writable("shoe", attributes=attributes)])
    [item] = await catalog.get(["shoe"], vectors=False)
    assert item.attributes == attributes
    assert {name: type(value) for name, value in item.attributes.items()} == {
        name: type(value) for name, value in attributes.items()
    }


async def test_get_keeps_the_order_asked_for_and_says_what_is_missing(catalog: Any) -> None:
    await put(catalog, [writable("a"), writable("b")])
    items = await catalog.get(["b", "x", "a", "b"], vectors=False)
    assert [item and item.id for item in items] == ["b", None, "a", "b"]


async def test_vectors_come_only_when_asked_for(catalog: Any) -> None:
    await put(catalog, [vectored("shoe", unit(1, 2, 2))])
    [bare] = await catalog.get(["shoe"], vectors=False)
    [full] = await catalog.page(after="", limit=1, vectors=True)
    assert bare.vectors is None
    np.testing.assert_array_equal(full.vectors[0].values, unit(1, 2, 2))


async def test_ids_are_compared_and_paged_by_their_bytes(catalog: Any) -> None:
    # The last two swap places in UTF-16, "a" and "B" in most collations.
    names = ["B", "a", "a b", "é", "\ufb01", "\U0001f45f"]
    await put(catalog, [writable(name) for name in reversed(names)])
    first = await catalog.page(after="", limit=4, vectors=False)
    rest = await catalog.page(after=first[-1].id, limit=4, vectors=False)
    assert [item.id for item in [*first, *rest]] == names
    assert await catalog.get(["A"], vectors=False) == [None]


async def test_a_deleted_item_is_gone(catalog: Any) -> None:
    [receipt] = await put(catalog, [vectored("shoe", unit(1, 0, 0))])
    assert await delete(catalog, "shoe") > receipt.sequence
    assert await catalog.get(["shoe"], vectors=False) == [None]
    assert ids(await catalog.search("visual", unit(1, 0, 0), 1)) == []
    with pytest.raises(ItemNotFound, match="shoe"):
        await delete(catalog, "shoe")


async def test_a_picture_comes_back_as_it_was_put(catalog: Any) -> None:
    await put(catalog, [writable("shoe", pictures=[new_picture("front", b"one"), new_picture("back", b"two")])])
    main = await catalog.picture("shoe", "")
    assert (main.picture.id, main.picture.stored, main.content) == ("front", True, b"one")
    assert (await catalog.picture("shoe", "back")).content == b"two"
    [item] = await catalog.get(["shoe"], vectors=False)
    assert [(one.id, one.width, one.height, one.size_bytes) for one in item.pictures] == [
        ("front", 4, 3, 3),
        ("back", 4, 3, 3),
    ]


async def test_a_picture_that_is_not_there_is_named(catalog: Any) -> None:
    await put(catalog, [writable("shoe", pictures=[new_picture("front", b"one")]), writable("bare")])
    with pytest.raises(ItemNotFound):
        await catalog.picture("nothing", "")
    with pytest.raises(PictureNotFound):
        await catalog.picture("shoe", "side")
    with pytest.raises(PictureNotFound):
        await catalog.picture("bare", "")


async def test_contents_are_not_kept_where_the_settings_say_so(pictureless: Any) -> None:
    await put(pictureless, [writable("shoe", pictures=[new_picture("0", b"one")])])
    [item] = await pictureless.get(["shoe"], vectors=False)
    assert [picture.stored for picture in item.pictures] == [False]
    with pytest.raises(PictureNotStored):
        await pictureless.picture("shoe", "")


async def test_the_vector_of_an_item_is_the_callers_own_before_the_main_pictures(catalog: Any) -> None:
    pictures = [new_picture("z", b"z"), new_picture("a", b"a")]
    embedded = [ItemVector("visual", "a", unit(0, 1, 0)), ItemVector("visual", "z", unit(1, 0, 0))]
    await put(catalog, [writable("embedded", embedded, pictures)])
    await put(catalog, [writable("brought", [*embedded, ItemVector("visual", "", unit(0, 0, 1))], pictures)])
    np.testing.assert_array_equal(await catalog.vector_of("embedded", "visual"), unit(1, 0, 0))
    np.testing.assert_array_equal(await catalog.vector_of("brought", "visual"), unit(0, 0, 1))


async def test_the_vector_of_an_item_that_has_none_is_an_error(catalog: Any) -> None:
    await put(catalog, [vectored("shoe", unit(1, 0, 0))])
    with pytest.raises(NoVector, match="shape"):
        await catalog.vector_of("shoe", "shape")
    with pytest.raises(ItemNotFound):
        await catalog.vector_of("nothing", "visual")
    with pytest.raises(SpaceNotFound):
        await catalog.vector_of("shoe", "nowhere")


async def test_an_item_scores_by_its_best_picture_and_appears_once(catalog: Any) -> None:
    await put(
        catalog,
        [
            writable("two", [ItemVector("visual", "far", unit(0, 0, 1)), ItemVector("visual", "near", unit(9, 1, 0))]),
            vectored("one", unit(1, 1, 0), picture_id="0"),
        ],
    )
    result = await catalog.search("visual", unit(1, 0, 0), 5)
    assert [(one.item_id, one.picture_id) for one in result.neighbours] == [("two", "near"), ("one", "0")]
    assert result.examined == 3


async def test_equal_distances_come_in_the_byte_order_of_ids(catalog: Any) -> None:
    names = ["B", "a", "é", "\ufb01", "\U0001f45f"]
    await put(catalog, [vectored(name, unit(1, 2, 3)) for name in reversed(names)])
    assert ids(await catalog.search("visual", unit(3, 2, 1), 3)) == names[:3]


async def test_search_never_returns_an_excluded_item_and_still_k_others(catalog: Any) -> None:
    circle = [vectored(f"{place:04d}", unit(np.cos(place / 1e3), np.sin(place / 1e3), 0)) for place in range(1100)]
    await put(catalog, circle)
    exclude = frozenset([f"{place:04d}" for place in range(1000)] + ["unknown"])
    result = await catalog.search("visual", unit(1, 0, 0), 5, exclude=exclude)
    assert ids(result) == ["1000", "1001", "1002", "1003", "1004"]


async def test_fewer_than_k_come_back_only_where_there_are_fewer(catalog: Any) -> None:
    await put(catalog, [vectored(name, unit(1, 0, 0)) for name in "abc"])
    assert ids(await catalog.search("visual", unit(0, 1, 0), 1000, exclude=frozenset("b"))) == ["a", "c"]


async def test_cosine_distance_is_one_minus_the_cosine(catalog: Any) -> None:
    await put(
        catalog, [vectored("same", unit(1, 0, 0)), vectored("across", unit(1, 1, 0)), vectored("back", unit(-1, 0, 0))]
    )
    result = await catalog.search("visual", unit(1, 0, 0), 3)
    assert [one.distance for one in result.neighbours] == pytest.approx([0, 1 - 0.5**0.5, 2], abs=1e-6)


async def test_euclidean_distance_is_squared(catalog: Any) -> None:
    await put(catalog, [vectored(str(x), np.array([x, 0], np.float32), space="shape") for x in (0, 3, 5)])
    result = await catalog.search("shape", np.array([0, 4], np.float32), 3)
    assert [(one.item_id, one.distance) for one in result.neighbours] == [("0", 16.0), ("3", 25.0), ("5", 41.0)]


async def test_inner_product_distance_is_its_negative(catalog: Any) -> None:
    await put(catalog, [vectored(str(x), np.array([x, 1], np.float32), space="taste") for x in (-2, 0, 3)])
    result = await catalog.search("taste", np.array([2, 1], np.float32), 3)
    assert [(one.item_id, one.distance) for one in result.neighbours] == [("3", -7.0), ("0", -1.0), ("-2", 3.0)]


async def test_a_query_that_does_not_fit_the_space_is_refused(catalog: Any) -> None:
    with pytest.raises(BadVector, match="dimension 3"):
        await catalog.search("visual", np.ones(4, np.float32), 1)
    with pytest.raises(BadVector, match="finite"):
        await catalog.search("visual", np.array([1, np.inf, 0], np.float32), 1)
    with pytest.raises(SpaceNotFound, match="nowhere"):
        await catalog.search("nowhere", unit(1, 0, 0), 1)


async def test_status_counts_what_is_there(catalog: Any) -> None:
    vectors = [ItemVector("visual", "0", unit(1, 0, 0)), ItemVector("visual", "1", unit(0, 1, 0))]
    await put(catalog, [writable("a", vectors, [new_picture("0", b"0"), new_picture("1", b"1")]), writable("b")])
    await put(catalog, [vectored("c", np.ones(2, np.float32), space="shape")])
    sequence = await delete(catalog, "b")
    status = await catalog.status()
    assert (status.items, status.pictures, status.sequence) == (2, 2, sequence)
    assert [(one.space.name, one.vectors, one.delta) for one in status.spaces] == [
        ("shape", 1, 1),
        ("taste", 0, 0),
        ("visual", 2, 2),
    ]


async def test_spaces_are_known_by_name(catalog: Any) -> None:
    assert dict(catalog.spaces()) == {"shape": SHAPE, "taste": TASTE, "visual": VISUAL}


async def test_vectors_a_little_off_unit_length_are_ordered_by_their_directions(catalog: Any) -> None:
    rng = np.random.default_rng(3)
    near = np.array([1, 0, 0]) + rng.normal(0, 0.02, (60, 3))
    directions = near / np.linalg.norm(near, axis=1, keepdims=True)
    rows = (directions * rng.uniform(1 - 9e-4, 1 + 9e-4, (60, 1))).astype(np.float32)
    await put(catalog, [vectored(f"{n:02}", row) for n, row in enumerate(rows)])
    query = unit(1, 0.01, 0)
    true = np.argsort(-(rows.astype(np.float64) @ query) / np.linalg.norm(rows.astype(np.float64), axis=1))
    result = await catalog.search("visual", query, 10)
    assert [one.item_id for one in result.neighbours] == [f"{n:02}" for n in true[:10]]


async def outcome(catalog: Any, change: Any) -> Any:
    [result] = (await catalog.write([change])).outcomes
    return result


async def ids_stored(catalog: Any) -> list[str]:
    return [item.id for item in await catalog.page(after="", limit=100, vectors=False)]


async def test_a_put_of_another_etag_is_stale_and_changes_nothing(catalog: Any) -> None:
    [first] = await put(catalog, [writable("shoe", title="first")])
    [second] = await put(catalog, [writable("shoe", title="second", etag=first.etag)])
    stale = await outcome(catalog, writable("shoe", title="third", etag=first.etag))
    assert isinstance(stale, StaleEtag)
    assert (stale.given, stale.stored) == (first.etag, second.etag)
    [item] = await catalog.get(["shoe"], vectors=False)
    assert (item.title, item.etag) == ("second", second.etag)


async def test_a_put_with_an_etag_of_an_item_that_is_not_there_is_stale(catalog: Any) -> None:
    assert isinstance(await outcome(catalog, writable("shoe", etag="1")), StaleEtag)
    assert await ids_stored(catalog) == []


async def test_a_deletion_of_another_etag_is_stale(catalog: Any) -> None:
    [receipt] = await put(catalog, [writable("shoe")])
    assert isinstance(await outcome(catalog, ItemDeletion("shoe", "0")), StaleEtag)
    assert await ids_stored(catalog) == ["shoe"]
    gone = await outcome(catalog, ItemDeletion("shoe", receipt.etag))
    assert (gone.etag, gone.sequence > receipt.sequence) == ("", True)


async def test_an_update_changes_what_it_names_and_nothing_else(catalog: Any) -> None:
    picture = new_picture("0", b"one")
    attributes = {"price": 10, "stock": 3, "colour": "red"}
    before = writable("shoe", [ItemVector("visual", "0", unit(1, 0, 0))], [picture], title="old", attributes=attributes)
    await put(catalog, [before])
    [stored] = await catalog.get(["shoe"], vectors=True)
    update = ItemUpdate("shoe", title="", changed_attributes={"price": 9.5, "stock": None, "size": ("38", "39")})
    receipt = await outcome(catalog, update)
    [item] = await catalog.get(["shoe"], vectors=True)
    assert item.title == ""
    assert item.attributes == {"price": 9.5, "colour": "red", "size": ("38", "39")}
    assert item.pictures == stored.pictures
    assert [(vector.space, vector.picture_id) for vector in item.vectors] == [("visual", "0")]
    assert (item.etag, item.sequence, item.created) == (receipt.etag, receipt.sequence, stored.created)
    result = await catalog.search("visual", unit(1, 0, 0), 1)
    assert (ids(result), result.sequence) == (["shoe"], receipt.sequence)


async def test_an_update_may_replace_all_attributes_before_it_changes_some(catalog: Any) -> None:
    await put(catalog, [writable("shoe", attributes={"a": 1, "b": 2})])
    await catalog.write([ItemUpdate("shoe", attributes={"b": 3, "c": 4}, changed_attributes={"c": None, "d": 5})])
    [item] = await catalog.get(["shoe"], vectors=False)
    assert item.attributes == {"b": 3, "d": 5}


async def test_an_update_replaces_the_vectors_of_the_spaces_it_brings(catalog: Any) -> None:
    shape = ItemVector("shape", "", np.array([1, 1], np.float32))
    await put(catalog, [writable("shoe", [ItemVector("visual", "", unit(1, 0, 0)), shape])])
    await catalog.write([ItemUpdate("shoe", vectors=[ItemVector("visual", "", unit(0, 1, 0))])])
    [neighbour] = (await catalog.search("visual", unit(0, 1, 0), 5)).neighbours
    assert neighbour.distance == pytest.approx(0, abs=1e-6)
    assert ids(await catalog.search("shape", np.array([1, 1], np.float32), 1)) == ["shoe"]


async def test_an_update_replaces_pictures_and_the_vectors_made_from_them(catalog: Any) -> None:
    own = ItemVector("shape", "", np.array([1, 1], np.float32))
    made = [ItemVector("visual", "0", unit(1, 0, 0)), ItemVector("visual", "1", unit(1, 0, 0))]
    await put(catalog, [writable("shoe", [own, *made], [new_picture("0", b"0"), new_picture("1", b"1")])])
    new = ItemVector("visual", "new", unit(0, 1, 0))
    await catalog.write([ItemUpdate("shoe", pictures=[new_picture("new", b"new")], vectors=[new])])
    [item] = await catalog.get(["shoe"], vectors=True)
    assert [picture.id for picture in item.pictures] == ["new"]
    assert sorted((vector.space, vector.picture_id) for vector in item.vectors) == [("shape", ""), ("visual", "new")]
    assert (await catalog.picture("shoe", "")).content == b"new"
    await catalog.write([ItemUpdate("shoe", pictures=[], vectors=[])])
    assert ids(await catalog.search("visual", unit(0, 1, 0), 1)) == []
    assert ids(await catalog.search("shape", np.array([1, 1], np.float32), 1)) == ["shoe"]


async def test_an_update_of_nothing_stored_or_of_another_etag_is_refused(catalog: Any) -> None:
    await put(catalog, [writable("shoe", title="old")])
    assert isinstance(await outcome(catalog, ItemUpdate("boot", title="new")), ItemNotFound)
    assert isinstance(await outcome(catalog, ItemUpdate("shoe", "0", title="new")), StaleEtag)
    assert isinstance(
        await outcome(catalog, ItemUpdate("shoe", vectors=[ItemVector("visual", "", unit(1, 0))])), BadVector
    )
    [item] = await catalog.get(["shoe"], vectors=False)
    assert item.title == "old"


async def test_changes_of_all_kinds_in_one_call_follow_each_other(catalog: Any) -> None:
    time = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    written = await catalog.write(
        [
            writable("a", title="1"),
            ItemUpdate("a", title="2"),
            ItemDeletion("missing"),
            ItemDeletion("a"),
            WritableUser("u", {}),
            Interaction("u", "a", "like", 1.0, time),
            writable("b"),
        ]
    )
    kinds = [type(one) for one in written.outcomes]
    assert kinds == [Receipt, Receipt, ItemNotFound, Receipt, Receipt, Receipt, Receipt]
    sequences = [one.sequence for one in written.outcomes if isinstance(one, Receipt)]
    assert sequences == list(range(sequences[0], sequences[0] + 6))
    assert await ids_stored(catalog) == ["b"]


async def test_a_repeated_request_is_made_once_and_answered_alike(catalog: Any) -> None:
    changes = [writable("a"), ItemDeletion("b"), Interaction("u", "a", "buy", 2.0, datetime.datetime.now(datetime.UTC))]
    first = await catalog.write(changes, request_id="r1")
    await put(catalog, [writable("b")])
    second = await catalog.write(changes, request_id="r1")
    # What failed is tried again: now there is something to delete.
    assert isinstance(first.outcomes[1], ItemNotFound)
    assert isinstance(second.outcomes[1], Receipt)
    assert [second.outcomes[0], second.outcomes[2]] == [first.outcomes[0], first.outcomes[2]]
    assert (await catalog.status()).interactions == 1
    await put(catalog, [writable("b")])
    assert (await catalog.write(changes, request_id="r1")).outcomes == second.outcomes
    assert await ids_stored(catalog) == ["a", "b"]


async def test_a_request_id_used_for_other_changes_is_refused(catalog: Any) -> None:
    await catalog.write([writable("a"), writable("b")], request_id="r1")
    for changes in ([writable("b"), writable("a")], [writable("a")], [ItemDeletion("a"), writable("b")]):
        with pytest.raises(RequestIdReused, match="r1"):
            await catalog.write(changes, request_id="r1")
    assert (await catalog.status()).sequence == 2


async def test_a_request_id_used_for_other_contents_is_refused(catalog: Any) -> None:
    first = await catalog.write([writable("a")], request_id="r1", digest=b"sent")
    # What is prepared may differ from the first time, and isn't compared.
    later = await catalog.write([writable("a", title="later")], request_id="r1", digest=b"sent")
    assert later.outcomes == first.outcomes
    with pytest.raises(RequestIdReused, match="r1"):
        await catalog.write([writable("a")], request_id="r1", digest=b"other")
    assert (await catalog.status()).sequence == 1


async def test_a_user_comes_back_as_it_was_put(catalog: Any) -> None:
    factors = ItemVector("taste", "", np.array([1, -2], np.float32))
    first = await outcome(catalog, WritableUser("ann", {"age": 33, "tags": ("a", "b")}, [factors]))
    user = await catalog.user("ann")
    assert (user.id, user.attributes, user.etag, user.sequence) == (
        "ann",
        {"age": 33, "tags": ("a", "b")},
        first.etag,
        first.sequence,
    )
    [vector] = user.vectors
    assert vector.space == "taste"
    np.testing.assert_array_equal(vector.values, [1, -2])
    second = await outcome(catalog, WritableUser("ann", {}, etag=first.etag))
    again = await catalog.user("ann")
    assert (again.attributes, again.vectors, again.etag) == ({}, (), second.etag)
    assert again.created == user.created
    assert isinstance(await outcome(catalog, WritableUser("ann", {"age": 1}, etag=first.etag)), StaleEtag)
    assert isinstance(
        await outcome(catalog, WritableUser("bob", {}, [ItemVector("taste", "", unit(1, 0, 0))])), BadVector
    )
    with pytest.raises(UserNotFound, match="bob"):
        await catalog.user("bob")
    assert (await catalog.status()).users == 1


async def test_a_user_is_gone_with_all_that_they_did(catalog: Any) -> None:
    now = datetime.datetime.now(datetime.UTC)
    acts = [Interaction(user, item, "like", 1.0, now) for user, item in (("ann", "a"), ("bob", "a"), ("ann", "b"))]
    await catalog.write([WritableUser("ann", {"age": 33}, [ItemVector("taste", "", unit(1, 0))]), *acts])
    data = await catalog.user_data("ann")
    assert (data.user.attributes, data.interactions) == ({"age": 33}, 2)
    receipt = await outcome(catalog, UserDeletion("ann"))
    status = await catalog.status()
    assert (status.users, status.interactions, status.sequence) == (0, 1, receipt.sequence)
    assert [one.interaction for one in await catalog.interactions(after=0, limit=9)] == [acts[1]]
    with pytest.raises(UserNotFound, match="ann"):
        await catalog.user_data("ann")
    assert isinstance(await outcome(catalog, UserDeletion("ann")), UserNotFound)


async def test_of_a_user_who_was_never_put_their_acts_are_told_and_deleted(catalog: Any) -> None:
    await catalog.write([Interaction("ann", "a", "like", 1.0, datetime.datetime.now(datetime.UTC))])
    data = await catalog.user_data("ann")
    assert (data.user, data.interactions, data.has_factors) == (None, 1, False)
    assert isinstance(await outcome(catalog, UserDeletion("ann")), Receipt)


async def test_an_interaction_names_the_answer_that_it_came_from(catalog: Any) -> None:
    act = Interaction("ann", "a", "buy", 1.0, datetime.datetime.now(datetime.UTC), "0123abcd")
    await catalog.write([act])
    assert [one.interaction for one in await catalog.interactions(after=0, limit=1)] == [act]


async def test_interactions_come_back_in_the_order_of_their_changes(catalog: Any) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    times = [datetime.datetime(2026, 1, day, 3, 4, 5, 678901, zone) for day in (3, 1, 2)]
    acts = [Interaction("ann", f"item {n}", "like", n - 0.5, time) for n, time in enumerate(times)]
    written = await catalog.write(acts)
    stored = await catalog.interactions(after=0, limit=10)
    assert [one.interaction for one in stored] == acts
    assert [one.sequence for one in stored] == [receipt.sequence for receipt in written.outcomes]
    assert await catalog.interactions(after=stored[0].sequence, limit=1) == [stored[1]]
    assert await catalog.interactions(after=stored[2].sequence, limit=1) == []


async def test_vectors_of_pictures_are_known_by_the_pictures_content(catalog: Any) -> None:
    red, blue = new_picture("0", b"red"), new_picture("1", b"blue")
    vectors = [ItemVector("visual", "0", unit(1, 0, 0)), ItemVector("visual", "1", unit(0, 1, 0))]
    own = ItemVector("shape", "", np.array([1, 2], np.float32))
    await put(catalog, [writable("shoe", pictures=[red, blue], vectors=[*vectors, own]), writable("bag")])
    wanted = {"shoe": {blue.picture.sha256, "0" * 64}, "bag": {red.picture.sha256}, "gone": {red.picture.sha256}}
    found = await catalog.picture_vectors(wanted)
    assert {item: {sha: list(spaces) for sha, spaces in ones.pictures.items()} for item, ones in found.items()} == {
        "shoe": {blue.picture.sha256: ["visual"]}
    }
    np.testing.assert_array_equal(found["shoe"].pictures[blue.picture.sha256]["visual"], unit(0, 1, 0))


async def test_a_feed_replaces_the_catalogue_at_its_commit_and_not_before(catalog: Any) -> None:
    await put(catalog, [vectored("gone", unit(1, 0, 0)), vectored("stays", unit(0, 1, 0))])
    async with catalog.feed() as feed:
        assert await feed.stage([vectored("stays", unit(0, 0, 1)), vectored("new", unit(1, 1, 0))]) == [None, None]
        assert await ids_stored(catalog) == ["gone", "stays"]
        assert ids(await catalog.search("visual", unit(1, 0, 0), 3)) == ["gone", "stays"]
        summary = await feed.commit()
    assert summary == FeedSummary(created=1, replaced=1, unchanged=0, deleted=1, sequence=summary.sequence)
    assert await ids_stored(catalog) == ["new", "stays"]
    result = await catalog.search("visual", unit(0, 0, 1), 3)
    assert (ids(result), result.sequence) == (["stays", "new"], summary.sequence)
    assert (await catalog.status()).sequence == summary.sequence


async def test_a_feed_without_its_commit_leaves_no_trace(catalog: Any) -> None:
    await put(catalog, [vectored("a", unit(1, 0, 0))])
    before = await catalog.status()
    async with catalog.feed() as feed:
        await feed.stage([writable("b", pictures=[new_picture("0", b"b")]), vectored("a", unit(0, 1, 0))])
    with pytest.raises(RuntimeError, match="midway"):
        async with catalog.feed() as feed:
            await feed.stage([writable("c")])
            raise RuntimeError("midway")
    assert await catalog.status() == before
    [neighbour] = (await catalog.search("visual", unit(1, 0, 0), 2)).neighbours
    assert neighbour.distance == pytest.approx(0, abs=1e-6)


async def test_a_feed_leaves_items_of_an_unchanged_digest_as_they_are(catalog: Any) -> None:
    await put(catalog, [writable("same", digest=b"1"), writable("other", digest=b"1"), writable("unknown")])
    before = await catalog.get(["same", "other", "unknown"], vectors=False)
    async with catalog.feed() as feed:
        assert await feed.unchanged({"same": b"1", "other": b"2", "unknown": b"", "new": b"1"}) == {"same"}
        await feed.stage(
            [writable("other", digest=b"2"), writable("unknown", digest=b"3"), writable("new", digest=b"1")]
        )
        summary = await feed.commit()
    assert (summary.created, summary.replaced, summary.unchanged, summary.deleted) == (1, 2, 1, 0)
    after = await catalog.get(["same", "other", "unknown"], vectors=False)
    assert after[0] == before[0]
    assert all(one.etag != two.etag for one, two in zip(before[1:], after[1:], strict=True))
    async with catalog.feed() as feed:
        digests = {"same": b"1", "other": b"2", "unknown": b"3", "new": b"1"}
        assert await feed.unchanged(digests) == set(digests)
        again = await feed.commit()
    assert again == FeedSummary(0, 0, 4, 0, summary.sequence)


async def test_an_updated_item_has_no_digest_any_more(catalog: Any) -> None:
    await put(catalog, [writable("shoe", digest=b"1")])
    await catalog.write([ItemUpdate("shoe", changed_attributes={"price": 1})])
    async with catalog.feed() as feed:
        assert await feed.unchanged({"shoe": b"1"}) == set()
        await feed.stage([writable("shoe", digest=b"1")])
        await feed.commit()
    [item] = await catalog.get(["shoe"], vectors=False)
    assert item.attributes == {}


async def test_an_item_that_a_feed_could_not_stage_stays_as_it_was(catalog: Any) -> None:
    await put(catalog, [vectored("bad", unit(1, 0, 0)), writable("gone")])
    async with catalog.feed() as feed:
        [error, good] = await feed.stage([vectored("bad", np.ones(4, np.float32)), writable("good")])
        assert isinstance(error, BadVector)
        assert good is None
        summary = await feed.commit()
    assert (summary.created, summary.replaced, summary.unchanged, summary.deleted) == (1, 0, 1, 1)
    assert await ids_stored(catalog) == ["bad", "good"]


async def test_what_others_write_while_a_feed_is_gathered_follows_its_rules_too(catalog: Any) -> None:
    await put(catalog, [writable("same", digest=b"1"), writable("deleted", digest=b"1")])
    async with catalog.feed() as feed:
        assert await feed.unchanged({"same": b"1", "deleted": b"1"}) == {"same", "deleted"}
        await feed.stage([writable("brought", title="feed")])
        await catalog.write(
            [
                ItemUpdate("same", title="other"),
                ItemDeletion("deleted"),
                writable("brought", title="other"),
                writable("stranger"),
            ]
        )
        summary = await feed.commit()
    assert (summary.created, summary.replaced, summary.unchanged, summary.deleted) == (0, 1, 1, 1)
    items = await catalog.get(["same", "deleted", "brought", "stranger"], vectors=False)
    assert [item and item.title for item in items] == ["other", None, "feed", None]


async def test_the_last_item_of_an_id_in_a_feed_wins(catalog: Any) -> None:
    async with catalog.feed() as feed:
        await feed.stage([writable("a", title="1"), writable("a", title="2")])
        await feed.stage([writable("a", title="3", pictures=[new_picture("0", b"three")])])
        await feed.commit()
    [item] = await catalog.get(["a"], vectors=False)
    assert item.title == "3"
    assert (await catalog.picture("a", "0")).content == b"three"


async def test_many_searches_are_answered_in_their_order(catalog: Any) -> None:
    await catalog.write([vectored(name, vector) for name, vector in (("x", unit(1, 0, 0)), ("y", unit(0, 1, 0)))])
    searches = [
        Search("visual", unit(0, 1, 0), 1),
        Search("visual", unit(1, 0, 0), 2),
        Search("shape", np.array([1, 1], np.float32), 3),
        Search("visual", unit(1, 0, 0), 2, exclude=frozenset({"x"})),
        *[Search("visual", unit(1, 0, 0), 1, target_recall=1.0)] * 20,
    ]
    found = [ids(result) for result in await catalog.search_many(searches)]
    assert found == [["y"], ["x", "y"], [], ["y"], *[["x"]] * 20]
    assert await catalog.search_many([]) == []


async def test_many_searches_with_one_of_a_space_that_is_not_there_are_refused(catalog: Any) -> None:
    with pytest.raises(SpaceNotFound):
        await catalog.search_many([Search("visual", unit(1, 0, 0), 1), Search("nowhere", unit(1, 0, 0), 1)])


async def test_a_state_gives_all_vectors_of_items_by_item(catalog: Any) -> None:
    two = [ItemVector("visual", "0", unit(1, 0, 0)), ItemVector("visual", "1", unit(0, 1, 0))]
    await put(catalog, [writable("two", two), vectored("one", unit(0, 0, 1)), vectored("gone", unit(1, 1, 1))])
    await put(catalog, [writable("bare"), writable("shape", [ItemVector("shape", "", np.array([1, 2], np.float32))])])
    await delete(catalog, "gone")
    state = await catalog.state()
    rows = state.vectors("visual", ["one", "gone", "two", "nothing", "bare", "shape"])
    assert rows.owners.tolist() == [0, 2, 2]
    assert list(rows.picture_ids) == ["", "0", "1"]
    np.testing.assert_array_equal(rows.values, np.array([unit(0, 0, 1), unit(1, 0, 0), unit(0, 1, 0)]))
    assert state.vectors("visual", []).values.shape == (0, 3)
    assert state.vectors("taste", ["one"]).values.shape == (0, 2)
    with pytest.raises(SpaceNotFound):
        state.vectors("nowhere", ["one"])


async def test_a_state_stays_as_it_was_taken(catalog: Any) -> None:
    await put(catalog, [writable("shoe", [ItemVector("visual", "", unit(1, 0, 0))], category="shoes")])
    state = await catalog.state()
    await put(catalog, [writable("shoe", [ItemVector("visual", "", unit(0, 1, 0))], category="boots")])
    await put(catalog, [vectored("new", unit(1, 0, 0))])
    assert (await catalog.state()).sequence > state.sequence
    np.testing.assert_array_equal(state.vectors("visual", ["shoe", "new"]).values, [unit(1, 0, 0)])
    assert state.attributes("category", ["shoe", "new"]) == ["shoes", None]
    assert ids(state.search(Search("visual", unit(1, 0, 0), 5))) == ["shoe"]
    assert state.spaces == catalog.spaces()
    now = await catalog.state()
    np.testing.assert_array_equal(now.vectors("visual", ["shoe"]).values, [unit(0, 1, 0)])
    assert now.attributes("category", ["new", "shoe"]) == [None, "boots"]


async def test_a_state_gives_attributes_of_items_that_have_vectors(catalog: Any) -> None:
    await shop(catalog)
    state = await catalog.state()
    assert state.attributes("attributes.price", ["c", "nothing", "a", "d"]) == [30, None, 10, None]
    assert state.attributes("attributes.tags", ["b"]) == [("new", "blue")]
    assert state.attributes("attributes.nothing", ["b"]) == [None]
    assert state.attributes("category", ["b", "a"]) == ["shoes", "shoes"]


async def test_a_state_names_the_items_of_a_space_that_match(catalog: Any) -> None:
    await shop(catalog)
    several = [ItemVector("visual", picture, unit(1, 0, 0)) for picture in ("0", "1")]
    await put(catalog, [writable("two", several), writable("other", [ItemVector("taste", "", unit(1, 0))])])
    await delete(catalog, "b")
    state = await catalog.state()
    assert sorted(state.items("visual", None)) == ["a", "c", "two"]
    assert state.items("visual", filtered("attributes.price > 10")) == ["c"]
    assert state.items("shape", None) == []
    with pytest.raises(SpaceNotFound):
        state.items("nowhere", None)


async def test_a_state_draws_vectors_of_a_space_each_once(catalog: Any) -> None:
    axes = {f"{n}": unit(1, n, 0) for n in range(8)}
    await put(catalog, [vectored(name, values) for name, values in axes.items()])
    await put(catalog, [vectored("0", unit(0, 0, 1))])
    await delete(catalog, "1")
    state = await catalog.state()
    living = {(0, 0, 1), *((1, n, 0) for n in range(2, 8))}
    assert _directions(state.sample("visual", 10)) == sorted(living)
    some = state.sample("visual", 3)
    np.testing.assert_array_equal(some, state.sample("visual", 3))
    assert len(set(_directions(some)) & living) == 3
    assert state.sample("shape", 3).shape == (0, 2)


def _directions(vectors: Any) -> list[tuple[int, ...]]:
    """Return vectors along small whole numbers as these, in order."""
    scaled = vectors / np.where(vectors[:, :1] > 0, vectors[:, :1], 1)
    return sorted(tuple(np.rint(vector).astype(int).tolist()) for vector in scaled)


async def shop(catalog: Any) -> None:
    """Put three items with a price and one without vectors, all red but one."""
    for name, price, vector in (("a", 10, unit(1, 0, 0)), ("b", 20, unit(3, 1, 0)), ("c", 30, unit(1, 1, 0))):
        colour = "red" if name != "b" else "blue"
        attributes = {"price": price, "colour": colour, "tags": ("new", colour)}
        await put(
            catalog, [writable(name, [ItemVector("visual", "", vector)], attributes=attributes, category="shoes")]
        )
    await put(catalog, [writable("d", attributes={"colour": "red"})])


def filtered(text: str) -> Expression:
    expression = parse(text)
    assert expression is not None
    return expression


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("attributes.price >= 20", ["b", "c"]),
        ("attributes.colour = red", ["a", "c"]),
        ("attributes.tags:blue", ["b"]),
        ("category = shoes AND NOT attributes.price = 20", ["a", "c"]),
        ("attributes.price = (10 OR 20) -attributes.colour = blue", ["a"]),
        ("attributes.nothing:*", []),
        ("-attributes.nothing:*", ["a", "b", "c"]),
    ],
)
async def test_search_returns_the_nearest_that_match(catalog: Any, text: str, expected: list[str]) -> None:
    await shop(catalog)
    assert ids(await catalog.search("visual", unit(1, 0, 0), 3, expression=filtered(text))) == expected
    searches = [Search("visual", unit(1, 0, 0), 3, expression=filtered(text)), Search("visual", unit(1, 0, 0), 3)]
    assert [ids(result) for result in await catalog.search_many(searches)] == [expected, ["a", "b", "c"]]


async def test_a_filter_sees_what_an_update_changed(catalog: Any) -> None:
    await shop(catalog)
    cheap = filtered("attributes.price < 15")
    await catalog.write([ItemUpdate("a", changed_attributes={"price": 40}), ItemUpdate("c", attributes={"price": 1.5})])
    assert ids(await catalog.search("visual", unit(1, 0, 0), 3, expression=cheap)) == ["c"]
    await catalog.write([ItemUpdate("c", changed_attributes={"price": None}), ItemUpdate("b", category="")])
    assert ids(await catalog.search("visual", unit(1, 0, 0), 3, expression=cheap)) == []
    assert ids(await catalog.search("visual", unit(1, 0, 0), 3, expression=filtered("category:*"))) == ["a", "c"]


async def test_facets_count_all_items_that_match_but_no_deleted_ones(catalog: Any) -> None:
    await shop(catalog)
    await delete(catalog, "c")
    result = await catalog.search(
        "visual",
        unit(1, 0, 0),
        1,
        exclude=frozenset("a"),
        expression=filtered("attributes.colour = red"),
        facets=[FacetRequest("attributes.colour", 5), FacetRequest("attributes.price", 5), FacetRequest("title", 5)],
    )
    assert ids(result) == []
    assert result.matching == 2
    assert result.facets == (
        Facet("attributes.colour", (("red", 2),), 1, 0),
        Facet("attributes.price", ((10, 1),), 1, 1),
        Facet("title", (), 0, 2),
    )


async def test_facets_without_a_filter_count_all_items(catalog: Any) -> None:
    await shop(catalog)
    result = await catalog.search("visual", unit(1, 0, 0), 1, facets=[FacetRequest("attributes.tags", 1)])
    assert (ids(result), result.matching) == (["a"], 4)
    assert result.facets == (Facet("attributes.tags", (("new", 3),), 3, 1),)
