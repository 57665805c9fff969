"""Probabilities of pairs, against the formula in plain Python."""

import math

import numpy as np
import pytest

from fakes.catalog import FakeCatalog
from fakes.embedder import FakeClassifier
from fakes.items import put, writable
from fakes.pictures import RED, png
from twinset import images
from twinset_server.compatibility.pairs import PairRequest, PairScorer, PairsRequest
from twinset_server.compatibility.reading import SideReader
from twinset_server.compatibility.sides import ItemSide, PictureSide, Side, Sides, VectorSide
from twinset_server.domain import ItemVector, Vector, WritableItem
from twinset_server.errors import (
    BadPicture,
    BadVector,
    EmbedderUnavailable,
    FingerprintMismatch,
    InvalidRequest,
    ItemNotFound,
    NoVector,
    SpaceMismatch,
    TwinsetError,
)

SOURCE, TARGET = "9" * 64, "a" * 64


def pair_item(
    item_id: str, sources: list[tuple[float, float]], targets: list[tuple[float, float]], category: str = ""
) -> WritableItem:
    """Return an item with a vector for each picture on both sides."""
    vectors = [
        ItemVector(space, str(place), np.array(values, np.float32))
        for space, given in (("pair_source", sources), ("pair_target", targets))
        for place, values in enumerate(given)
    ]
    return writable(item_id, vectors, category=category)


def probability(distance: float, prior: float = 0.5) -> float:
    """Return what the fake model's contract says: offset 1.5, scale .5, shift -.25, prior .5."""
    return 1 / (1 + math.exp(-(0.5 * (1.5 - distance) - 0.25 + math.log(prior / (1 - prior)))))


def source(*values: float, fingerprint: str = SOURCE, space: str = "pair_source") -> VectorSide:
    return VectorSide(Vector(space, np.array(values, np.float32), fingerprint))


def target(*values: float) -> VectorSide:
    return source(*values, fingerprint=TARGET, space="pair_target")


@pytest.fixture
async def scorer(catalog: FakeCatalog, reader: SideReader) -> PairScorer:
    await put(
        catalog,
        [
            pair_item("sofa", [(0, 0)], [(2, 0)]),
            pair_item("lamp", [(1, 1)], [(1, 0)]),
            pair_item("two", [(5, 5), (0, 1)], [(9, 9), (0, 2)]),
            writable("bare"),
        ],
    )
    return PairScorer(reader)


async def test_a_pair_is_scored_from_its_left_side_to_its_right_one(scorer: PairScorer) -> None:
    scored = await scorer.score(PairRequest(ItemSide("sofa"), ItemSide("lamp"), both_directions=True), timeout_s=5)
    assert scored.score.distance == pytest.approx(1)
    assert scored.score.probability == pytest.approx(probability(1))
    assert scored.reverse is not None
    assert scored.reverse.distance == pytest.approx(2)
    assert scored.reverse.probability == pytest.approx(probability(2))
    assert (scored.prior, scored.sequence) == (0.5, 4)
    assert (scored.model.source.fingerprint, scored.model.target.fingerprint) == (SOURCE, TARGET)


async def test_another_prior_moves_the_probability_and_not_the_distance(scorer: PairScorer) -> None:
    request = PairRequest(ItemSide("sofa"), ItemSide("lamp"), prior=0.01)
    scored = await scorer.score(request, timeout_s=5)
    assert scored.score.probability == pytest.approx(probability(1, 0.01))
    assert (scored.score.distance, scored.prior, scored.reverse) == (1, 0.01, None)


async def test_an_item_counts_by_whichever_picture_fits_best(scorer: PairScorer) -> None:
    scored = await scorer.score(PairRequest(ItemSide("two"), ItemSide("two")), timeout_s=5)
    assert scored.score.distance == pytest.approx(1)
    assert (scored.score.left_picture_id, scored.score.right_picture_id) == ("1", "1")


async def test_vectors_score_as_the_items_that_have_them(scorer: PairScorer) -> None:
    scored = await scorer.score(PairRequest(source(0, 0), target(1, 0)), timeout_s=5)
    assert scored.score.probability == pytest.approx(probability(1))
    assert (scored.left_unknown, scored.right_unknown) == (True, True)


@pytest.mark.parametrize(("category", "unknown"), [("", True), ("chair", True), ("sofa", False)])
async def test_a_picture_is_embedded_with_its_category_and_without_one_as_unknown(
    scorer: PairScorer, embedder: FakeClassifier, category: str, unknown: bool
) -> None:
    scored = await scorer.score(PairRequest(PictureSide(png(RED), category), target(0, 0)), timeout_s=5)
    place = embedder.contract.category_index(category) or 0
    pixels = images.decode(png(RED), embedder.contract.pipeline)[None]
    made = await embedder.embed(pixels, ["source"], timeout_s=5, categories=np.array([place], np.int32))
    assert scored.score.distance == pytest.approx(float((made["source"] ** 2).sum()), rel=1e-6)
    assert (scored.left_unknown, scored.right_unknown) == (unknown, True)


