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
from typing import NamedTuple

import numpy as np

from twinset.contract import Metric
from twinset_server.catalog.columns.codes import Truths
from twinset_server.catalog.index.graph import Graph, Walk
from twinset_server.catalog.index.labels import Places, labels_at
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


class Query(NamedTuple):
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


class _Part(NamedTuple):
    """A segment or the delta: its rows, which of them the filter leaves, and how many these are."""

    rows: Rows
    truths: Truths | None
    matching: int

    @property
    def scan_cost(self) -> float:
        """What it costs to compare those that the filter leaves."""
        return self.rows.length if self.truths is None else min(self.rows.length, _GATHERED * self.matching)


class _Walk(NamedTuple):
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
        one.size if one.allowed is None else int(np.count_nonzero(one.allowed)) for one in scanned
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
    rows, truths = part.rows, part.truths
    if truths is not None and part.matching * _GATHERED < rows.length:
        places = np.flatnonzero(truths)
        return Candidates(rows, places if rows.all_alive(sequence) else places[rows.died[places] > sequence])
    if rows.all_alive(sequence):
        return Candidates(rows, slice(0, rows.length), truths)
    allowed = rows.alive(sequence)
    return Candidates(rows, slice(0, rows.length), allowed if truths is None else allowed & truths)


def _walked(segment: Segment, part: _Part, view: View, query: Query, at_most: float) -> _Walk | None:
    """Return what a walk gives; None where to compare the segment's rows costs less, or is needed."""
    graph, widths, target = segment.graph, segment.record.widths, query.target_recall
    if graph is None or widths is None or target == 1:
        return None
    measured = next((one for one in widths if one[1] >= target), None)
    if measured is None:
        return None
    rows, truths, strays, compared = part.rows, part.truths, segment.strays, 0
    bound = min(at_most, part.scan_cost / (1 if truths is None else _SURE))
    for count in _counts(segment, graph, part, query):
        width = max(measured[0], count)
        cost = _STEP * width + _GATHERED * len(strays)
        if cost > bound or count > rows.length // 4:
            return None
        found = graph.nearest(query.values, count, width)
        compared += found.compared
        places = _near(segment, graph, part, view, query, found)
        if places is not None:
            if len(strays):
                # They may be among what a walk found all the same: an item counts once anyhow.
                places = np.concatenate([places, strays[_allowed(part, strays, view.sequence)]])
            return _Walk(Candidates(rows, places), width, compared + len(strays), measured[1], cost)
    return None


def _near(segment: Segment, graph: Graph, part: _Part, view: View, query: Query, found: Walk) -> Places | None:
    """Return the rows among which the nearest `k` items of a walk are; None where it has fewer."""
    places, apart = found.places, found.apart
    if part.truths is not None or not part.rows.all_alive(view.sequence):
        allowed = _allowed(part, places, view.sequence)
        places, apart = places[allowed], apart[allowed]
    enough = _enough(segment, places, query)
    if enough is None:
        return None
    space = view.space
    length = 1.0 if space.metric is Metric.COSINE else float(np.linalg.norm(query.values))
    farthest = apart[enough - 1] + graph.coding.margin(part.rows.coarse.length, length, space.dimension, space.metric)
    # To compare a row in full is to wait for two thousand bytes of memory.
    return places[: int(np.searchsorted(apart, farthest, side="right"))]


def _allowed(part: _Part, places: Places, sequence: int) -> Truths:
    """Return for each of the places whether its row lives and the filter leaves it."""
    allowed: Truths = part.rows.died[places] > sequence
    if part.truths is not None:
        allowed &= part.truths[places]
    return allowed


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


def _enough(segment: Segment, places: Places, query: Query) -> int | None:
    """Return how many of the rows at `places`, the first ones, hold `k` items; None where all hold fewer."""
    if segment.spread == 1 and len(places) >= query.k + len(query.exclude):
        return query.k + len(query.exclude)
    seen: set[str] = set()
    for number, (item_id, _) in enumerate(labels_at(segment.rows.labels, places), 1):
        if item_id not in query.exclude:
            seen.add(item_id)
            if len(seen) == query.k:
                return number
    return None
