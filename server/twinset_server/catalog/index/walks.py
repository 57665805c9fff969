"""Walks through the graph of a segment: where they pay, how wide they are, and which rows of what they give matter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from twinset.contract import Metric
from twinset_server.catalog.columns.codes import Truths
from twinset_server.catalog.index.graph import Graph, Walk
from twinset_server.catalog.index.labels import Places, labels_at
from twinset_server.catalog.index.proof import PROBE_K
from twinset_server.catalog.index.rows import Rows
from twinset_server.catalog.index.segment_files import Segment
from twinset_server.catalog.index.views import View
from twinset_server.domain import DEFAULT_TARGET_RECALL, Float32Array

# Costs are counted in rows compared one after another as bytes; see `row_ns`.
GATHERED = 2.5
"""What a row costs that is picked out from among others."""

_STEP = 250
"""What each unit of a walk's width costs at 512 dimensions and above, and less below: see `_step`."""

_SURE = 3
"""A walk past rows that a filter leaves out finds a little less: it must be this much cheaper."""

_OVERSHOOT = 3
"""How many times as many rows are asked for as should hold enough that match, were these spread evenly."""


_EXCLUDED = (16, 128)
"""So many of the items that are excluded are thought to be near at first, and next; then all of them."""


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


class Part(NamedTuple):
    """A segment or the delta: its rows, which of them the filter leaves, and how many these are."""

    rows: Rows
    truths: Truths | None
    matching: int

    @property
    def scan_cost(self) -> float:
        """What it costs to compare those that the filter leaves."""
        return self.rows.length if self.truths is None else min(self.rows.length, GATHERED * self.matching)


class Step(NamedTuple):
    """A walk that may be made: the rows that are asked for, its width, its cost, and what walks as wide gave."""

    asked: int
    width: int
    cost: float
    recall: float


class Walked(NamedTuple):
    """What walks found: rows that hold `k` items, by the last of them, and how many were compared in all."""

    places: Places
    step: Step
    compared: int


def row_ns(dimension: int) -> float:
    """Return what it takes to compare a row with others as bytes, in nanoseconds: most of it whatever the dimension."""
    return 9 + dimension / 50


def _step(dimension: int) -> float:
    """Return what each unit of a walk's width costs: it looks up a few dozen rows, waits for each and compares it.

    Measured among 100,000 rows in µs a unit: .75 of 26 dimensions, 1.3 of 64, 1.6 of 128, 3.1 of 512. A row costs 10,
    10, 11 and, out of the cache, 39 ns there; out of it a walk is slower in a server than alone, which is counted too.
    """
    return _STEP * min(1.0, 0.36 + dimension / 800)


def steps(segment: Segment, part: Part, query: Query, at_most: float) -> Iterator[Step]:
    """Yield the walks to make until one gives enough; they end where to compare the segment's rows costs less."""
    graph, widths, target = segment.graph, segment.record.widths, query.target_recall
    if graph is None or widths is None or target == 1:
        return
    measured = next((one for one in widths if one[1] >= target), None)
    if measured is None:
        return
    step = _step(part.rows.vectors.shape[1])
    bound = min(at_most, part.scan_cost / (1 if part.truths is None else _SURE))
    for count in _counts(segment, graph, part, query):
        # Of what is farther away a walk finds less: a unit more for each row more than widths were measured with.
        width = max(measured[0] + count - graph.coding.asked(min(PROBE_K, query.k)), count)
        cost = step * width + GATHERED * len(segment.strays)
        if cost > bound or count > part.rows.length // 4:
            return
        yield Step(count, width, cost, measured[1])


def walked(
    segment: Segment, part: Part, view: View, query: Query, at_most: float, made: Mapping[Step, Walk] | None
) -> Walked | None:
    """Return what a walk gives; None where to compare the segment's rows costs less, or is needed.

    Walks in `made` aren't made again; None where there are none.
    """
    strays, compared = segment.strays, 0
    for step in steps(segment, part, query, at_most):
        assert segment.graph is not None  # noqa: S101 - no step leads through none
        found = made.get(step) if made else None
        if found is None:
            found = segment.graph.nearest(query.values, step.asked, step.width)
        compared += found.compared
        places = _near(segment, segment.graph, part, view, query, found)
        if places is not None:
            if len(strays):
                # They may be among what a walk found all the same: an item counts once anyhow.
                places = np.concatenate([places, strays[_allowed(part, strays, view.sequence)]])
            return Walked(places, step, compared + len(strays))
    return None


def _near(segment: Segment, graph: Graph, part: Part, view: View, query: Query, found: Walk) -> Places | None:
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
    return places[: int(apart.searchsorted(farthest, side="right"))]


def _allowed(part: Part, places: Places, sequence: int) -> Truths:
    """Return for each of the places whether its row lives and the filter leaves it."""
    allowed: Truths = part.rows.died[places] > sequence
    if part.truths is not None:
        allowed &= part.truths[places]
    return allowed


def _counts(segment: Segment, graph: Graph, part: Part, query: Query) -> Sequence[int]:
    """Return how many rows to ask the graph for, and how many next where these hold too few items."""
    needed = query.k * segment.spread
    excluded = len(query.exclude) * segment.spread
    if part.truths is not None:
        if not part.matching:
            return ()
        share = part.matching / part.rows.length
        return (graph.coding.asked(math.ceil(_OVERSHOOT * (needed + min(excluded, _EXCLUDED[0])) / share)),)
    few = [graph.coding.asked(math.ceil(needed + count)) for count in _EXCLUDED if count < excluded]
    # Up to a fifth of a segment is dead before it is built anew.
    every = graph.coding.asked(math.ceil(2 * (needed + excluded))) + 32
    return *(few or [graph.coding.asked(math.ceil(needed + excluded))]), every


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
