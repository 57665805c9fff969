"""Pairs and sets, through the real server on fakes of its seams."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import numpy as np
import pytest

from fakes.embedder import FakeClassifier
from fakes.items import writable
from fakes.pictures import RED, png
from fakes.service import FakeService
from twinset import Client, FailedPrecondition, InvalidArgument, NotFound, PairContract, Side, Slot, Vector, scoring
from twinset_server.domain import ItemVector

PIECES = {"sofa": ((0, 0), (2, 0)), "lamp": ((1, 1), (1, 0)), "rug": ((0, 3), (0, 2))}


@pytest.fixture
def client() -> Iterator[Client]:
    items = [
        writable(
            item_id,
            [
                ItemVector("pair_source", "", np.array(source, np.float32)),
                ItemVector("pair_target", "", np.array(target, np.float32)),
            ],
            category=item_id,
            title=item_id.title(),
        )
        for item_id, (source, target) in PIECES.items()
    ]
    with FakeService(FakeClassifier()) as service:
        asyncio.run(service.catalog.write(items))
        with Client(service.address, timeout_s=10) as client:
            yield client


def probability(left: str, right: str) -> float:
    squared = sum((a - b) ** 2 for a, b in zip(PIECES[left][0], PIECES[right][1], strict=True))
    return 1 / (1 + math.exp(-(0.5 * (1.5 - squared) - 0.25)))


def test_a_pair_is_scored_both_ways_with_what_made_it(client: Client) -> None:
    found = client.score_pair("sofa", Side(item="lamp"), both_directions=True)
    assert found.score.probability == pytest.approx(probability("sofa", "lamp"))
    assert found.reverse is not None
    assert found.reverse.probability == pytest.approx(probability("lamp", "sofa"))
    assert found.scoring.pair == PairContract(1.5, 0.5, -0.25, 0.5, 0.02)
    assert (found.scoring.metric.value, found.scoring.prior) == ("euclidean", 0.5)


def test_pictures_and_vectors_are_sides_too(client: Client) -> None:
    vector = Vector(np.array([1, 0], np.float32), "pair_target", "a" * 64)
    found = client.score_pair(Side(picture=png(RED), category="sofa"), Side(vector=vector), prior=0.1)
    assert (found.left_category_unknown, found.right_category_unknown) == (False, True)
    assert (found.reverse, found.scoring.prior) == (None, 0.1)


def test_a_side_that_is_nothing_or_two_things_is_refused(client: Client) -> None:
    for side in (Side(), Side(item="sofa", picture=b"x")):
        with pytest.raises(ValueError, match="exactly one"):
            client.score_pair(side, "lamp")


def test_many_pairs_are_scored_in_several_messages(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_PAIRS_IN_MESSAGE", 4)
    left, right = [*PIECES] * 3, sorted([*PIECES] * 3)
    found = client.score_pairs(left, right, both_directions=True)
    pairs = list(zip(left, right, strict=True))
    np.testing.assert_allclose(found.probabilities, [probability(*pair) for pair in pairs])
    assert found.reverse_probabilities is not None
    np.testing.assert_allclose(found.reverse_probabilities, [probability(*pair[::-1]) for pair in pairs])
    assert not found.failed


def test_an_item_that_is_not_there_fails_its_own_pairs(client: Client) -> None:
    found = client.score_pairs(["sofa", "nobody"], ["lamp", "lamp"])
    assert np.isnan(found.probabilities).tolist() == [False, True]
    assert isinstance(found.failed["nobody"], NotFound)
    assert len(client.score_pairs([], []).probabilities) == 0
    with pytest.raises(ValueError, match="one each"):
        client.score_pairs(["sofa"], [])


def test_a_set_is_completed(client: Client) -> None:
    found = client.complete_set(["sofa"], ["lamp", Slot(filter="category = rug"), "bed"], view="basic")
    assert [slot.chosen and slot.chosen.item.title for slot in found.slots] == ["Lamp", "Rug", None]
    expected = [probability("sofa", "lamp"), probability("sofa", "rug"), probability("lamp", "rug")]
    assert found.score == pytest.approx(sum(map(math.log, expected)))
    assert (found.pair_count, found.exact) == (3, True)
    with pytest.raises(InvalidArgument, match=r"slots\[0\]"):
        client.complete_set(["sofa"], [Slot("lamp", candidates=["rug"])])


def test_a_model_that_tells_of_no_pairs_is_named() -> None:
    with (
        FakeService() as service,
        Client(service.address, timeout_s=10) as client,
        pytest.raises(FailedPrecondition, match="compatibility head"),
    ):
        client.score_pair("a", "b")
