"""Relations say which vectors are compared: of items, pictures, vectors and users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeClassifier
from fakes.items import writable
from fakes.pictures import RED, png
from twinset.contract import Metric
from twinset_server.domain import ItemVector, Space, Vector, WritableUser
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import InvalidRequest, SpaceMismatch, UserHasNoVector, UserNotFound
from twinset_server.recommend import (
    Example,
    ItemExample,
    PictureExample,
    Recommendations,
    Recommender,
    Relation,
    Request,
    UserExample,
    VectorExample,
)

CONTRACT = FakeClassifier().contract
SOURCE = Space("pair_source", 2, Metric.EUCLIDEAN, "9" * 64, CONTRACT.model)
TARGET = Space("pair_target", 2, Metric.EUCLIDEAN, "a" * 64, CONTRACT.model)
TASTE = Space("taste", 2, Metric.INNER_PRODUCT, "d" * 64)
LOOK = Space("look", 2, Metric.COSINE, "e" * 64)


def sides(item_id: str, source: float, target: float, *more: ItemVector) -> Any:
    """Return an item at these places of the two sides, in both dimensions."""
    return writable(
        item_id,
        [
            ItemVector("pair_source", "", np.full(2, source, np.float32)),
            ItemVector("pair_target", "", np.full(2, target, np.float32)),
            *more,
        ],
    )


@pytest.fixture
async def pictures() -> AsyncIterator[PictureEmbedder]:
    opened = PictureEmbedder(
        FakeClassifier(), max_batch=4, max_in_flight=2, max_pictures=16, max_waiting_bytes=1 << 20, decode_threads=1
    )
    yield opened
    opened.close()


@pytest.fixture
async def catalog() -> FakeCatalog:
    catalog = FakeCatalog([SOURCE, TARGET, TASTE, LOOK])
    liked = ItemVector("taste", "", np.array([2, 0], np.float32))
    await catalog.write(
        [
            sides("sofa", 0, 5, ItemVector("taste", "", np.array([1, 1], np.float32))),
            sides("table", 5, 1, liked),
            sides("lamp", 8, 2),
            WritableUser("ann", {}, [ItemVector("taste", "", np.array([1, 0], np.float32))]),
            WritableUser("bob", {}),
        ]
    )
    return catalog


@pytest.fixture
def recommender(catalog: FakeCatalog, pictures: PictureEmbedder) -> Recommender:
    return Recommender(catalog, pictures)


async def ask(recommender: Recommender, *examples: Example, **fields: Any) -> Recommendations:
    return await recommender.recommend(Request(examples, **fields), timeout_s=5)


def distances(found: Recommendations) -> dict[str, float]:
    return {one.item_id: one.distance for one in found.result.neighbours}


def probability(distance: float) -> float:
    """Return the calibrated probability of a pair, by the contract's formula."""
    return 1 / (1 + np.exp(-(0.5 * (1.5 - distance) - 0.25)))


async def test_what_completes_an_item_is_near_to_its_source_as_a_target(recommender: Recommender) -> None:
    found = await ask(recommender, Example(ItemExample("sofa"), Relation.COMPLETES))
    assert distances(found) == {"table": 2, "lamp": 8}
    assert found.space.name == "pair_target"


async def test_what_an_item_completes_is_near_to_its_target_as_a_source(recommender: Recommender) -> None:
    found = await ask(recommender, Example(ItemExample("sofa"), Relation.COMPLETED_BY))
    assert distances(found) == {"table": 0, "lamp": 18}
    assert found.space.name == "pair_source"


@pytest.mark.parametrize("explain", [False, True])
async def test_pairs_carry_their_calibrated_probability(recommender: Recommender, explain: bool) -> None:
    found = await ask(recommender, Example(ItemExample("sofa"), Relation.COMPLETES), explain=explain)
    assert found.notes is not None
    assert [note.probability for note in found.notes] == pytest.approx([probability(2), probability(8)])
    assert [note.score for note in found.notes] == pytest.approx([-2, -8])


async def test_away_from_a_pair_the_probability_stays_that_of_the_pair(recommender: Recommender) -> None:
    found = await ask(recommender, Example(ItemExample("sofa"), Relation.COMPLETES, weight=-2))
    assert [one.item_id for one in found.result.neighbours] == ["lamp", "table"]
    assert found.notes is not None
    assert [note.probability for note in found.notes] == pytest.approx([probability(8), probability(2)])
    assert [note.score for note in found.notes] == pytest.approx([8, 2])


async def test_without_a_calibration_pairs_are_found_and_have_no_probability(
    catalog: FakeCatalog, pictures: PictureEmbedder
) -> None:
    brought = FakeCatalog([Space("pair_source", 2, Metric.EUCLIDEAN, "b" * 64), TARGET])
    await brought.write([sides("sofa", 0, 5), sides("table", 5, 1)])
    found = await ask(Recommender(brought, pictures), Example(ItemExample("sofa"), Relation.COMPLETES))
    assert distances(found) == {"table": 2}
    assert found.notes is None


