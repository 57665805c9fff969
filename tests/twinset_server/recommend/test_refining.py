"""Answers equal those that brute force finds by the manual's formulas."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fakes import formulas
from fakes.catalog import FakeCatalog, FakeState
from fakes.formulas import Wish
from fakes.items import writable
from twinset.contract import Metric
from twinset_server.domain import ItemVector, Search, SearchResult, Space, Vector
from twinset_server.errors import InvalidRequest
from twinset_server.recommend import candidates
from twinset_server.recommend.combining import combine
from twinset_server.recommend.examples import Compared
from twinset_server.recommend.refining import Refined, refine
from twinset_server.recommend.request import Example, Grouping, Refinement, Request, VectorExample

SPACES = {
    "look": Space("look", 3, Metric.COSINE, "a" * 64),
    "place": Space("place", 2, Metric.EUCLIDEAN, "b" * 64),
    "taste": Space("taste", 2, Metric.INNER_PRODUCT, "c" * 64),
}
METRICS = {name: space.metric for name, space in SPACES.items()}
KINDS = ["red", "blue", None]
CLOSE = 1e-5

weights = st.floats(-3, 3).filter(lambda x: abs(x) > 0.1)
seeds = st.integers(0, 2**32 - 1)


def vector(generator: np.random.Generator, space: str) -> np.ndarray:
    """Return a vector of the space; some are drawn twice."""
    if generator.random() < 0.5:
        values = generator.normal(size=SPACES[space].dimension)
    else:
        values = generator.integers(1, 3, SPACES[space].dimension) * generator.choice([-1.0, 1.0])
    return (values / np.linalg.norm(values) if space == "look" else values).astype(np.float32)


@st.composite
def catalogues(draw: Any, most: int = 12, fewest: int = 0) -> formulas.Catalogue:
    generator = np.random.default_rng(draw(seeds))
    return {
        f"{n:02d}": {
            space: [vector(generator, space) for _ in range(generator.integers(fewest, 3))] for space in SPACES
        }
        for n in range(draw(st.integers(1, most)))
    }


@st.composite
def wishes(draw: Any, spaces: list[str], fewest: int = 1) -> list[Wish]:
    """Return examples of at least so many of the spaces."""
    chosen = draw(st.permutations(spaces))[:fewest]
    chosen = draw(st.permutations(chosen + draw(st.lists(st.sampled_from(spaces), max_size=2))))
    generator = np.random.default_rng(draw(seeds))
    return [Wish(space, vector(generator, space), draw(weights)) for space in chosen]


def state_of(catalogue: formulas.Catalogue) -> FakeState:
    """Return a catalogue of these items; every third is red, every third blue."""
    catalog = FakeCatalog(SPACES.values())
    items = [
        writable(
            item_id,
            [ItemVector(space, str(n), one) for space, some in of.items() for n, one in enumerate(some)],
            attributes={} if (kind := KINDS[place % 3]) is None else {"kind": kind},
        )
        for place, (item_id, of) in enumerate(catalogue.items())
    ]
    asyncio.run(catalog.write(items))
    return FakeState(catalog)


def asked_for(wanted: list[Wish], **fields: Any) -> tuple[Request, list[Compared]]:
    """Return the request by these examples, and the examples as they are compared."""
    examples = [Example(VectorExample(Vector(one.space, one.vector)), weight=one.weight) for one in wanted]
    compared = [
        Compared(n, example, SPACES[one.space], SPACES[one.space], one.vector)
        for n, (example, one) in enumerate(zip(examples, wanted, strict=True))
    ]
    return Request(examples, **fields), compared


def answer(state: Any, wanted: list[Wish], *, exclude: frozenset[str] = frozenset(), **fields: Any) -> Refined:
    request, compared = asked_for(wanted, **fields)
    search = Search(compared[0].space.name, compared[0].values, request.k, exclude, request.target_recall)
    try:
        return refine(request, compared, search, state, None)
    except InvalidRequest as error:
        assume("cancel" not in error.message)
        raise


def check_best(found: Refined, expected: Mapping[str, float], k: int) -> None:
    """Fail unless these are the `k` items with the highest scores, best first."""
    ids = [one.item_id for one in found.result.neighbours]
    assert len(set(ids)) == len(ids)
    assert [note.score for note in found.notes] == pytest.approx([expected[item_id] for item_id in ids], abs=CLOSE)
    best = sorted(expected.values(), reverse=True)[:k]
    assert [note.score for note in found.notes] == pytest.approx(best, abs=CLOSE)
    assert found.result.exact


@settings(max_examples=60, deadline=None)
@given(catalogues(), st.data(), st.integers(1, 8))
def test_examples_of_one_space_score_by_the_weighted_mean_of_similarities(
    catalogue: formulas.Catalogue, data: Any, k: int
) -> None:
    wanted = data.draw(wishes([data.draw(st.sampled_from(sorted(SPACES)))]))
    expected = formulas.scores(catalogue, METRICS, wanted)
    found = answer(state_of(catalogue), wanted, k=k, explain=True)
    check_best(found, expected, k)
    for note in found.notes:
        assert sum(one.share for one in note.contributions) == pytest.approx(note.score, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(catalogues(), st.data())
def test_examples_of_one_space_are_one_search(catalogue: formulas.Catalogue, data: Any) -> None:
    wanted = data.draw(wishes([data.draw(st.sampled_from(sorted(SPACES)))]))
    space = SPACES[wanted[0].space]
    try:
        combined = combine([one.vector for one in wanted], [one.weight for one in wanted], space.metric)
    except InvalidRequest:
        assume(False)
        raise
    if combined is None:
        assert space.metric is Metric.EUCLIDEAN
        assert sum(one.weight for one in wanted) <= 1e-5
        return
    result = state_of(catalogue).search(Search(space.name, combined.query, 100))
    expected = formulas.scores(catalogue, METRICS, wanted)
    found = {one.item_id: combined.score(one.distance) for one in result.neighbours}
    assert found == pytest.approx(expected, abs=CLOSE)
    assert [expected[item_id] for item_id in found] == pytest.approx(sorted(expected.values())[::-1], abs=CLOSE)


@settings(max_examples=80, deadline=None)
@given(catalogues(), st.data(), st.integers(1, 8))
def test_examples_of_several_spaces_score_by_percentiles(catalogue: formulas.Catalogue, data: Any, k: int) -> None:
    wanted = data.draw(wishes(sorted(SPACES), fewest=2))
    expected = formulas.scores(catalogue, METRICS, wanted)
    found = answer(state_of(catalogue), wanted, k=k, explain=True)
    check_best(found, expected, k)
    for note in found.notes:
        assert sum(one.share for one in note.contributions) == pytest.approx(note.score, abs=1e-9)
        assert all(one.percentile is not None for one in note.contributions)


@settings(max_examples=80, deadline=None)
@given(catalogues(most=25, fewest=1), st.data(), st.integers(1, 3))
def test_an_answer_that_says_it_is_exact_is_so_however_few_candidates_were_seen(
    catalogue: formulas.Catalogue, data: Any, k: int
) -> None:
    wanted = data.draw(wishes(sorted(SPACES)))
    expected = formulas.scores(catalogue, METRICS, wanted)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(candidates, "_FIRST", 2)
        patched.setattr(candidates, "_MOST", 8)
        found = answer(state_of(catalogue), wanted, k=k)
    assert len(found.notes) == min(k, len(expected))
    if found.result.exact:
        check_best(found, expected, k)


class Watched:
    """A state that remembers how deep it was searched."""

    def __init__(self, state: FakeState) -> None:
        self._state = state
        self.depths: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def search(self, search: Search) -> SearchResult:
        self.depths.append(search.k)
        return self._state.search(search)


def test_the_best_are_proven_long_before_all_are_seen() -> None:
    generator = np.random.default_rng(3)
    catalogue = {
        f"{n:04d}": {
            "place": [generator.normal(size=2).astype(np.float32)],
            "taste": [generator.normal(size=2).astype(np.float32)],
        }
        for n in range(3000)
    }
    state = Watched(state_of(catalogue))
    wanted = [Wish("place", np.zeros(2, np.float32), 1.0), Wish("taste", np.ones(2, np.float32), 0.5)]
    found = answer(state, wanted, k=5)
    assert found.result.exact
    assert max(state.depths) < 2000


@settings(max_examples=100, deadline=None)
@given(catalogues(), st.data(), st.integers(1, 6))
def test_each_item_is_the_best_that_may_follow_those_before(catalogue: formulas.Catalogue, data: Any, k: int) -> None:
    wanted = data.draw(wishes([data.draw(st.sampled_from(sorted(SPACES)))]))
    lowest = data.draw(st.none() | st.floats(-1, 1))
    balance = data.draw(st.none() | st.floats(0, 1))
    alike = data.draw(st.none() | st.floats(-1, 1))
    size = data.draw(st.none() | st.integers(1, 2))
    grouping = None if size is None else Grouping("attributes.kind", size)
    refinement = Refinement(lowest, balance, grouping, alike)
    found = answer(state_of(catalogue), wanted, k=k, refinement=refinement)
    expected = formulas.scores(catalogue, METRICS, wanted)
    kinds = {item_id: KINDS[place % 3] for place, item_id in enumerate(catalogue)}
    space = wanted[0].space
    vectors = {one.item_id: catalogue[one.item_id][space][int(one.picture_id)] for one in found.result.neighbours}
    vectors |= {item_id: _found_by(catalogue, item_id, wanted) for item_id in expected if item_id not in vectors}

    def nearest(item_id: str, before: list[str]) -> float:
        return max(formulas.similarity(METRICS[space], vectors[item_id], vectors[other]) for other in before)

    def may_follow(item_id: str, before: list[str], slack: float) -> bool:
        """Return whether an item may be next; with a negative `slack` whether rounding can't forbid it."""
        alone = alike is None or not before or nearest(item_id, before) < alike + slack
        full = size is not None and kinds[item_id] and [kinds[one] for one in before].count(kinds[item_id]) >= size
        return alone and not full and (lowest is None or expected[item_id] >= lowest - slack)

    def worth(item_id: str, before: list[str]) -> float:
        if balance is None:
            return expected[item_id]
        return balance * expected[item_id] - (1 - balance) * (nearest(item_id, before) if before else 0.0)

    chosen: list[str] = []
    for neighbour in found.result.neighbours:
        assert may_follow(neighbour.item_id, chosen, CLOSE)
        others = [one for one in expected if one not in chosen and may_follow(one, chosen, -CLOSE)]
        best = max((worth(one, chosen) for one in others), default=-np.inf)
        assert worth(neighbour.item_id, chosen) >= best - CLOSE
        chosen.append(neighbour.item_id)
    if len(chosen) < k:
        assert not [one for one in expected if one not in chosen and may_follow(one, chosen, -CLOSE)]


def _found_by(catalogue: formulas.Catalogue, item_id: str, wanted: list[Wish]) -> np.ndarray:
    """Return the vector of an item that gives it its score."""
    space = wanted[0].space
    return max(
        catalogue[item_id][space],
        key=lambda v: sum(one.weight * formulas.similarity(METRICS[space], one.vector, v) for one in wanted),
    )
