"""A second look at the best candidates: their order, scores and explanations, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.factors import each, factors
from fakes.interactions import FakeInteractions, interaction_contract, score_locally
from fakes.items import put, unit, vectored, writable
from twinset.contract import Metric
from twinset_server.domain import Act, ItemVector, Space
from twinset_server.errors import (
    EmbedderUnavailable,
    InteractionMismatch,
    InvalidRequest,
    NoInteractionModel,
)
from twinset_server.ranking import Basis, Ranker, RankRequest, Rerank, Rung

VISUAL = Space("visual", 3, Metric.COSINE, "a" * 64, "net-aaaaaaaa")
HEADER, ITEMS, USERS = factors(seed=7)
IDS = list(ITEMS.ids)
TASTE = ITEMS.factors.astype(np.float64) @ USERS.factors[2].astype(np.float64)
AGAIN = score_locally(np.broadcast_to(USERS.factors[2], ITEMS.factors.shape), ITEMS.factors)
BY_TASTE = [IDS[place] for place in np.argsort(-TASTE)]
MODEL = interaction_contract(HEADER.fingerprint).model


@pytest.fixture
def catalog() -> FakeCatalog:
    return FakeCatalog([VISUAL])


@pytest.fixture
def interactions() -> FakeInteractions:
    return FakeInteractions(HEADER.fingerprint)


@pytest.fixture
def ranker(catalog: FakeCatalog, interactions: FakeInteractions) -> Ranker:
    return Ranker(catalog, interactions)


@pytest.fixture
async def stored(catalog: FakeCatalog) -> None:
    await put(catalog, [writable(item_id) for item_id in IDS])
    await catalog.import_factors(HEADER, each(ITEMS, USERS))


def ids(ranking: Any) -> list[str]:
    return [one.item_id for one in ranking.items]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("candidates", [None, IDS])
async def test_the_models_scores_make_the_order_and_taste_is_told_beside_them(
    ranker: Ranker, interactions: FakeInteractions, candidates: list[str] | None
) -> None:
    ranking = await ranker.rank(RankRequest("u2", candidates, rerank=Rerank()))
    assert ids(ranking) == [IDS[place] for place in np.argsort(-AGAIN)] == BY_TASTE[::-1]
    for one in ranking.items:
        place = IDS.index(one.item_id)
        assert one.score == one.rerank == pytest.approx(float(AGAIN[place]))
        assert one.taste == pytest.approx(TASTE[place])
        assert one.basis is Basis.FACTORS
    assert (ranking.rerank_model, ranking.reranked) == (MODEL, 6)
    assert interactions.asked == [6]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("candidates", [None, IDS])
async def test_those_not_scored_again_follow_in_their_order_one_below(
    ranker: Ranker, interactions: FakeInteractions, candidates: list[str] | None
) -> None:
    ranking = await ranker.rank(RankRequest("u2", candidates, rerank=Rerank(candidates=2)))
    assert ids(ranking) == [BY_TASTE[1], BY_TASTE[0], *BY_TASTE[2:]]
    scores = [one.score for one in ranking.items]
    assert scores == sorted(scores, reverse=True)
    assert scores[2] == pytest.approx(scores[1] - 1)
    assert scores[2] - scores[5] == pytest.approx(ranking.items[2].taste - ranking.items[5].taste)
    assert [one.rerank is None for one in ranking.items] == [False, False, True, True, True, True]
    assert interactions.asked == [2]


@pytest.mark.usefixtures("stored")
async def test_more_are_scored_again_than_are_returned(ranker: Ranker) -> None:
    ranking = await ranker.rank(RankRequest("u2", k=2, rerank=Rerank()))
    assert ids(ranking) == BY_TASTE[:-3:-1]
    assert ranking.reranked == 6


async def test_looks_are_blended_with_the_models_scores(catalog: FakeCatalog, ranker: Ranker) -> None:
    looks = np.random.default_rng(3).normal(size=(6, 3))
    await put(catalog, [vectored(item_id, unit(*row)) for item_id, row in zip(IDS, looks, strict=True)])
    await catalog.import_factors(HEADER, each(ITEMS, USERS))
    history = [Act("i0", "like", 5.0)]
    plain = await ranker.rank(RankRequest(history, IDS, visual_weight=0.4, rerank=Rerank()))
    again = np.array([one.rerank for one in plain.items])
    visual = np.array([one.visual for one in plain.items])
    both = 0.6 * (again - again.mean()) / again.std() + 0.4 * (visual - visual.mean()) / visual.std()
    assert [one.score for one in plain.items] == pytest.approx(both.tolist())


async def test_predicted_factors_are_scored_by_the_best_of_an_items_pictures() -> None:
    predicted = Space(f"taste_{HEADER.fingerprint[:8]}", 4, Metric.INNER_PRODUCT, "d" * 64, "net")
    catalog = FakeCatalog([VISUAL, predicted])
    user = USERS.factors[2]
    pictures = [ItemVector(predicted.name, "0", -user), ItemVector(predicted.name, "1", user)]
    await put(catalog, [*(writable(item_id) for item_id in IDS), writable("new", pictures), writable("bare")])
    await catalog.import_factors(HEADER, each(ITEMS, USERS))
    ranker = Ranker(catalog, FakeInteractions(HEADER.fingerprint))
    ranking = await ranker.rank(RankRequest("u2", ["i0", "bare", "new"], rerank=Rerank()))
    found = {one.item_id: one for one in ranking.items}
    assert (found["new"].basis, found["new"].rerank) == (
        Basis.PREDICTED_FACTORS,
        pytest.approx(float(score_locally(user[np.newaxis], user[np.newaxis])[0])),
    )
    # Nothing is known of it but its likes: it stays behind.
    assert ids(ranking)[-1] == "bare"
    assert (found["bare"].rerank, ranking.reranked) == (None, 2)


@pytest.mark.usefixtures("stored")
async def test_of_an_unknown_user_nothing_is_scored_again(ranker: Ranker, interactions: FakeInteractions) -> None:
    ranking = await ranker.rank(RankRequest("nobody", rerank=Rerank()))
    assert (ranking.rung, ranking.rerank_model, ranking.reranked) == (Rung.POPULARITY, "", 0)
    assert interactions.asked == []


@pytest.mark.usefixtures("stored")
async def test_models_that_can_not_be_asked_are_refused_by_name(ranker: Ranker, interactions: FakeInteractions) -> None:
    other = interaction_contract("e" * 64)
    interactions.serve([other])
    for rerank in (Rerank(), Rerank(model=other.model)):
        with pytest.raises(InteractionMismatch) as caught:
            await ranker.rank(RankRequest("u2", rerank=rerank))
        assert (caught.value.given, caught.value.expected) == ("e" * 64, HEADER.fingerprint)
        assert "e" * 64 in caught.value.message
        assert HEADER.fingerprint in caught.value.message
    with pytest.raises(NoInteractionModel, match="'elsewhere'"):
        await ranker.rank(RankRequest("u2", rerank=Rerank(model="elsewhere")))
    interactions.serve([])
    with pytest.raises(NoInteractionModel, match=HEADER.fingerprint):
        await ranker.rank(RankRequest("u2", rerank=Rerank()))
    interactions.down = True
    with pytest.raises(EmbedderUnavailable):
        await ranker.rank(RankRequest("u2", rerank=Rerank()))


@pytest.mark.usefixtures("stored")
async def test_of_several_models_the_first_by_name_is_asked_unless_one_is_named(
    ranker: Ranker, interactions: FakeInteractions
) -> None:
    interactions.serve([interaction_contract(HEADER.fingerprint, name=name) for name in ("a", "b")])
    names = [one.name for one in interactions.models]
    assert (await ranker.rank(RankRequest("u2", rerank=Rerank()))).rerank_model == names[0]
    assert (await ranker.rank(RankRequest("u2", rerank=Rerank(names[1])))).rerank_model == names[1]


async def test_without_factors_there_is_nothing_to_score_again(ranker: Ranker) -> None:
    with pytest.raises(NoInteractionModel, match="no factors are imported"):
        await ranker.rank(RankRequest("u2", rerank=Rerank()))


@pytest.mark.usefixtures("stored")
async def test_a_server_without_triton_has_no_model(catalog: FakeCatalog) -> None:
    with pytest.raises(NoInteractionModel, match=HEADER.fingerprint):
        await Ranker(catalog).rank(RankRequest("u2", rerank=Rerank()))


@pytest.mark.parametrize(("rerank", "field"), [(Rerank("\n"), "rerank.model"), (Rerank("", 0), "rerank.candidates")])
async def test_what_is_out_of_range_is_refused_by_its_field(ranker: Ranker, rerank: Rerank, field: str) -> None:
    with pytest.raises(InvalidRequest, match=field):
        await ranker.rank(RankRequest("u2", rerank=rerank))
