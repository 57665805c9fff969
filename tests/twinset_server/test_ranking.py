"""Ranking for users: the ladder, bases, seen items, and orders held against NumPy."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.factors import each, factors
from fakes.items import put, unit, vectored, writable
from twinset.contract import Metric
from twinset.factors import FoldIn
from twinset_server.domain import Act, Expression, Interaction, ItemVector, Space
from twinset_server.errors import InvalidRequest
from twinset_server.filters.parse import parse
from twinset_server.ranking import Basis, Ranker, RankRequest, Rung

VISUAL = Space("visual", 3, Metric.COSINE, "a" * 64, "net-aaaaaaaa")
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
HEADER, ITEMS, USERS = factors(seed=7, liked_from=4.0)
IDS = list(ITEMS.ids)


@pytest.fixture
def catalog() -> FakeCatalog:
    return FakeCatalog([VISUAL])


@pytest.fixture
def ranker(catalog: FakeCatalog) -> Ranker:
    return Ranker(catalog)


async def served(catalog: FakeCatalog, *, through: int = 0, others: Sequence[Any] = ()) -> None:
    """Serve all of `ITEMS` and `USERS`, and `others` without factors."""
    header, items, users = factors(seed=7, liked_from=4.0, through=through)
    await put(catalog, [*(writable(item_id) for item_id in IDS), *others])
    await catalog.import_factors(header, each(items, users))


async def act(catalog: FakeCatalog, *acts: tuple[str, str, str, float]) -> None:
    await catalog.write([Interaction(user, item, kind, weight, NOW) for user, item, kind, weight in acts])


def by_score(scores: Any, ids: Sequence[str] = IDS) -> list[str]:
    return [ids[place] for place in np.argsort(-np.asarray(scores), kind="stable")]


def ids(ranking: Any) -> list[str]:
    return [one.item_id for one in ranking.items]


async def test_stored_factors_rank_by_inner_products(catalog: FakeCatalog, ranker: Ranker) -> None:
    await served(catalog)
    scores = ITEMS.factors.astype(np.float64) @ USERS.factors[2].astype(np.float64)
    for candidates in (None, IDS):
        ranking = await ranker.rank(RankRequest("u2", candidates))
        assert (ranking.rung, ranking.exact, ranking.taste.fingerprint) == (
            Rung.STORED_FACTORS,
            True,
            HEADER.fingerprint,
        )
        assert ids(ranking) == by_score(scores)
        assert [one.score for one in ranking.items] == pytest.approx(sorted(scores, reverse=True))
        assert {one.basis for one in ranking.items} == {Basis.FACTORS}


async def test_newer_acts_fold_a_user_in_and_older_ones_leave_the_factors(catalog: FakeCatalog, ranker: Ranker) -> None:
    await act(catalog, ("u1", "i0", "like", 5.0), ("u1", "i3", "like", 2.0), ("u1", "i0", "like", 1.0))
    await served(catalog, through=3)
    assert (await ranker.rank(RankRequest("u1"))).rung is Rung.STORED_FACTORS
    await act(catalog, ("u1", "i2", "like", 4.0))
    ranking = await ranker.rank(RankRequest("u1"))
    assert (ranking.rung, ranking.acts_used) == (Rung.FOLDED_IN, 3)
    fold_in = FoldIn(ITEMS.liked, ITEMS.known, HEADER.start, HEADER.temperature)
    # Of two acts on one item the later counts, and a low weight is no like.
    user = fold_in.factors(np.array([2]), np.array([3, 0]))
    assert ids(ranking) == by_score(ITEMS.factors.astype(np.float64) @ user.astype(np.float64))


async def test_acts_on_items_without_factors_leave_the_stored_ones(catalog: FakeCatalog, ranker: Ranker) -> None:
    await served(catalog)
    await act(catalog, ("u1", "elsewhere", "like", 5.0))
    assert (await ranker.rank(RankRequest("u1"))).rung is Rung.STORED_FACTORS


async def test_a_history_is_folded_in_and_stored_nowhere(catalog: FakeCatalog, ranker: Ranker) -> None:
    await served(catalog)
    history = [Act("i4", "like", 5.0), Act("i5", "dislike", 5.0)]
    ranking = await ranker.rank(RankRequest(history))
    fold_in = FoldIn(ITEMS.liked, ITEMS.known, HEADER.start, HEADER.temperature)
    user = fold_in.factors(np.array([4]), np.array([5]))
    assert (ranking.rung, ids(ranking)) == (Rung.FOLDED_IN, by_score(ITEMS.factors.astype(np.float64) @ user))
    assert await catalog.interactions(after=0, limit=9) == []


async def test_without_factors_looks_of_liked_items_decide(catalog: FakeCatalog, ranker: Ranker) -> None:
    vectors = {"a": unit(1, 0, 0), "b": unit(1, 0.2, 0), "c": unit(0, 1, 0), "d": unit(0, 0, 1)}
    await put(catalog, [vectored(item_id, values) for item_id, values in vectors.items()])
    ranking = await ranker.rank(RankRequest([Act("a", "like", 1.0), Act("d", "dislike", 1.0)], exclude_seen=["*"]))
    assert (ranking.rung, ids(ranking)) == (Rung.VISUAL_PROFILE, ["b", "c"])
    assert {one.basis for one in ranking.items} == {Basis.PICTURE}
    assert ranking.items[0].visual == pytest.approx(float(vectors["a"] @ vectors["b"]))


async def test_of_an_unknown_user_the_most_liked_items_come_first(catalog: FakeCatalog, ranker: Ranker) -> None:
    await put(catalog, [writable(item_id) for item_id in "abcd"])
    await act(
        catalog, ("x", "c", "like", 1.0), ("y", "c", "buy", 1.0), ("x", "b", "like", 1.0), ("y", "gone", "like", 1)
    )
    await act(catalog, *[("x", "d", "dislike", 1.0)] * 3)
    for request in (RankRequest("nobody"), RankRequest([]), RankRequest("nobody", ["d", "a", "b", "c"])):
        ranking = await ranker.rank(request)
        assert (ranking.rung, ids(ranking)) == (Rung.POPULARITY, ["c", "b", "a", "d"])
        assert [one.likes for one in ranking.items] == [2, 1, 0, 0]
    await act(catalog, *[("z", "a", "like", 1.0)] * 3)
    assert ids(await ranker.rank(RankRequest("nobody", k=2))) == ["a", "c"]


async def test_an_item_without_factors_goes_by_those_of_its_picture_else_by_its_picture(catalog: FakeCatalog) -> None:
    predicted = Space(f"taste_{HEADER.fingerprint[:8]}", 4, Metric.INNER_PRODUCT, "d" * 64, "net")
    catalog = FakeCatalog([VISUAL, predicted])
    of_picture = np.array([1, 2, 3, 4], np.float32)
    others = [
        writable("new", [ItemVector(predicted.name, "0", of_picture)]),
        vectored("seen", unit(1, 1, 0)),
        writable("bare"),
    ]
    await served(catalog, others=others)
    await put(catalog, [vectored("i1", unit(1, 0, 0))])
    await act(catalog, ("u0", "i1", "like", 5.0))
    ranking = await Ranker(catalog).rank(RankRequest("u0", [*IDS, "new", "seen", "bare", "nowhere"], k=20))
    assert {one.item_id: one.basis for one in ranking.items if one.item_id not in IDS} == {
        "new": Basis.PREDICTED_FACTORS,
        "seen": Basis.PICTURE,
        "bare": Basis.POPULARITY,
    }
    assert ids(ranking)[-1] == "bare"
    assert len(ranking.items) == 9
    user = FoldIn(ITEMS.liked, ITEMS.known, HEADER.start, HEADER.temperature).factors(np.array([1]), np.array([], int))
    [new] = [one for one in ranking.items if one.item_id == "new"]
    assert new.taste == pytest.approx(float(of_picture @ user), rel=1e-5)
    # A search finds it among all.
    assert "new" in ids(await Ranker(catalog).rank(RankRequest("u0", k=7)))


async def test_a_head_of_another_training_predicts_nothing(catalog: FakeCatalog) -> None:
    other = Space("taste_ffffffff", 4, Metric.INNER_PRODUCT, "d" * 64, "net")
    catalog = FakeCatalog([VISUAL, other])
    await served(catalog, others=[writable("new", [ItemVector(other.name, "0", np.ones(4, np.float32))])])
    [one] = (await Ranker(catalog).rank(RankRequest("u0", ["new"]))).items
    assert one.basis is Basis.POPULARITY


async def test_seen_excluded_and_unmatched_items_are_dropped(catalog: FakeCatalog, ranker: Ranker) -> None:
    await served(catalog)
    await put(catalog, [writable("i5", category="shoes")])
    await act(catalog, ("u0", "i0", "buy", 1.0), ("u0", "i0", "view", 1.0), ("u0", "i1", "view", 1.0))
    for candidates in (None, IDS):
        assert set(ids(await ranker.rank(RankRequest("u0", candidates, exclude_seen=["buy"])))) == set(IDS) - {"i0"}
        ranking = await ranker.rank(RankRequest("u0", candidates, exclude=["i2"], exclude_seen=["*"]))
        assert set(ids(ranking)) == {"i3", "i4", "i5"}
        shoes: Expression | None = parse('category = "shoes"')
        assert ids(await ranker.rank(RankRequest("u0", candidates, expression=shoes))) == ["i5"]


async def test_looks_count_as_much_as_is_asked_for(catalog: FakeCatalog, ranker: Ranker) -> None:
    looks = np.random.default_rng(3).normal(size=(6, 3))
    await put(catalog, [vectored(item_id, unit(*row)) for item_id, row in zip(IDS, looks, strict=True)])
    header, items, users = factors(seed=7, liked_from=4.0)
    await catalog.import_factors(header, each(items, users))
    history = [Act("i0", "like", 5.0)]
    user = FoldIn(ITEMS.liked, ITEMS.known, HEADER.start, HEADER.temperature).factors(np.array([0]), np.array([], int))
    taste = ITEMS.factors @ user
    visual = np.array([unit(*row) @ unit(*looks[0]) for row in looks])
    for weight in (0.0, 0.3, 1.0):
        both = (1 - weight) * (taste - taste.mean()) / taste.std() + weight * (visual - visual.mean()) / visual.std()
        for candidates in (None, IDS):
            ranking = await ranker.rank(RankRequest(history, candidates, visual_weight=weight))
            assert ids(ranking) == by_score(both)
            assert (ranking.items[0].taste is None, ranking.items[0].visual is None) == (weight == 1, weight == 0)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (RankRequest(""), "user_id"),
        (RankRequest([Act("a", "like", 1.0)] * 1001), "history.acts"),
        (RankRequest([Act("a", "like", float("nan"))]), r"history.acts\[0\].weight"),
        (RankRequest("u", []), "candidates.item_ids"),
        (RankRequest("u", ["a"] * 4097), "candidates.item_ids"),
        (RankRequest("u", k=1001), "k"),
        (RankRequest("u", ["a"], k=4097), "k"),
        (RankRequest("u", visual_weight=1.5), "visual_weight"),
        (RankRequest("u", target_recall=0.0), "target_recall"),
        (RankRequest("u", exclude_seen=["a"] * 17), "exclude_seen"),
    ],
)
async def test_what_is_out_of_range_is_refused_by_its_field(ranker: Ranker, request_: RankRequest, field: str) -> None:
    with pytest.raises(InvalidRequest, match=field):
        await ranker.rank(request_)


async def test_as_many_candidates_as_an_interaction_model_takes_are_ranked(
    catalog: FakeCatalog, ranker: Ranker
) -> None:
    await served(catalog)
    ranking = await ranker.rank(RankRequest("u0", [*IDS, *(f"gone {n}" for n in range(4090))], k=4096))
    assert len(ranking.items) == 6