@pytest.mark.parametrize(
    ("left", "right", "error", "said"),
    [
        (ItemSide("nobody"), ItemSide("lamp"), ItemNotFound, "nobody"),
        (ItemSide("sofa"), ItemSide("bare"), NoVector, "pair_target"),
        (ItemSide(""), ItemSide("lamp"), InvalidRequest, "left: is empty"),
        (source(0, 0), source(0, 0), SpaceMismatch, "right.*'pair_source'.*'pair_target'"),
        (target(0, 0), ItemSide("lamp"), SpaceMismatch, "left.*'pair_target'.*'pair_source'"),
        (source(0, 0, fingerprint="b" * 64), target(0, 0), FingerprintMismatch, f"{'b' * 64}.*{SOURCE}"),
        (source(0, 0, 0), target(0, 0), BadVector, "left.vector.values"),
        (source(0, float("nan")), target(0, 0), BadVector, "left.vector.values"),
        (PictureSide(b"none"), target(0, 0), BadPicture, "left.picture"),
    ],
)
async def test_a_bad_side_is_named(
    scorer: PairScorer, left: Side, right: Side, error: type[TwinsetError], said: str
) -> None:
    with pytest.raises(error, match=said):
        await scorer.score(PairRequest(left, right), timeout_s=5)


async def test_a_vector_stands_for_one_side_only(scorer: PairScorer) -> None:
    with pytest.raises(InvalidRequest, match=r"right: is a vector of 'pair_target'.*one direction"):
        await scorer.score(PairRequest(ItemSide("sofa"), target(0, 0), both_directions=True), timeout_s=5)


@pytest.mark.parametrize("prior", [0.0, 1.0, -1.0, float("nan")])
async def test_a_prior_that_is_no_share_is_refused(scorer: PairScorer, prior: float) -> None:
    with pytest.raises(InvalidRequest, match="prior"):
        await scorer.score(PairRequest(ItemSide("sofa"), ItemSide("lamp"), prior=prior), timeout_s=5)


async def test_items_are_scored_while_the_model_is_away_and_pictures_are_not(
    scorer: PairScorer, embedder: FakeClassifier
) -> None:
    embedder.down = True
    assert (await scorer.score(PairRequest(ItemSide("sofa"), ItemSide("lamp")), timeout_s=5)).score.distance == 1
    with pytest.raises(EmbedderUnavailable):
        await scorer.score(PairRequest(PictureSide(png(RED)), ItemSide("lamp")), timeout_s=5)


async def test_many_pairs_score_as_each_by_itself(scorer: PairScorer) -> None:
    sides = Sides(["sofa", "lamp", "two"])
    left, right = np.divmod(np.arange(9), 3)
    scored = await scorer.score_many(PairsRequest(sides, left, right, both_directions=True, prior=0.1), timeout_s=5)
    assert scored.reverse is not None
    for place, (one, other) in enumerate(zip(left, right, strict=True)):
        request = PairRequest(ItemSide(sides.item_ids[one]), ItemSide(sides.item_ids[other]), True, 0.1)
        alone = await scorer.score(request, timeout_s=5)
        assert alone.reverse is not None
        assert scored.scores.probabilities[place] == pytest.approx(alone.score.probability)
        assert scored.scores.distances[place] == pytest.approx(alone.score.distance)
        assert scored.reverse.probabilities[place] == pytest.approx(alone.reverse.probability)


async def test_a_side_that_fails_makes_nan_of_its_pairs_alone(scorer: PairScorer) -> None:
    sides = Sides(
        ["sofa", "nobody", "lamp", "unnamed"], [source(0, 0), target(1, 0), PictureSide(b"none"), target(1, 0)]
    )
    left, right = np.array([0, 1, 0, 4, 6, 7]), np.array([2, 2, 1, 5, 2, 2])
    scored = await scorer.score_many(PairsRequest(sides, left, right), timeout_s=5)
    assert np.isnan(scored.scores.probabilities).tolist() == [False, True, True, False, True, True]
    assert {number: type(error) for number, error in scored.failed.items()} == {
        1: ItemNotFound,
        6: BadPicture,
        7: SpaceMismatch,
    }
    assert "sides[2].picture" in scored.failed[6].message
    assert scored.unknown == [4, 5, 6, 7]
    np.testing.assert_allclose(scored.scores.probabilities[[0, 3]], probability(1))
