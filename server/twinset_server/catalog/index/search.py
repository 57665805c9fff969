"""The nearest items of one space at one moment, and the way to them.

A segment's graph is walked where that costs less than to compare the segment's rows, which are compared as bytes:
those of a small segment, and those that a filter leaves where they are few. A walk asks for a few more rows than k,
since dead rows, excluded items, rows that the filter leaves out and an item's further pictures take places. Where it
gives fewer than k items all the same, the segment's rows are compared: nothing is left out because it was far away.

Whichever way rows were chosen, their final distances are computed alike, in float64 from the full vectors.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from twinset_server.catalog.index.batch import AT_ONCE, MOST_PRODUCTS, Plan, nearest_of_each, plan_of
from twinset_server.catalog.index.distance import Ranked, coarse_ranks_of_each
from twinset_server.catalog.index.graph import Walk
from twinset_server.catalog.index.rows import Rows
from twinset_server.catalog.index.selection import Candidates, Wanted, nearest
from twinset_server.catalog.index.views import View
from twinset_server.catalog.index.walks import GATHERED, Part, Query, Step, Walked, row_ns, steps, walked
from twinset_server.domain import SCAN, SearchMethod, SearchPlan, SearchResult

_BRIEF_NS = 2_000_000
"""So long rows may be compared on the event loop."""


class _Ahead(NamedTuple):
    """What was done for a query together with others, by the number of a segment; the delta has the last."""

    walks: dict[int, Mapping[Step, Walk]]
    ranked: dict[int, Ranked]


def search(view: View, query: Query) -> SearchResult:
    """Return the nearest items."""
    (result,) = search_each(view, [query])
    return result


def search_briefly(view: View, query: Query) -> SearchResult | None:
    """Return the nearest items; None where that would take more than about two milliseconds."""
    found = search_each_briefly(view, [query])
    return found[0] if found else None


def search_each(view: View, queries: Sequence[Query]) -> list[SearchResult]:
    """Return what `search` does for each query; what they have in common is done once."""
    plans = [plan_of(view, query) for query in queries] if len(queries) > 1 else [None]
    found = _each(view, queries, plans, math.inf)
    return [one for one in found if one is not None]


def search_each_briefly(view: View, queries: Sequence[Query]) -> list[SearchResult]:
    """Return what `search` does for the first of the queries, as many as take about two milliseconds together.

    Nothing where the first one alone takes longer. Where it takes several rounds all are about as long.
    """
    at_most = _BRIEF_NS / row_ns(view.space.dimension)
    if len(queries) == 1:
        # One alone goes its own way: fewer steps, each of which is found in no cache.
        result = _search(view, queries[0], at_most, None)
        return [] if result is None else [result]
    plans = [plan_of(view, query) for query in queries]
    costs = _costs(view, queries, plans)
    if costs[0] > at_most:
        return []
    rounds = math.ceil(costs[-1] / at_most)
    count = bisect.bisect_left(costs, costs[-1] / rounds) + 1 if rounds else len(queries)
    if costs[count - 1] > at_most:
        count -= 1
    found = _each(view, queries[:count], plans[:count], at_most)
    return [one for one in itertools.takewhile(lambda one: one is not None, found) if one is not None]


def scan(view: View, query: Query) -> SearchResult:
    """Return the nearest items among all live vectors that the filter leaves."""
    candidates = [_all(part, view.sequence, None) for part in _parts(view, query)]
    return _answer(view, query, candidates, [])


def _costs(view: View, queries: Sequence[Query], plans: Sequence[Plan | None]) -> list[float]:
    """Return for each query what it and those before it cost."""
    total, costs, seen = 0.0, [], set[int]()
    for query, plan in zip(queries, plans, strict=True):
        if plan is None:
            total += _cost(view, query)
        elif id(plan) in seen:
            total += plan.cost_of_another
        else:
            seen.add(id(plan))
            total += plan.cost
        costs.append(total)
    return costs


def _cost(view: View, query: Query) -> float:
    """Return what a search by itself costs, in rows compared as bytes."""
    cost = 0.0
    for number, part in enumerate(_parts(view, query)):
        step = next(steps(view.segments[number], part, query, math.inf), None) if number < len(view.segments) else None
        cost += part.scan_cost if step is None else step.cost
    return cost


def _each(
    view: View, queries: Sequence[Query], plans: Sequence[Plan | None], at_most: float
) -> list[SearchResult | None]:
    """Return what is found for each query; None where that would cost more than `at_most`."""
    found: list[SearchResult | None] = [None] * len(queries)
    alike: dict[int, list[int]] = defaultdict(list)
    for place, plan in enumerate(plans):
        alike[id(plan)].append(place)
    for places in alike.values():
        plan = plans[places[0]]
        if plan is not None and len(places) > 1:
            for start in range(0, len(places), AT_ONCE):
                part = places[start : start + AT_ONCE]
                results = nearest_of_each(view, [queries[place] for place in part], plan)
                for place, result in zip(part, results, strict=True):
                    found[place] = result
    left = [place for place, result in enumerate(found) if result is None]
    ahead = _ahead(view, [queries[place] for place in left]) if len(left) > 1 else [None] * len(left)
    for place, made in zip(left, ahead, strict=True):
        found[place] = _search(view, queries[place], at_most, made)
    return found


def _search(view: View, query: Query, at_most: float, ahead: _Ahead | None) -> SearchResult | None:
    """Return the nearest items; None where that would cost more than `at_most`."""
    walks: list[tuple[Rows, Walked]] = []
    scanned: list[Candidates] = []
    for number, part in enumerate(_parts(view, query)):
        if number < len(view.segments):
            made = ahead.walks.get(number) if ahead else None
            found = walked(view.segments[number], part, view, query, at_most, made)
            if found is not None:
                walks.append((part.rows, found))
                at_most -= found.step.cost
                continue
        if part.rows.length:
            at_most -= part.scan_cost
            if at_most < 0:
                return None
            scanned.append(_all(part, view.sequence, ahead.ranked.get(number) if ahead else None))
    return _answer(view, query, scanned, walks)


def _ahead(view: View, queries: Sequence[Query]) -> list[_Ahead]:
    """Return for each query the walk that it begins with, and its ranks of rows that are compared anyhow."""
    ahead = [_Ahead({}, {}) for _ in queries]
    # A filter leaves each query rows of its own.
    plain = [place for place, query in enumerate(queries) if query.mask is None]
    for number, rows in enumerate([*(segment.rows for segment in view.segments), view.delta]):
        whole = Part(rows, None, rows.length)
        segment = view.segments[number] if number < len(view.segments) else None
        alike: dict[Step, list[int]] = defaultdict(list)
        compared: list[int] = []
        for place in plain:
            step = None if segment is None else next(steps(segment, whole, queries[place], math.inf), None)
            if step is None:
                compared.append(place)
            else:
                alike[step].append(place)
        for step, places in alike.items():
            assert segment is not None and segment.graph is not None  # noqa: S101, PT018 - there was a step
            walks = segment.graph.nearest_of_each([queries[place].values for place in places], step.asked, step.width)
            for place, walk in zip(places, walks, strict=True):
                ahead[place].walks[number] = {step: walk}
        if len(compared) > 1 and 0 < rows.length * len(compared) <= MOST_PRODUCTS:
            values = np.stack([queries[place].values for place in compared])
            ranked = coarse_ranks_of_each(rows, values, view.space.metric)
            if ranked is not None:
                for place, ranks in zip(compared, ranked.values, strict=True):
                    ahead[place].ranked[number] = Ranked(ranks, ranked.slack)
    return ahead


def _answer(
    view: View, query: Query, scanned: Sequence[Candidates], walks: Sequence[tuple[Rows, Walked]]
) -> SearchResult:
    wanted = Wanted(query.values, view.space.metric, query.k, query.exclude)
    compared = sum(one.size if one.allowed is None else int(np.count_nonzero(one.allowed)) for one in scanned)
    if walks:
        compared += sum(found.compared for _, found in walks)
        recall = min(found.step.recall for _, found in walks)
        plan = SearchPlan(SearchMethod.WALK, max(found.step.width for _, found in walks), recall)
    else:
        plan = SCAN if query.mask is None else SearchPlan(SearchMethod.GATHER, expected_recall=1.0)
    neighbours = nearest([*(Candidates(rows, found.places) for rows, found in walks), *scanned], wanted)
    return SearchResult(neighbours, exact=not walks, examined=compared, sequence=view.sequence, plan=plan)


def _parts(view: View, query: Query) -> Iterator[Part]:
    """Yield each segment, and at last the delta."""
    rows = [*(segment.rows for segment in view.segments), view.delta]
    if query.mask is None:
        yield from (Part(part, None, part.length) for part in rows)
        return
    for part, places in zip(rows, view.places, strict=True):
        truths = places.truth(query.mask)
        yield Part(part, truths, int(np.count_nonzero(truths)))


def _all(part: Part, sequence: int, ranked: Ranked | None) -> Candidates:
    """Return all rows that live and that the filter leaves; `ranked` are those of all where they are known."""
    rows, truths = part.rows, part.truths
    if truths is not None and part.matching * GATHERED < rows.length:
        places = np.flatnonzero(truths)
        return Candidates(rows, places if rows.all_alive(sequence) else places[rows.died[places] > sequence])
    if rows.all_alive(sequence):
        return Candidates(rows, slice(0, rows.length), truths, ranked)
    allowed = rows.alive(sequence)
    return Candidates(rows, slice(0, rows.length), allowed if truths is None else allowed & truths, ranked)
