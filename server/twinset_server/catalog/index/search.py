"""The nearest items of one space at one moment, and the way to them.

A segment's graph is walked where that costs less than to compare the segment's rows, which are compared as bytes:
those of a small segment, and those that a filter leaves where they are few. A walk asks for a few more rows than k,
since dead rows, excluded items, rows that the filter leaves out and an item's further pictures take places. Where it
gives fewer than k items all the same, the segment's rows are compared: nothing is left out because it was far away.

Whichever way rows were chosen, their final distances are computed alike, in float64 from the full vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog.columns.codes import Truths
from twinset_server.catalog.index.graph import Graph
from twinset_server.catalog.index.rows import Rows
from twinset_server.catalog.index.segment_files import Segment
from twinset_server.catalog.index.selection import Candidates, Wanted, nearest
from twinset_server.catalog.index.views import View
from twinset_server.domain import (
    DEFAULT_TARGET_RECALL,
    SCAN,
    Float32Array,
    SearchMethod,
    SearchPlan,
    SearchResult,
)

# Costs are counted in rows compared one after another as bytes: 20 ns each at 512 dimensions.
_GATHERED = 2.5
"""What a row costs that is picked out from among others."""

_STEP = 250
"""What each unit of a walk's width costs: it compares a few dozen rows in bf16, and waits for each."""

_SURE = 3
"""A walk past rows that a filter leaves out finds a little less: it must be this much cheaper."""

_OVERSHOOT = 3
"""How many times as many rows are asked for as should hold enough that match, were these spread evenly."""

_BRIEF = 56_000_000
"""Rows times dimensions that may be compared on the event loop: about two milliseconds."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for.

    Attributes:
        values: `[D]` float32.
        k: how many items.
        exclude: ids of items that are no answers.
        target_recall: the share of the true nearest that is enough; 1 asks to compare all.
        mask: `[N]` truths by item place: which items a filter leaves; None without a filter.
    """

    values: Float32Array
    k: int
    exclude: frozenset[str] = frozenset()
    target_recall: float = DEFAULT_TARGET_RECALL
    mask: Truths | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """A segment or the delta: its rows, which of them the filter leaves, and how many these are."""

    rows: Rows
    truths: Truths | None
    matching: int

    @property
    def scan_cost(self) -> float:
        """What it costs to compare those that the filter leaves."""
        return self.rows.length if self.truths is None else min(self.rows.length, _GATHERED * self.matching)


@dataclass(frozen=True, slots=True)
class _Walk:
    """Rows that hold `k` items, and what the walk to them was; `recall` is what walks as wide gave."""

    candidates: Candidates
    width: int
    compared: int
    recall: float
    cost: float


def search(view: View, query: Query) -> SearchResult:
    """Return the nearest items."""
    result = _search(view, query, math.inf)
    assert result is not None  # noqa: S101 - nothing costs more than infinitely much
    return result


def search_briefly(view: View, query: Query) -> SearchResult | None:
    """Return the nearest items; None where that would take more than about two milliseconds."""
    return _search(view, query, _BRIEF / view.space.dimension)


def scan(view: View, query: Query) -> SearchResult:
    """Return the nearest items among all live vectors that the filter leaves."""
    candidates = [_all(part, view.sequence) for part in _parts(view, query)]
    return _answer(view, query, candidates, [])


def _search(view: View, query: Query, at_most: float) -> SearchResult | None:
    """Return the nearest items; None where that would cost more than `at_most`."""
    walks: list[_Walk] = []
    scanned: list[Candidates] = []
    for segment, part in zip([*view.segments, None], _parts(view, query), strict=True):
        walk = None if segment is None else _walked(segment, part, view, query, at_most)
        if walk is not None:
            walks.append(walk)
            at_most -= walk.cost
        elif part.rows.length:
            at_most -= part.scan_cost
            if at_most < 0:
                return None
            scanned.append(_all(part, view.sequence))
    return _answer(view, query, scanned, walks)


