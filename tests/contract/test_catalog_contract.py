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
from fakes.items import new_picture, unit, vectored, writable
from twinset.contract import Metric
from twinset_server.catalog import open_catalog
from twinset_server.config import StoreSettings
from twinset_server.domain import ItemVector, Receipt, Space
from twinset_server.errors import (
    BadVector,
    ItemNotFound,
    NoVector,
    PictureNotFound,
    PictureNotStored,
    SpaceNotFound,
    StartupError,
)

VISUAL = Space("visual", 3, Metric.COSINE, "a" * 64, "net-aaaaaaaa")
SHAPE = Space("shape", 2, Metric.EUCLIDEAN, "b" * 64)
TASTE = Space("taste", 2, Metric.INNER_PRODUCT, "c" * 64)


@pytest.fixture(params=["fake", "sqlite"])
async def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "fake":
        yield FakeCatalog([VISUAL, SHAPE, TASTE])
        return
    async with open_catalog(StoreSettings(path=tmp_path / "store"), {}) as opened:
        for space in (VISUAL, SHAPE, TASTE):
            await opened.add_space(space)
        yield opened


@pytest.fixture(params=["fake", "sqlite"])
async def pictureless(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "fake":
        yield FakeCatalog([VISUAL], keep_pictures=False)
        return
    async with open_catalog(StoreSettings(path=tmp_path / "store", pictures="none"), {}) as opened:
        yield opened


def ids(result: Any) -> list[str]:
    return [neighbour.item_id for neighbour in result.neighbours]


async def test_a_put_item_is_found_by_the_next_search(catalog: Any) -> None:
    [receipt] = await catalog.put([vectored("shoe", unit(1, 0, 0))])
    result = await catalog.search("visual", unit(1, 0, 0), 1)
    assert ids(result) == ["shoe"]
    assert result.neighbours[0].distance == pytest.approx(0, abs=1e-6)
    assert result.sequence == receipt.sequence


async def test_search_in_an_empty_space_finds_nothing(catalog: Any) -> None:
    result = await catalog.search("visual", unit(1, 0, 0), 5)
    assert (ids(result), result.exact, result.examined, result.sequence) == ([], True, 0, 0)


async def test_a_put_replaces_the_whole_item(catalog: Any) -> None:
    old = ItemVector("visual", "0", unit(1, 0, 0)), ItemVector("shape", "", np.array([1, 1], np.float32))
    await catalog.put([writable("shoe", old, [new_picture("0", b"old")], title="old", attributes={"size": 1})])
    await catalog.put([vectored("shoe", unit(0, 1, 0))])
    [item] = await catalog.get(["shoe"], vectors=True)
    assert (item.title, item.attributes, item.pictures) == ("", {}, ())
    assert [vector.space for vector in item.vectors] == ["visual"]
    assert ids(await catalog.search("shape", np.array([1, 1], np.float32), 1)) == []
    [neighbour] = (await catalog.search("visual", unit(1, 0, 0), 5)).neighbours
    assert neighbour.distance == pytest.approx(1)


async def test_the_later_item_of_one_id_in_a_call_wins(catalog: Any) -> None:
    receipts = await catalog.put([vectored("shoe", unit(1, 0, 0)), vectored("shoe", unit(0, 1, 0))])
    assert receipts[0].sequence < receipts[1].sequence
    [neighbour] = (await catalog.search("visual", unit(0, 1, 0), 5)).neighbours
    assert neighbour.distance == pytest.approx(0, abs=1e-6)


async def test_of_two_calls_the_one_made_later_wins(catalog: Any) -> None:
    await asyncio.gather(*(catalog.put([writable("shoe", title=str(number))]) for number in range(20)))
    [item] = await catalog.get(["shoe"], vectors=False)
    assert item.title == "19"


async def test_a_bad_item_gets_its_own_error_and_leaves_no_trace(catalog: Any) -> None:
    results = await catalog.put(
        [
            vectored("good", unit(1, 0, 0)),
            vectored("long", np.ones(4, np.float32)),
            vectored("nan", np.array([np.nan, 0, 1], np.float32)),
            vectored("unscaled", np.array([3, 0, 4], np.float32)),
            vectored("lost", unit(1, 0, 0), space="nowhere"),
            vectored("last", unit(0, 1, 0)),
        ]
    )
    kinds = [type(result) for result in results]
    assert kinds == [Receipt, BadVector, BadVector, BadVector, SpaceNotFound, Receipt]
    assert [item.id for item in await catalog.page(after="", limit=10, vectors=False)] == ["good", "last"]


async def test_an_error_leaves_what_was_stored_before(catalog: Any) -> None:
    await catalog.put([vectored("shoe", unit(1, 0, 0))])
    await catalog.put([vectored("shoe", np.ones(4, np.float32))])
    assert ids(await catalog.search("visual", unit(1, 0, 0), 1)) == ["shoe"]


async def test_etag_and_sequence_change_with_every_put_and_created_stays(catalog: Any) -> None:
    [first] = await catalog.put([writable("shoe")])
    [before] = await catalog.get(["shoe"], vectors=False)
    [second] = await catalog.put([writable("shoe")])
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
    await catalog.put([writable("shoe", attributes=attributes)])
    [item] = await catalog.get(["shoe"], vectors=False)
    assert item.attributes == attributes
    assert {name: type(value) for name, value in item.attributes.items()} == {
        name: type(value) for name, value in attributes.items()
    }


async def test_get_keeps_the_order_asked_for_and_says_what_is_missing(catalog: Any) -> None:
    await catalog.put([writable("a"), writable("b")])
    items = await catalog.get(["b", "x", "a", "b"], vectors=False)
    assert [item and item.id for item in items] == ["b", None, "a", "b"]


async def test_vectors_come_only_when_asked_for(catalog: Any) -> None:
    await catalog.put([vectored("shoe", unit(1, 2, 2))])
    [bare] = await catalog.get(["shoe"], vectors=False)
    [full] = await catalog.page(after="", limit=1, vectors=True)
    assert bare.vectors is None
    np.testing.assert_array_equal(full.vectors[0].values, unit(1, 2, 2))


async def test_ids_are_compared_and_paged_by_their_bytes(catalog: Any) -> None:
    # The last two swap places in UTF-16, "a" and "B" in most collations.
    names = ["B", "a", "a b", "é", "\ufb01", "\U0001f45f"]
    await catalog.put([writable(name) for name in reversed(names)])
    first = await catalog.page(after="", limit=4, vectors=False)
    rest = await catalog.page(after=first[-1].id, limit=4, vectors=False)
    assert [item.id for item in [*first, *rest]] == names
    assert await catalog.get(["A"], vectors=False) == [None]


async def test_a_deleted_item_is_gone(catalog: Any) -> None:
    [receipt] = await catalog.put([vectored("shoe", unit(1, 0, 0))])
    assert await catalog.delete("shoe") > receipt.sequence
    assert await catalog.get(["shoe"], vectors=False) == [None]
    assert ids(await catalog.search("visual", unit(1, 0, 0), 1)) == []
    with pytest.raises(ItemNotFound, match="shoe"):
        await catalog.delete("shoe")


async def test_a_picture_comes_back_as_it_was_put(catalog: Any) -> None:
    await catalog.put([writable("shoe", pictures=[new_picture("front", b"one"), new_picture("back", b"two")])])
    main = await catalog.picture("shoe", "")
    assert (main.picture.id, main.picture.stored, main.content) == ("front", True, b"one")
    assert (await catalog.picture("shoe", "back")).content == b"two"
    [item] = await catalog.get(["shoe"], vectors=False)
    assert [(one.id, one.width, one.height, one.size_bytes) for one in item.pictures] == [
        ("front", 4, 3, 3),
        ("back", 4, 3, 3),
    ]


async def test_a_picture_that_is_not_there_is_named(catalog: Any) -> None:
    await catalog.put([writable("shoe", pictures=[new_picture("front", b"one")]), writable("bare")])
    with pytest.raises(ItemNotFound):
        await catalog.picture("nothing", "")
    with pytest.raises(PictureNotFound):
        await catalog.picture("shoe", "side")
    with pytest.raises(PictureNotFound):
        await catalog.picture("bare", "")


async def test_contents_are_not_kept_where_the_settings_say_so(pictureless: Any) -> None:
    await pictureless.put([writable("shoe", pictures=[new_picture("0", b"one")])])
    [item] = await pictureless.get(["shoe"], vectors=False)
    assert [picture.stored for picture in item.pictures] == [False]
    with pytest.raises(PictureNotStored):
        await pictureless.picture("shoe", "")


async def test_the_vector_of_an_item_is_the_callers_own_before_the_main_pictures(catalog: Any) -> None:
    pictures = [new_picture("z", b"z"), new_picture("a", b"a")]
    embedded = [ItemVector("visual", "a", unit(0, 1, 0)), ItemVector("visual", "z", unit(1, 0, 0))]
    await catalog.put([writable("embedded", embedded, pictures)])
    await catalog.put([writable("brought", [*embedded, ItemVector("visual", "", unit(0, 0, 1))], pictures)])
    np.testing.assert_array_equal(await catalog.vector_of("embedded", "visual"), unit(1, 0, 0))
    np.testing.assert_array_equal(await catalog.vector_of("brought", "visual"), unit(0, 0, 1))


async def test_the_vector_of_an_item_that_has_none_is_an_error(catalog: Any) -> None:
    await catalog.put([vectored("shoe", unit(1, 0, 0))])
    with pytest.raises(NoVector, match="shape"):
        await catalog.vector_of("shoe", "shape")
    with pytest.raises(ItemNotFound):
        await catalog.vector_of("nothing", "visual")
    with pytest.raises(SpaceNotFound):
        await catalog.vector_of("shoe", "nowhere")


async def test_an_item_scores_by_its_best_picture_and_appears_once(catalog: Any) -> None:
    await catalog.put(
        [
            writable("two", [ItemVector("visual", "far", unit(0, 0, 1)), ItemVector("visual", "near", unit(9, 1, 0))]),
            vectored("one", unit(1, 1, 0), picture_id="0"),
        ]
    )
    result = await catalog.search("visual", unit(1, 0, 0), 5)
    assert [(one.item_id, one.picture_id) for one in result.neighbours] == [("two", "near"), ("one", "0")]
    assert result.examined == 3


async def test_equal_distances_come_in_the_byte_order_of_ids(catalog: Any) -> None:
    names = ["B", "a", "é", "\ufb01", "\U0001f45f"]
    await catalog.put([vectored(name, unit(1, 2, 3)) for name in reversed(names)])
    assert ids(await catalog.search("visual", unit(3, 2, 1), 3)) == names[:3]


async def test_search_never_returns_an_excluded_item_and_still_k_others(catalog: Any) -> None:
    circle = [vectored(f"{place:04d}", unit(np.cos(place / 1e3), np.sin(place / 1e3), 0)) for place in range(1100)]
    await catalog.put(circle)
    exclude = frozenset([f"{place:04d}" for place in range(1000)] + ["unknown"])
    result = await catalog.search("visual", unit(1, 0, 0), 5, exclude=exclude)
    assert ids(result) == ["1000", "1001", "1002", "1003", "1004"]


async def test_fewer_than_k_come_back_only_where_there_are_fewer(catalog: Any) -> None:
    await catalog.put([vectored(name, unit(1, 0, 0)) for name in "abc"])
    assert ids(await catalog.search("visual", unit(0, 1, 0), 1000, exclude=frozenset("b"))) == ["a", "c"]


async def test_cosine_distance_is_one_minus_the_cosine(catalog: Any) -> None:
    await catalog.put(
        [vectored("same", unit(1, 0, 0)), vectored("across", unit(1, 1, 0)), vectored("back", unit(-1, 0, 0))]
    )
    result = await catalog.search("visual", unit(1, 0, 0), 3)
    assert [one.distance for one in result.neighbours] == pytest.approx([0, 1 - 0.5**0.5, 2], abs=1e-6)


async def test_euclidean_distance_is_squared(catalog: Any) -> None:
    await catalog.put([vectored(str(x), np.array([x, 0], np.float32), space="shape") for x in (0, 3, 5)])
    result = await catalog.search("shape", np.array([0, 4], np.float32), 3)
    assert [(one.item_id, one.distance) for one in result.neighbours] == [("0", 16.0), ("3", 25.0), ("5", 41.0)]


async def test_inner_product_distance_is_its_negative(catalog: Any) -> None:
    await catalog.put([vectored(str(x), np.array([x, 1], np.float32), space="taste") for x in (-2, 0, 3)])
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
    await catalog.put([writable("a", vectors, [new_picture("0", b"0"), new_picture("1", b"1")]), writable("b")])
    await catalog.put([vectored("c", np.ones(2, np.float32), space="shape")])
    sequence = await catalog.delete("b")
    status = await catalog.status()
    assert (status.items, status.pictures, status.sequence) == (2, 2, sequence)
    assert [(one.space.name, one.vectors, one.delta) for one in status.spaces] == [
        ("shape", 1, 1),
        ("taste", 0, 0),
        ("visual", 2, 2),
    ]


async def test_spaces_are_known_by_name(catalog: Any) -> None:
    assert dict(catalog.spaces()) == {"shape": SHAPE, "taste": TASTE, "visual": VISUAL}


async def test_a_space_can_be_added_again_but_not_with_another_fingerprint(catalog: Any) -> None:
    await catalog.put([vectored("shoe", unit(1, 0, 0))])
    await catalog.add_space(VISUAL)
    assert ids(await catalog.search("visual", unit(1, 0, 0), 1)) == ["shoe"]
    with pytest.raises(StartupError, match=f"{'a' * 64}.*{'d' * 64}"):
        await catalog.add_space(Space("visual", 3, Metric.COSINE, "d" * 64, "net-dddddddd"))
    assert catalog.spaces()["visual"] == VISUAL


async def test_vectors_a_little_off_unit_length_are_ordered_by_their_directions(catalog: Any) -> None:
    rng = np.random.default_rng(3)
    near = np.array([1, 0, 0]) + rng.normal(0, 0.02, (60, 3))
    directions = near / np.linalg.norm(near, axis=1, keepdims=True)
    rows = (directions * rng.uniform(1 - 9e-4, 1 + 9e-4, (60, 1))).astype(np.float32)
    await catalog.put([vectored(f"{n:02}", row) for n, row in enumerate(rows)])
    query = unit(1, 0.01, 0)
    true = np.argsort(-(rows.astype(np.float64) @ query) / np.linalg.norm(rows.astype(np.float64), axis=1))
    result = await catalog.search("visual", query, 10)
    assert [one.item_id for one in result.neighbours] == [f"{n:02}" for n in true[:10]]
