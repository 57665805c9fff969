"""Generations of models in the tables, through the catalogue that follows them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.items import delete, new_picture, put, unit, vectored, writable
from twinset.contract import Metric
from twinset_server.catalog import Folder, SqliteCatalog, open_alone
from twinset_server.catalog.lineage import StoredModels
from twinset_server.config import StoreSettings
from twinset_server.domain import (
    ItemVector,
    ModelState,
    PendingItem,
    Recomputed,
    Search,
    Space,
    WritableItem,
    WritableUser,
)
from twinset_server.errors import ModelSwitched, TwinsetError, VectorsLost

OLD = Space("visual", 3, Metric.COSINE, "a" * 64, "old-aaaaaaaa")
PAIRS = [Space(name, 2, Metric.INNER_PRODUCT, "c" * 64, "old-aaaaaaaa") for name in ("pair_source", "pair_target")]
NEW = Space("visual", 3, Metric.COSINE, "b" * 64, "new-bbbbbbbb")

ITEMS = ["i0", "i1", "i2"]
TURNED = {"i0": unit(0, 1, 0), "i1": unit(0, 0, 1), "i2": unit(1, 0, 0)}


def pictured(item_id: str, *values: float, fingerprint: str = "a" * 64) -> WritableItem:
    """An item with one picture and the old model's vector of it."""
    vector = ItemVector("visual", "main", unit(*values), fingerprint)
    return writable(item_id, pictures=[new_picture("main", item_id.encode())], vectors=[vector])


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[SqliteCatalog]:
    async with open_alone(StoreSettings(path=tmp_path), {}, [OLD]) as opened:
        await put(opened, [pictured("i0", 1, 0, 0), pictured("i1", 0, 1, 0), pictured("i2", 0, 0, 1)])
        yield opened


@pytest.fixture
def store(tmp_path: Path, catalog: SqliteCatalog) -> StoredModels:
    return StoredModels(Folder(tmp_path))


def turned(pending: list[PendingItem] | Any) -> list[Recomputed]:
    """The new model's vectors: the old ones turned."""
    return [
        Recomputed(
            one, [ItemVector("visual", name, TURNED[one.id]) for name in one.picture_ids if name not in one.made]
        )
        for one in pending
    ]


async def recompute(pending: Any) -> list[Recomputed]:
    return turned(pending)


async def nearest(catalog: SqliteCatalog, *values: float) -> tuple[str, str]:
    state = await catalog.state()
    found = state.search(Search("visual", unit(*values), 1)).neighbours
    return found[0].item_id, state.spaces["visual"].fingerprint[:1]


async def filled(store: StoredModels) -> int:
    generation = await store.begin(NEW.model or "", [NEW])
    while pending := await store.pending(generation.number, 2):
        await store.add(generation.number, turned(pending))
    return generation.number


async def test_a_filled_model_serves_from_one_change_on_and_the_old_one_comes_back(
    catalog: SqliteCatalog, store: StoredModels
) -> None:
    number = await filled(store)
    assert await nearest(catalog, 1, 0, 0) == ("i0", "a")
    switched = await store.switch(number, recompute, drop=False)
    assert (switched.generation.model, switched.former, bool(switched.lost)) == ("new-bbbbbbbb", "old-aaaaaaaa", False)
    assert await nearest(catalog, 1, 0, 0) == ("i2", "b")
    assert catalog.switched() == switched.sequence == catalog.spaces()["visual"].switched
    assert list(catalog.models()) == ["new-bbbbbbbb", "old-aaaaaaaa"]
    np.testing.assert_array_equal(await catalog.vector_of("i0", "visual"), TURNED["i0"])
    [item] = await catalog.get(["i0"], vectors=True)
    assert item is not None
    assert [(one.space, one.fingerprint) for one in item.vectors or ()] == [("visual", "b" * 64)]
    kept = [one for one in await store.generations() if one.state is ModelState.KEPT]
    back = await store.switch(kept[0].number, recompute, drop=False)
    assert await nearest(catalog, 1, 0, 0) == ("i0", "a")
    assert catalog.switched() == back.sequence > switched.sequence


async def test_what_changes_while_a_model_is_filled_is_pending_and_in_it_at_the_switch(
    catalog: SqliteCatalog, store: StoredModels
) -> None:
    number = await filled(store)
    assert await store.pending(number, 9) == []
    await put(catalog, [pictured("i1", 1, 0, 0)])
    await delete(catalog, "i0")
    [pending] = await store.pending(number, 9)
    assert (pending.id, list(pending.picture_ids), pending.made) == ("i1", ["main"], frozenset())
    await store.switch(number, recompute, drop=False)
    assert await nearest(catalog, 0, 0, 1) == ("i1", "b")
    assert {one.item_id for one in (await catalog.search("visual", unit(1, 1, 1), 9)).neighbours} == {"i1", "i2"}


async def test_an_item_put_while_its_vector_was_made_keeps_none_of_that(
    catalog: SqliteCatalog, store: StoredModels
) -> None:
    generation = await store.begin(NEW.model or "", [NEW])
    pending = await store.pending(generation.number, 9)
    await put(catalog, [pictured("i1", 1, 0, 0)])
    await store.add(generation.number, turned(pending))
    assert [one.id for one in await store.pending(generation.number, 9)] == ["i1"]