def _answer(view: View, query: Query, scanned: Sequence[Candidates], walks: Sequence[_Walk]) -> SearchResult:
    wanted = Wanted(query.values, view.space.metric, query.k, query.exclude)
    compared = sum(walk.compared for walk in walks) + sum(
        one.count if one.allowed is None else int(np.count_nonzero(one.allowed)) for one in scanned
    )
    if walks:
        recall = min(walk.recall for walk in walks)
        plan = SearchPlan(SearchMethod.WALK, max(walk.width for walk in walks), recall)
    else:
        plan = SCAN if query.mask is None else SearchPlan(SearchMethod.GATHER, expected_recall=1.0)
    neighbours = nearest([*(walk.candidates for walk in walks), *scanned], wanted)
    return SearchResult(neighbours, exact=not walks, examined=compared, sequence=view.sequence, plan=plan)


def _parts(view: View, query: Query) -> Iterator[_Part]:
    """Yield each segment, and at last the delta."""
    rows = [*(segment.rows for segment in view.segments), view.delta]
    for part, places in zip(rows, view.places, strict=True):
        truths = None if query.mask is None else places.truth(query.mask)
        yield _Part(part, truths, part.length if truths is None else int(np.count_nonzero(truths)))


def _all(part: _Part, sequence: int) -> Candidates:
    """Return all rows that live and that the filter leaves."""
    rows = part.rows
    if part.truths is not None and part.matching * _GATHERED < rows.length:
        places = np.flatnonzero(part.truths)
        return Candidates(rows, places[rows.died[places] > sequence])
    allowed = rows.alive(sequence)
    return Candidates(rows, slice(0, rows.length), allowed if part.truths is None else allowed & part.truths)


def _walked(segment: Segment, part: _Part, view: View, query: Query, at_most: float) -> _Walk | None:
    """Return what a walk gives; None where to compare the segment's rows costs less, or is needed."""
    widths = segment.record.widths
    if segment.graph is None or widths is None:
        return None
    measured = next((one for one in widths if one[1] >= query.target_recall), None)
    if measured is None or query.target_recall == 1:
        return None
    rows, truths, compared = part.rows, part.truths, 0
    bound = min(at_most, part.scan_cost / (1 if truths is None else _SURE))
    for count in _counts(segment, segment.graph, part, query):
        width = max(measured[0], count)
        cost = _STEP * width + _GATHERED * len(segment.strays)
        if cost > bound or count > rows.length // 4:
            return None
        found = segment.graph.nearest(query.values, count, width)
        compared += found.compared
        # Strays may be among what a walk found all the same: an item counts once anyhow.
        places = np.concatenate([found.places, segment.strays]) if len(segment.strays) else found.places
        allowed = rows.died[places] > view.sequence
        if truths is not None:
            allowed &= truths[places]
        if _hold_enough(segment, found.places, allowed, query):
            return _Walk(Candidates(rows, places[allowed]), width, compared + len(segment.strays), measured[1], cost)
    return None


def _counts(segment: Segment, graph: Graph, part: _Part, query: Query) -> Sequence[int]:
    """Return how many rows to ask the graph for, and how many next where these hold too few items."""
    needed = query.k * segment.spread
    excluded = len(query.exclude) * segment.spread
    if part.truths is not None:
        if not part.matching:
            return ()
        share = part.matching / part.rows.length
        return (graph.coding.asked(math.ceil(_OVERSHOOT * (needed + min(excluded, 16)) / share)),)
    # Up to a fifth of a segment is dead before it is built anew.
    first = graph.coding.asked(math.ceil(needed + min(excluded, 16)))
    return first, graph.coding.asked(math.ceil(2 * (needed + excluded))) + 32


def _hold_enough(segment: Segment, places: NDArray[np.intp], allowed: Truths, query: Query) -> bool:
    """Return whether `k` items are among those rows at `places` that are allowed."""
    places = places[allowed[: len(places)]]
    if len(places) < query.k:
        return False
    if segment.spread == 1 and not query.exclude:
        return True
    labels = segment.rows.labels
    return len({labels[place][0] for place in places.tolist()} - query.exclude) >= query.k
