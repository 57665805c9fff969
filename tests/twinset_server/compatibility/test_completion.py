"""Sets that are completed, against every set there is, scored by the formula in plain Python."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.catalog import FakeCatalog
from fakes.items import put, writable
from twinset.contract import Metric
from twinset.pair_contract import PairContract
from twinset_server.compatibility import completion
from twinset_server.compatibility.beam import best_set
from twinset_server.compatibility.candidates import Slot
from twinset_server.compatibility.completion import SetCompleter, SetRequest
from twinset_server.compatibility.reading import SideReader
from twinset_server.compatibility.sides import ItemSide, VectorSide
from twinset_server.domain import Compare, ItemVector, Operator, Vector, WritableItem
from twinset_server.errors import InvalidRequest, ItemNotFound, NoVector, SpaceMismatch

SOURCE, TARGET = "9" * 64, "a" * 64

Point = tuple[float, float]


def piece(item_id: str, category: str, source: Point, target: Point, price: int = 0) -> WritableItem:
    vectors = [
        ItemVector("pair_source", "", np.array(source, np.float32)),
        ItemVector("pair_target", "", np.array(target, np.float32)),
    ]
    return writable(item_id, vectors, category=category, attributes={"price": price})


def log_p(source: Point, target: Point) -> float:
    """Return log P as the fake model's contract has it: offset 1.5, scale .5, shift -.25."""
    squared = sum((a - b) ** 2 for a, b in zip(source, target, strict=True))
    return math.log(1 / (1 + math.exp(-(0.5 * (1.5 - squared) - 0.25))))


def score(given: Sequence[WritableItem], chosen: Sequence[WritableItem], *, both: bool) -> float:
    """Return the sum of log P over all pairs of given and chosen, and of two chosen."""

    def at(item: WritableItem, side: int) -> Point:
        a, b = item.vectors[side].values.tolist()
        return a, b

    pairs = [*itertools.product(given, chosen), *itertools.combinations(chosen, 2)]
    total = sum(log_p(at(one, 0), at(other, 1)) for one, other in pairs)
    return total + (sum(log_p(at(other, 0), at(one, 1)) for one, other in pairs) if both else 0)


coordinate = st.integers(-8, 8).map(lambda whole: whole / 4)
point = st.tuples(coordinate, coordinate)
pieces = st.lists(st.tuples(st.sampled_from(["sofa", "lamp"]), point, point), min_size=1, max_size=9)