async def test_a_picture_is_embedded_as_its_side_of_the_pair_with_its_category(recommender: Recommender) -> None:
    plain = await ask(recommender, Example(PictureExample(png(RED)), Relation.COMPLETES), explain=True)
    sofa = await ask(recommender, Example(PictureExample(png(RED), "sofa"), Relation.COMPLETES), explain=True)
    strange = await ask(recommender, Example(PictureExample(png(RED), "boat"), Relation.COMPLETES), explain=True)
    assert distances(strange) == distances(plain)
    assert distances(sofa)["table"] > distances(plain)["table"]
    assert [found.examples[0].category_unknown for found in (plain, sofa, strange)] == [True, False, True]
    assert plain.examples[0].predictions["shade"].class_name == "red"


async def test_a_vector_must_be_of_the_side_that_its_relation_compares(recommender: Recommender) -> None:
    source = Vector("pair_source", np.zeros(2, np.float32), "9" * 64)
    found = await ask(recommender, Example(VectorExample(source), Relation.COMPLETES))
    assert distances(found)["table"] == 2
    with pytest.raises(SpaceMismatch, match="COMPLETED_BY"):
        await ask(recommender, Example(VectorExample(source), Relation.COMPLETED_BY))


async def test_a_user_likes_what_is_near_to_their_taste(recommender: Recommender) -> None:
    found = await ask(recommender, Example(UserExample("ann"), Relation.LIKED_BY))
    assert distances(found) == {"table": -2, "sofa": -1}
    with pytest.raises(UserNotFound):
        await ask(recommender, Example(UserExample("eve"), Relation.LIKED_BY))
    with pytest.raises(UserHasNoVector, match="'bob' has no vector in the space 'taste'"):
        await ask(recommender, Example(UserExample("bob"), Relation.LIKED_BY))


async def test_what_goes_with_a_sofa_for_a_user_is_one_request(recommender: Recommender) -> None:
    found = await ask(
        recommender,
        Example(ItemExample("sofa"), Relation.COMPLETES),
        Example(UserExample("ann"), Relation.LIKED_BY, weight=0.5),
        explain=True,
    )
    assert found.notes is not None
    assert [one.item_id for one in found.result.neighbours] == ["table", "lamp"]
    # In pair_target, of three: -2 is the largest of -2, -8 and -50, and so has 3/4; -8 has the median.
    # In taste, of two: 2 is the larger and has 2/3. Who isn't there has the median.
    assert [note.score for note in found.notes] == pytest.approx([(0.75 + 0.5 * 2 / 3) / 1.5, (0.5 + 0.5 * 0.5) / 1.5])
    lamp = found.notes[1].contributions[1]
    assert (lamp.similarity, lamp.percentile, lamp.share) == (None, 0.5, pytest.approx(0.5 * 0.5 / 1.5))
    assert [note.probability for note in found.notes] == pytest.approx([probability(2), probability(8)])
    assert [(one.space.name, list(one.examples)) for one in found.searches] == [("pair_target", [0]), ("taste", [1])]


async def test_navigating_by_several_examples_is_one_search(
    catalog: FakeCatalog, pictures: PictureEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(angle: float) -> Any:
        return np.array([np.cos(angle), np.sin(angle)], np.float32)

    await catalog.write([writable(f"{n}", [ItemVector("look", "", at(n))]) for n in range(6)])
    searched = []
    search = catalog.search

    async def watched(space: str, *more: Any, **fields: Any) -> Any:
        searched.append(space)
        return await search(space, *more, **fields)

    monkeypatch.setattr(catalog, "search", watched)
    monkeypatch.delattr(FakeCatalog, "state")
    examples = [Example(ItemExample(name), weight=weight) for name, weight in (("0", 1), ("1", -1), ("2", 1))]
    found = await ask(Recommender(catalog, pictures), *examples, space="look")
    assert searched == ["look"]
    assert found.notes is not None
    expected = {n: float(at(n) @ (at(0) - at(1) + at(2))) / 3 for n in (3, 4, 5)}
    assert {
        one.item_id: note.score for one, note in zip(found.result.neighbours, found.notes, strict=True)
    } == pytest.approx({str(n): score for n, score in expected.items()}, abs=1e-6)


async def test_examples_that_cancel_each_other_out_are_refused(recommender: Recommender) -> None:
    axis = Vector("look", np.array([1, 0], np.float32))
    both = [Example(VectorExample(axis), weight=1), Example(VectorExample(axis), weight=-1)]
    for explain in (False, True):
        with pytest.raises(InvalidRequest, match="cancel each other out"):
            await ask(recommender, *both, space="look", explain=explain)