async def test_a_filling_goes_on_where_it_was_and_another_is_given_up(
    catalog: SqliteCatalog, store: StoredModels
) -> None:
    first = await store.begin(NEW.model or "", [NEW])
    await store.add(first.number, turned(await store.pending(first.number, 2)))
    again = await store.begin(NEW.model or "", [NEW])
    assert (again.number, again.pending) == (first.number, 1)
    other = await store.begin("other-dddddddd", [replace(NEW, fingerprint="d" * 64, model="other-dddddddd")])
    await store.tidy(other.number)
    assert [one.model for one in await store.generations()] == ["old-aaaaaaaa", "other-dddddddd"]
    fresh = await store.begin(NEW.model or "", [NEW])
    assert (fresh.number > other.number, fresh.pending) == (True, 3)


async def test_a_vector_of_the_model_before_is_not_committed_after_the_switch(
    catalog: SqliteCatalog, store: StoredModels
) -> None:
    await store.switch(await filled(store), recompute, drop=False)
    written = await catalog.write([pictured("i9", 1, 0, 0)])
    [refused] = written.outcomes
    assert isinstance(refused, ModelSwitched)
    assert (refused.given, refused.expected) == ("a" * 64, "b" * 64)
    assert await catalog.get(["i9"], vectors=False) == [None]


async def test_a_feed_that_began_before_the_switch_changes_nothing_after_it(
    catalog: SqliteCatalog, store: StoredModels
) -> None:
    number = await filled(store)
    async with catalog.feed() as feed:
        assert await feed.stage([pictured("i5", 1, 0, 0)]) == [None]
        await store.switch(number, recompute, drop=False)
        with pytest.raises(ModelSwitched, match="send the change again"):
            await feed.commit()
    assert [item.id for item in await catalog.page(after="", limit=9, vectors=False)] == ITEMS


async def test_put_vectors_are_named_and_go_only_where_that_is_wanted(
    catalog: SqliteCatalog, store: StoredModels
) -> None:
    await put(catalog, [vectored("put", unit(1, 0, 0))])
    await catalog.write([WritableUser("u", {}, [ItemVector("visual", "", unit(1, 0, 0))])])
    number = await filled(store)
    lost = await store.lost(number)
    assert (list(lost.item_ids), lost.items, lost.users) == (["put"], 1, 1)
    with pytest.raises(VectorsLost, match="1 items \\('put'\\) and 1 users"):
        await store.switch(number, recompute, drop=False)
    assert (await nearest(catalog, 1, 0, 0))[1] == "a"
    switched = await store.switch(number, recompute, drop=True)
    assert switched.lost == lost
    assert await nearest(catalog, 1, 0, 0) == ("i2", "b")


async def test_spaces_of_one_fingerprint_are_shared_and_pairs_switch_with_their_model(tmp_path: Path) -> None:
    async with open_alone(StoreSettings(path=tmp_path), {}, [OLD, *PAIRS]) as catalog:
        store = StoredModels(Folder(tmp_path))
        await put(catalog, [pictured("i0", 1, 0, 0)])
        trained = [replace(one, fingerprint="e" * 64, model="trained-eeeeeeee") for one in PAIRS]
        generation = await store.begin("trained-eeeeeeee", [replace(OLD, model="trained-eeeeeeee"), *trained])
        assert await store.to_fill(generation.number) == ["pair_source", "pair_target"]
        [pending] = await store.pending(generation.number, 9)
        sides = [ItemVector(name, "main", np.ones(2, np.float32)) for name in ("pair_source", "pair_target")]
        await store.add(generation.number, [Recomputed(pending, sides)])
        await store.switch(generation.number, recompute, drop=False)
        await catalog.state()
        found = {name: (space.fingerprint[:1], space.model) for name, space in catalog.spaces().items()}
        assert found == {
            "visual": ("a", "trained-eeeeeeee"),
            "pair_source": ("e", "trained-eeeeeeee"),
            "pair_target": ("e", "trained-eeeeeeee"),
        }
        assert (await nearest(catalog, 1, 0, 0)) == ("i0", "a")


async def test_another_artifact_of_the_same_fingerprint_serves_without_a_vector_made(
    catalog: SqliteCatalog, store: StoredModels
) -> None:
    generation = await store.begin("old-aaaaaaaa-int8-ffffffff", [replace(OLD, model="old-aaaaaaaa-int8-ffffffff")])
    assert (generation.pending, await store.to_fill(generation.number)) == (0, [])
    await store.switch(generation.number, recompute, drop=False)
    assert await nearest(catalog, 1, 0, 0) == ("i0", "a")
    assert catalog.spaces()["visual"].model == "old-aaaaaaaa-int8-ffffffff"
    assert not isinstance((await catalog.write([pictured("i9", 1, 0, 0)])).outcomes[0], TwinsetError)


async def test_only_the_model_before_is_kept(catalog: SqliteCatalog, store: StoredModels) -> None:
    await store.switch(await filled(store), recompute, drop=False)
    third = replace(NEW, fingerprint="d" * 64, model="third-dddddddd")
    generation = await store.begin("third-dddddddd", [third])
    await store.switch(generation.number, recompute, drop=False)
    await store.tidy()
    found = [(one.model, one.state) for one in await store.generations()]
    assert found == [("third-dddddddd", ModelState.ACTIVE), ("new-bbbbbbbb", ModelState.KEPT)]
    assert (await nearest(catalog, 1, 0, 0))[1] == "d"
    assert await store.ever() == {"old-aaaaaaaa", "new-bbbbbbbb", "third-dddddddd"}
