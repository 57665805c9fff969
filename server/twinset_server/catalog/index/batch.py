"""Several queries answered together: every stage is made for all of them before the next.

So each stage finds its code and its data in the caches, and numpy is called once for all. It serves queries of one
plan: alike in `k`, in how many items they exclude and in the recall that they want, without a filter, in a space that
is walked. A query that needs more than its first walk gets no answer here, and is searched for by itself. The answers
are those of single searches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_server.catalog.index.distance import Float64Array, coarse_ranks_of_each, distances_of_pairs, rank_at
from twinset_server.catalog.index.labels import Label, Places, labels_at
from twinset_server.catalog.index.ordering import first_items
from twinset_server.catalog.index.rows import Rows
from twinset_server.catalog.index.segment_files import Segment
from twinset_server.catalog.index.views import View
from twinset_server.catalog.index.walks import Part, Query, Step, steps
from twinset_server.domain import Float32Array, Neighbour, SearchMethod, SearchPlan, SearchResult

MOST_PRODUCTS = 1 << 22
"""As many products of rows and queries are held in memory at once: 16 MB."""

AT_ONCE = 32
"""So many queries at the most: more would not cost less."""

_FURTHER_WALK, _FURTHER_ROW = 0.75, 0.2
"""What a walk costs beside the first, which has fetched the graph's code and its upper rows; and to compare a row with
one more query beside the first. Measured: 110 us after 145, and 9 after 45 for 5,000 rows."""

_FEW = 64
"""Of rows that are compared anyhow so many may be near to a query; where more are, they are chosen from by itself."""

_LARGEST = float(np.finfo(np.float32).max)


_MOST_PLANS = 256
"""Callers choose the kinds."""


class _Unknown:
    """Stands where no plan was made; None means that there is none."""


_UNKNOWN = _Unknown()


class Plan(NamedTuple):
    """How queries that are alike are answered.

    Attributes:
        walks: the segments that are walked, and how.
        compared: what is compared as a whole.
        needed: rows that hold enough items, of a segment whose items have one each.
        told: what is told of it.
        cost: what one query costs, in rows compared as bytes.
        cost_of_another: what each further one costs.
    """

    walks: Sequence[tuple[Segment, Step]]
    compared: Sequence[Rows]
    needed: int
    told: SearchPlan
    cost: float
    cost_of_another: float


def plan_of(view: View, query: Query) -> Plan | None:
    """Return how queries like this one are answered together; None where each has to be by itself."""
    if query.mask is not None:
        return None
    kind = query.k, len(query.exclude), query.target_recall
    plan: Plan | _Unknown | None = view.plans.get(kind, _UNKNOWN)
    if isinstance(plan, _Unknown):
        plan = _plan_of(view, query)
        if len(view.plans) >= _MOST_PLANS:
            view.plans.clear()
        view.plans[kind] = plan
    return plan


def _plan_of(view: View, query: Query) -> Plan | None:
    needed = query.k + len(query.exclude)
    walks: list[tuple[Segment, Step]] = []
    compared = [view.delta] if view.delta.length else []
    for segment in view.segments:
        step = next(steps(segment, Part(segment.rows, None, segment.rows.length), query, math.inf), None)
        if step is None:
            compared.append(segment.rows)
        elif segment.spread == 1 and not len(segment.strays) and needed <= step.asked:
            walks.append((segment, step))
        else:
            return None
    if not walks or AT_ONCE * sum(one.length for one in compared) > MOST_PRODUCTS:
        return None
    width, recall = max(step.width for _, step in walks), min(step.recall for _, step in walks)
    steps_cost, rows = sum(step.cost for _, step in walks), sum(one.length for one in compared)
    return Plan(
        walks,
        compared,
        needed,
        SearchPlan(SearchMethod.WALK, width, recall),
        cost=steps_cost + rows,
        cost_of_another=_FURTHER_WALK * steps_cost + _FURTHER_ROW * rows,
    )


class _Pairs(NamedTuple):
    """Rows that may be answers, each beside the number of the query that it may answer, `[P]` all.

    Attributes:
        rows: where they are.
        numbers: rising.
        places: where they stand.
        apart: their distances from their queries.
    """

    rows: Rows
    numbers: Places
    places: Places
    apart: Float64Array


def nearest_of_each(view: View, queries: Sequence[Query], plan: Plan) -> list[SearchResult | None]:
    """Return what is found for each of up to `AT_ONCE` queries by their plan; None for one that takes more."""
    # One after another and then in shape: four times as quick as to make an array of arrays.
    values = np.concatenate([query.values for query in queries]).reshape(len(queries), -1)
    farthest = np.full(len(queries), np.inf)
    lacking = np.zeros(len(queries), np.bool_)
    found: list[_Pairs] = []
    compared = 0
    for segment, step in plan.walks:
        walked, few, examined = _walked(view, segment, step, values, plan.needed)
        found.append(walked)
        lacking |= few
        compared += examined
        if plan.compared:
            np.minimum(farthest, _last(walked, len(queries), plan.needed), out=farthest)
    farthest[lacking] = -np.inf
    for rows in plan.compared:
        compared += rows.length if rows.all_alive(view.sequence) else int(np.count_nonzero(rows.alive(view.sequence)))
        near = _within(view, rows, values, farthest)
        if near is None:
            return [None] * len(queries)
        if len(near.places):
            found.append(near)
    results: list[SearchResult | None] = []
    for query, lacks, nearest in zip(
        queries, lacking.tolist(), _nearest(found, len(queries), plan.needed), strict=True
    ):
        neighbours = [] if lacks else first_items(nearest, query.k, query.exclude)
        # Where items come twice there may be further ones.
        found_all = len(neighbours) == query.k
        results.append(
            SearchResult(neighbours, exact=False, examined=compared, sequence=view.sequence, plan=plan.told)
            if found_all
            else None
        )
    return results


def _walked(
    view: View, segment: Segment, step: Step, values: Float32Array, needed: int
) -> tuple[_Pairs, NDArray[np.bool_], int]:
    """Return the rows that walks give among which the nearest are, who has too few, and how many were compared each."""
    graph, rows, space = segment.graph, segment.rows, view.space
    assert graph is not None  # noqa: S101 - no step leads through none
    places, apart, compared = graph.walks(values, step.asked, step.width)
    alive = rows.all_alive(view.sequence)
    if not alive:
        apart = np.where(rows.died.take(places, mode="clip") > view.sequence, apart, np.float32(np.inf))
    if apart.shape[1] < needed:
        kth = np.full(len(values), np.inf)
    else:
        kth = apart[:, needed - 1] if alive else np.partition(apart, needed - 1, axis=1)[:, needed - 1]
    lengths = [1.0] if space.metric is Metric.COSINE else np.linalg.norm(values, axis=1).tolist()
    margin = [graph.coding.margin(rows.coarse.length, one, space.dimension, space.metric) for one in lengths]
    # To compare a row in full is to wait for two thousand bytes of memory.
    kept = apart <= np.minimum(kth + np.array(margin, np.float32), _LARGEST)[:, np.newaxis]
    numbers, _ = kept.nonzero()
    return _pairs(rows, numbers, places[kept], values, space.metric), kth == np.inf, compared


def _last(pairs: _Pairs, queries: int, needed: int) -> Float64Array:
    """Return `[Q]` the distance of the last row needed of each query; infinite where there are fewer."""
    starts = pairs.numbers.searchsorted(np.arange(queries + 1))
    widest = max(needed, int(np.diff(starts).max()))
    table = np.full((queries, widest), np.inf)
    table[pairs.numbers, np.arange(len(pairs.numbers)) - starts[pairs.numbers]] = pairs.apart
    last: Float64Array = np.partition(table, needed - 1, axis=1)[:, needed - 1]
    return last


def _within(view: View, rows: Rows, values: Float32Array, farthest: Float64Array) -> _Pairs | None:
    """Return the rows that are no farther from a query than `farthest`, `[Q]`; None where it takes a choice to tell."""
    metric = view.space.metric
    ranked = coarse_ranks_of_each(rows, values, metric)
    if ranked is None:
        return None
    bounds = [rank_at(distance, query, metric) for distance, query in zip(farthest.tolist(), values, strict=True)]
    limits = np.minimum(np.array(bounds) + ranked.slack, _LARGEST).astype(np.float32)
    # Rounded up: no row at the limit may be lost.
    near = (ranked.values <= np.nextafter(limits, np.float32(np.inf))[:, np.newaxis]).ravel().nonzero()[0]
    if len(near) > _FEW * len(values):
        return None
    numbers, places = np.divmod(near, rows.length)
    if not rows.all_alive(view.sequence):
        alive = rows.died[places] > view.sequence
        numbers, places = numbers[alive], places[alive]
    pairs = _pairs(rows, numbers, places, values, metric)
    nearer = pairs.apart <= farthest[numbers]
    return _Pairs(rows, numbers[nearer], places[nearer], pairs.apart[nearer])


def _pairs(rows: Rows, numbers: Places, places: Places, values: Float32Array, metric: Metric) -> _Pairs:
    """Return the rows at `places` beside the queries of these numbers, compared in full."""
    # Places are of rows that are there: to be told so by `mode` spares a look at each.
    vectors = rows.vectors.take(places, axis=0, mode="clip")
    apart = distances_of_pairs(vectors, values.take(numbers, axis=0, mode="clip"), metric)
    return _Pairs(rows, numbers, places, apart)


def _nearest(found: Sequence[_Pairs], queries: int, needed: int) -> Iterator[list[Neighbour]]:
    """Yield the rows needed of each query, nearest first, and those that are as far as the last of them."""
    numbers, apart = found[0].numbers, found[0].apart
    if len(found) > 1:
        numbers = np.concatenate([one.numbers for one in found])
        apart = np.concatenate([one.apart for one in found])
    order = np.lexsort((apart, numbers))
    numbers, apart = numbers[order], apart[order]
    starts = numbers.searchsorted(np.arange(queries + 1))
    limits = apart.take(np.minimum(starts[:-1] + needed, starts[1:]) - 1, mode="clip")
    cut = apart <= limits[numbers]
    order, numbers, apart = order[cut], numbers[cut], apart[cut]
    labels, distances = _labels(found, order), apart.tolist()
    rows = [Neighbour(*label, distance) for label, distance in zip(labels, distances, strict=True)]
    # Where no two are equally far they are in order. Two queries' rows may be: that costs a look.
    ties = bool((apart[1:] == apart[:-1]).any())
    for start, end in itertools.pairwise(numbers.searchsorted(np.arange(queries + 1)).tolist()):
        # Python compares text by code points, which is the byte order of its UTF-8.
        near = rows[start:end]
        yield sorted(near, key=lambda one: (one.distance, one.item_id, one.picture_id)) if ties else near


def _labels(found: Sequence[_Pairs], order: Places) -> list[Label]:
    """Return the labels of the rows in this order, which counts through all of them."""
    if len(found) == 1:
        return labels_at(found[0].rows.labels, found[0].places[order])
    labels: list[Label] = [("", "")] * len(order)
    start = 0
    for one in found:
        own = np.flatnonzero((order >= start) & (order < start + len(one.places)))
        for place, label in zip(own.tolist(), labels_at(one.rows.labels, one.places[order[own] - start]), strict=True):
            labels[place] = label
        start += len(one.places)
    return labels