@given(
    there=st.lists(st.tuples(point, point), min_size=1, max_size=2),
    others=pieces,
    slots=st.lists(st.sampled_from(["sofa", "lamp", ""]), min_size=1, max_size=2),
    both=st.booleans(),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_set_is_the_best_of_all_sets(
    reader: SideReader,
    catalog: FakeCatalog,
    there: list[tuple[Point, Point]],
    others: list[tuple[str, Point, Point]],
    slots: list[str],
    both: bool,
) -> None:
    catalog._items.clear()
    given_items = [piece(f"given{place}", "sofa", *vectors) for place, vectors in enumerate(there)]
    fill = [piece(f"item{place}", *one) for place, one in enumerate(others)]
    await put(catalog, [*given_items, *fill])
    request = SetRequest(
        [ItemSide(item.id) for item in given_items], [Slot(name) for name in slots], both, beam=100, alternatives=9
    )
    found = await SetCompleter(reader).complete(request, timeout_s=5)

    sets = [
        chosen
        for chosen in itertools.product(*([item for item in fill if name in ("", item.category)] for name in slots))
        if len({item.id for item in chosen}) == len(chosen)
    ]
    if not sets:
        assert any(slot.chosen is None for slot in found.slots)
        return
    best = max(score(given_items, chosen, both=both) for chosen in sets)
    by_id = {item.id: item for item in fill}
    chosen = [by_id[slot.chosen.item_id] for slot in found.slots if slot.chosen]
    assert found.exact
    assert found.score == pytest.approx(best, rel=1e-5)
    assert score(given_items, chosen, both=both) == pytest.approx(best, rel=1e-5)
    assert found.pairs == (2 if both else 1) * (len(there) * len(slots) + len(slots) * (len(slots) - 1) // 2)
    for place, slot in enumerate(found.slots):
        assert slot.chosen is not None
        assert slot.chosen.set_score == pytest.approx(best, rel=1e-5)
        rest = [item for other, item in enumerate(chosen) if other != place]
        assert slot.chosen.item_score == pytest.approx(best - score(given_items, rest, both=both), rel=1e-4, abs=1e-5)
        with_others = {
            item.id: score(given_items, [*chosen[:place], item, *chosen[place + 1 :]], both=both)
            for item in fill
            if slots[place] in ("", item.category) and item not in chosen
        }
        assert {one.item_id: one.set_score for one in slot.alternatives} == pytest.approx(with_others, rel=1e-5)
        scores = [one.set_score for one in slot.alternatives]
        assert scores == sorted(scores, reverse=True)


@pytest.fixture
async def completer(catalog: FakeCatalog, reader: SideReader) -> SetCompleter:
    await put(
        catalog,
        [
            piece("sofa", "sofa", (0, 0), (9, 9)),
            piece("near", "lamp", (5, 5), (0, 0), 100),
            piece("cheap", "lamp", (0, 0), (1, 0), 10),
            piece("far", "lamp", (0, 0), (3, 0), 10),
            piece("rug", "rug", (0, 0), (0, 0)),
        ],
    )
    return SetCompleter(reader)


async def chosen_by(completer: SetCompleter, *slots: Slot, **fields: object) -> list[str | None]:
    request = SetRequest([ItemSide("sofa")], slots, **fields)  # type: ignore[arg-type]
    found = await completer.complete(request, timeout_s=5)
    return [slot.chosen.item_id if slot.chosen else None for slot in found.slots]


async def test_a_slot_takes_what_its_category_filter_and_exclusions_leave(completer: SetCompleter) -> None:
    cheap = Compare("attributes.price", Operator.LESS, 50)
    assert await chosen_by(completer, Slot("lamp", cheap)) == ["cheap"]
    assert await chosen_by(completer, Slot("lamp", cheap, exclude=["cheap"])) == ["far"]
    assert await chosen_by(completer, Slot("lamp", cheap), exclude=["cheap"]) == ["far"]
    assert await chosen_by(completer, Slot(candidates=["far", "rug", "sofa", "nothing"])) == ["rug"]


async def test_a_slot_that_nothing_may_fill_stays_empty_and_others_are_filled(completer: SetCompleter) -> None:
    assert await chosen_by(completer, Slot("bed"), Slot("lamp")) == [None, "near"]
    assert await chosen_by(completer, Slot("rug"), Slot("rug"), Slot("bed")) == ["rug", None, None]


async def test_chosen_items_count_with_each_other_from_the_earlier_slot_to_the_later(completer: SetCompleter) -> None:
    # As a source "near" is far from the rug, so "cheap" wins where the rug comes after it, and not before.
    assert await chosen_by(completer, Slot("lamp"), Slot("rug")) == ["cheap", "rug"]
    assert await chosen_by(completer, Slot("rug"), Slot("lamp")) == ["rug", "near"]


async def test_a_given_vector_stands_as_a_source(completer: SetCompleter) -> None:
    slots = [Slot("lamp")]
    vector = VectorSide(Vector("pair_source", np.array([3, 0], np.float32), SOURCE))
    found = await completer.complete(SetRequest([vector], slots), timeout_s=5)
    assert found.slots[0].chosen is not None
    assert (found.slots[0].chosen.item_id, found.unknown) == ("far", [0])
    other = VectorSide(Vector("pair_target", np.array([3, 0], np.float32), TARGET))
    with pytest.raises(SpaceMismatch, match=r"given\[0\]"):
        await completer.complete(SetRequest([other], slots), timeout_s=5)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"given": []}, "given"),
        ({"slots": []}, "slots"),
        ({"beam": 0}, "beam"),
        ({"alternatives": 101}, "alternatives"),
        ({"prior": 1.0}, "prior"),
        ({"slots": [Slot("lamp", candidates=["rug"])]}, r"slots\[0\].candidates"),
        ({"slots": [Slot("lamp"), Slot("x" * 257)]}, r"slots\[1\].category"),
    ],
)
async def test_what_is_out_of_its_limits_is_named(
    completer: SetCompleter, fields: dict[str, object], named: str
) -> None:
    with pytest.raises(InvalidRequest, match=named):
        await completer.complete(
            SetRequest(**{"given": [ItemSide("sofa")], "slots": [Slot("lamp")], **fields}),  # type: ignore[arg-type]
            timeout_s=5,
        )


async def test_a_given_item_must_be_there_with_its_vector(completer: SetCompleter, catalog: FakeCatalog) -> None:
    await put(catalog, [writable("bare")])
    for item_id, error in (("nobody", ItemNotFound), ("bare", NoVector)):
        with pytest.raises(error):
            await completer.complete(SetRequest([ItemSide(item_id)], [Slot("lamp")]), timeout_s=5)


async def test_more_candidates_than_are_kept_leave_the_answer_uncertain(
    completer: SetCompleter, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = SetRequest([ItemSide("sofa")], [Slot("lamp")], alternatives=9)
    monkeypatch.setattr(completion, "_MOST_CANDIDATES", 2)
    found = await completer.complete(request, timeout_s=5)
    assert not found.exact
    assert found.slots[0].chosen is not None
    names = [found.slots[0].chosen.item_id, *(one.item_id for one in found.slots[0].alternatives)]
    assert names == ["near", "cheap"]


class Table:
    """Affinities that are written down."""

    def __init__(self, alone: list[list[float]], between: dict[tuple[int, int], list[list[float]]]) -> None:
        self._alone, self._between = alone, between
        ends = np.cumsum([len(one) for one in alone])
        self.identities = [np.arange(end - len(one), end) for one, end in zip(alone, ends, strict=True)]

    def alone(self, slot: int) -> np.ndarray:
        return np.array(self._alone[slot])

    def between(self, slot: int, candidates: np.ndarray, other: int) -> np.ndarray:
        return np.array(self._between[slot, other])[candidates]


def test_a_beam_too_narrow_for_the_best_set_says_so() -> None:
    table = Table([[-1, -2], [-1, -1]], {(0, 1): [[-9, -9], [-1, 0]]})
    narrow, wide = best_set(table, 1), best_set(table, 2)
    assert (narrow.chosen, narrow.score, narrow.complete) == ((0, 0), -11, False)
    assert (wide.score, wide.complete) == (-3, False)
    assert best_set(table, 4) == type(wide)((1, 1), -3.0, True)


def test_the_contract_of_the_fake_is_the_one_that_the_oracle_knows(reader: SideReader) -> None:
    contract = reader._pictures.embedder.contract
    assert contract.pair == PairContract(offset=1.5, scale=0.5, shift=-0.25, prior=0.5, ece=0.02)
    assert contract.space("pair_source").metric is Metric.EUCLIDEAN
