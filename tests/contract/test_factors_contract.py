"""What every implementation of the port `Catalog` promises of factors."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.factors import each, factors
from fakes.items import delete, put, unit, vectored, writable
from twinset.contract import Metric
from twinset_server.catalog import open_alone
from twinset_server.config import StoreSettings
from twinset_server.domain import FactorUsers, Interaction, ItemVector, Search, Space, UserDeletion, WritableUser
from twinset_server.errors import (
    FactorsConflict,
    GenerationNotFound,
    ImportedSpace,
    InvalidRequest,
    SpaceNotFound,
    UserNotFound,
)
from twinset_server.filters.parse import parse

VISUAL = Space("visual", 3, Metric.COSINE, "a" * 64, "net-aaaaaaaa")


@pytest.fixture(params=["fake", "sqlite"])
async def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "fake":
        yield FakeCatalog([VISUAL])
        return
    async with open_alone(StoreSettings(path=tmp_path / "store"), {}, [VISUAL]) as opened:
        yield opened


async def imported(catalog: Any, seed: int = 0, **more: Any) -> Any:
    header, items, users = factors(seed=seed, **more)
    generation = await catalog.import_factors(header, each(items, users))
    return generation, items, users


async def best(catalog: Any, query: Any, k: int = 9) -> list[str]:
    state = await catalog.state()
    found = state.search(Search("taste", query, k)).neighbours
    # So few are compared at once.
    assert state.search_briefly(Search("taste", query, k)).neighbours == found
    return [one.item_id for one in found]


async def test_items_are_found_by_factors_whether_they_were_there_before_or_came_later(catalog: Any) -> None:
    await put(catalog, [writable("i0"), writable("i1"), writable("without")])
    generation, items, users = await imported(catalog)
    assert (generation.fingerprint, generation.items, generation.users, generation.active) == ("0" * 64, 6, 4, True)
    space = catalog.spaces()["taste"]
    assert (space.dimension, space.metric, space.fingerprint, space.generation) == (
        4,
        Metric.INNER_PRODUCT,
        "0" * 64,
        generation.number,
    )
    await put(catalog, [writable("i2")])
    scores = dict(zip(items.ids[:3], items.factors[:3] @ users.factors[0], strict=True))
    assert await best(catalog, users.factors[0]) == sorted(scores, key=lambda name: -scores[name])
    rows = (await catalog.state()).vectors("taste", ["without", "i2"])
    np.testing.assert_array_equal(rows.values, items.factors[2:3])
    np.testing.assert_array_equal(await catalog.vector_of("i1", "taste"), items.factors[1])


async def test_factors_outlive_puts_and_end_with_the_item(catalog: Any) -> None:
    await imported(catalog)
    await put(catalog, [vectored("i0", unit(1, 0, 0))])
    await put(catalog, [vectored("i0", unit(0, 1, 0))])
    assert await best(catalog, np.ones(4, np.float32)) == ["i0"]
    [item] = await catalog.get(["i0"], vectors=True)
    assert [vector.space for vector in item.vectors] == ["visual"]
    await delete(catalog, "i0")
    assert await best(catalog, np.ones(4, np.float32)) == []
    await put(catalog, [writable("i0")])
    assert await best(catalog, np.ones(4, np.float32)) == ["i0"]


async def test_a_feed_leaves_factors_to_the_items_that_it_has(catalog: Any) -> None:
    await put(catalog, [writable("i0"), writable("i1")])
    await imported(catalog)
    async with catalog.feed() as feed:
        await feed.stage([writable("i0", title="new"), writable("i2")])
        await feed.commit()
    assert sorted(await best(catalog, np.ones(4, np.float32))) == ["i0", "i2"]


async def test_a_second_import_switches_items_and_users_and_the_first_comes_back(catalog: Any) -> None:
    await put(catalog, [writable(f"i{n}") for n in range(6)])
    first, items, users = await imported(catalog, 0)
    before = await catalog.state()
    second, _, _ = await imported(catalog, 1)
    assert second.number > first.number
    assert [one.number for one in await catalog.factor_generations()] == [second.number, first.number]
    # A state keeps what it had.
    assert (before.spaces["taste"].generation, (await catalog.state()).spaces["taste"].generation) == (
        first.number,
        second.number,
    )
    np.testing.assert_array_equal(before.vectors("taste", ["i0"]).values, items.factors[:1])
    back = await catalog.activate_factors(0)
    assert (back.number, back.active) == (first.number, True)
    state = await catalog.state()
    assert state.spaces["taste"].fingerprint == "0" * 64
    np.testing.assert_array_equal(state.vectors("taste", ["i0"]).values, items.factors[:1])
    taste = await catalog.taste("u1", first.number)
    np.testing.assert_array_equal(taste.factors, users.factors[1])
    assert (await catalog.activate_factors(0)).number == second.number


async def test_two_generations_are_kept_and_older_ones_go(catalog: Any) -> None:
    await put(catalog, [writable("i0")])
    numbers = [(await imported(catalog, seed))[0].number for seed in range(3)]
    assert [one.number for one in await catalog.factor_generations()] == [numbers[2], numbers[1]]
    with pytest.raises(GenerationNotFound, match=str(numbers[0])):
        await catalog.activate_factors(numbers[0])
    assert await best(catalog, np.ones(4, np.float32)) == ["i0"]


async def test_without_a_generation_before_nothing_can_come_back(catalog: Any) -> None:
    with pytest.raises(GenerationNotFound):
        await catalog.activate_factors(0)
    generation, _, _ = await imported(catalog)
    with pytest.raises(GenerationNotFound, match="go back"):
        await catalog.activate_factors(0)
    assert [one.number for one in await catalog.factor_generations()] == [generation.number]


async def test_what_doesnt_come_whole_leaves_everything_as_it_was(catalog: Any) -> None:
    await put(catalog, [writable("i0")])
    header, items, users = factors(seed=1)
    for parts in ((items,), (items, users, users)):
        with pytest.raises(InvalidRequest):
            await catalog.import_factors(header, each(*parts))
        assert "taste" not in catalog.spaces()
        assert await catalog.factor_generations() == []
    first, *_ = await imported(catalog)
    with pytest.raises(InvalidRequest):
        await catalog.import_factors(header, each(items, FactorUsers(["u0"], users.factors[:1])))
    assert [one.number for one in await catalog.factor_generations()] == [first.number]
    assert catalog.spaces()["taste"].generation == first.number


async def test_a_space_of_this_name_that_something_else_fills_is_left_alone(tmp_path: Path) -> None:
    taken = Space("taste", 2, Metric.INNER_PRODUCT, "c" * 64)
    header, items, users = factors()
    async with open_alone(StoreSettings(path=tmp_path / "store"), {}, [taken]) as opened:
        for one in (opened, FakeCatalog([taken])):
            with pytest.raises(FactorsConflict) as caught:
                await one.import_factors(header, each(items, users))
            assert header.fingerprint in caught.value.message
            assert taken.fingerprint in caught.value.message


async def test_imported_spaces_take_no_single_vectors(catalog: Any) -> None:
    await imported(catalog)
    vector = ItemVector("taste", "", np.ones(4, np.float32))
    outcomes = (await catalog.write([writable("a", [vector]), WritableUser("u", {}, [vector])])).outcomes
    assert [type(one) for one in outcomes] == [ImportedSpace, ImportedSpace]


async def test_the_generations_own_spaces_are_nobodys_business(catalog: Any) -> None:
    generation, *_ = await imported(catalog)
    assert sorted(catalog.spaces()) == ["taste", "visual"]
    assert [one.space.name for one in (await catalog.status()).spaces] == ["taste", "visual"]
    with pytest.raises(SpaceNotFound):
        await catalog.search(f"taste@{generation.number}", np.ones(4, np.float32), 1)


async def test_a_user_is_deleted_from_every_generation(catalog: Any) -> None:
    first, *_ = await imported(catalog, 0)
    second, *_ = await imported(catalog, 1)
    data = await catalog.user_data("u1")
    assert (data.user, data.interactions, data.has_factors) == (None, 0, True)
    await catalog.write([UserDeletion("u1")])
    for number in (first.number, second.number):
        assert (await catalog.taste("u1", number)).factors is None
    with pytest.raises(UserNotFound):
        await catalog.user_data("u1")
    assert (await catalog.user_data("u2")).has_factors


async def test_acts_and_what_folds_them_in_are_told(catalog: Any) -> None:
    now = datetime.datetime.now(datetime.UTC)
    acts = [("i1", "like", 5.0), ("new", "like", 4.0), ("i0", "dislike", 5.0), ("i1", "view", 1.0)]
    written = await catalog.write([Interaction("ann", item, kind, weight, now) for item, kind, weight in acts])
    generation, items, _ = await imported(catalog, liked_from=4.0, through=3)
    taste = await catalog.taste("ann", generation.number)
    assert taste.factors is None
    assert [tuple(act) for act in taste.acts] == [
        (*act, receipt.sequence) for act, receipt in zip(acts, written.outcomes, strict=True)
    ]
    assert [act.is_like(4.0) for act in taste.acts] == [True, True, False, False]
    rows = await catalog.fold_in(generation.number, ["i1", "new", "i0"])
    assert sorted(rows.places) == ["i0", "i1"]
    np.testing.assert_array_equal(rows.fold_in.liked[rows.places["i1"]], items.liked[1])
    np.testing.assert_array_equal(rows.fold_in.known[rows.places["i0"]], items.known[0])
    assert (rows.liked_from, rows.interactions_through) == (4.0, 3)
    counts = await catalog.likes(after=0, liked_from=4.0)
    assert dict(counts.counts) == {"i1": 1, "new": 1}
    assert dict((await catalog.likes(after=written.outcomes[0].sequence, liked_from=None)).counts) == {
        "new": 1,
        "i1": 1,
    }
    assert dict((await catalog.likes(after=counts.sequence, liked_from=None)).counts) == {}


async def test_stored_items_that_match_are_told_from_others(catalog: Any) -> None:
    await put(catalog, [writable("a", category="shoes"), vectored("b", unit(1, 0, 0)), writable("c", category="hats")])
    await put(catalog, [writable("gone", category="shoes")])
    await delete(catalog, "gone")
    assert await catalog.matching(["c", "gone", "nowhere", "a", "b"], None) == ["c", "a", "b"]
    assert await catalog.matching(["c", "gone", "nowhere", "a", "b"], parse('category = "shoes"')) == ["a"]
    assert await catalog.matching([], parse('category = "shoes"')) == []


@pytest.mark.parametrize("count", [1, 128, 129, 300])
async def test_all_acts_of_a_user_are_told_however_many_they_are(catalog: Any, count: int) -> None:
    now = datetime.datetime.now(datetime.UTC)
    await catalog.write([Interaction("u1", f"i{place % 6}", "view", float(place), now) for place in range(count)])
    generation, _, users = await imported(catalog, through=count)
    for number in (None, generation.number):
        taste = await catalog.taste("u1", number)
        assert [act.weight for act in taste.acts] == list(range(count))
    np.testing.assert_array_equal(taste.factors, users.factors[1])
