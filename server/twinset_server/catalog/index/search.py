"""The nearest items of one space at one moment.

`scan` compares every live vector. `walk` asks the segments' graphs, and scans only what has none: the rows since, and
small segments. It asks each graph for a few more rows than k, since dead rows, excluded items and an item's further
pictures take places, then for many more; a small segment that still gives too few is scanned, and for a large one
`walk` gives up: `scan` answers then. Whichever chose the rows, their final distances are computed the same way, in
float64 from the full vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog.index.distance import distances, ranks
from twinset_server.catalog.index.labels import Places
from twinset_server.catalog.index.rows import Rows
from twinset_server.catalog.index.segment_files import Segment
from twinset_server.catalog.index.views import View
from twinset_server.domain import (
    DEFAULT_TARGET_RECALL,
    SCAN,
    Float32Array,
    Neighbour,
    SearchMethod,
    SearchPlan,
    SearchResult,
)

_SLACK = 16
"""Rows asked for beyond those needed."""

_BRIEF_PRODUCTS = 6_000_000
_BRIEF_WIDTH = 256
"""What a search may cost to run on the event loop: about a millisecond, most of it waiting for memory."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: `values` is `[D]` float32; a `target_recall` of 1 asks to compare all."""

    values: Float32Array
    k: int
    exclude: frozenset[str] = frozenset()
    target_recall: float = DEFAULT_TARGET_RECALL


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Rows that hold the best `k` items of what was looked through."""

    rows: Rows
    places: Places


def is_brief(view: View, query: Query) -> bool:
    """Return whether `walk` takes about a millisecond: no walk is wide, and what it scans is small."""
    scanned = view.delta.length + sum(segment.rows.length for segment in view.segments if segment.graph is None)
    widest = max((segment.record.expansion or 0 for segment in view.segments), default=0)
    width = max(widest, query.k + len(query.exclude))
    return scanned * view.space.dimension <= _BRIEF_PRODUCTS and width <= _BRIEF_WIDTH


def walk(view: View, query: Query) -> SearchResult | None:
    """Return neighbours by the segments' graphs; None where they can't give `k` items, or all must be compared."""
    if query.target_recall == 1 and any(segment.graph is not None for segment in view.segments):
        return None
    walked: list[_Chosen] = []
    scanned = [view.delta]
    compared = 0
    for segment in view.segments:
        found = _walked(segment, view, query) if segment.graph is not None else None
        if found is not None:
            walked.append(found[0])
            compared += found[1]
        elif segment.graph is None or segment.rows.length * view.space.dimension <= _BRIEF_PRODUCTS:
            scanned.append(segment.rows)
        else:
            return None
    neighbours = _best([*walked, *_choose(scanned, view, query)], view, query)
    compared += sum(int(np.count_nonzero(rows.alive(view.sequence))) for rows in scanned)
    width = max((segment.record.expansion or 0 for segment in view.segments), default=0)
    plan = SearchPlan(SearchMethod.WALK, width) if walked else SCAN
    return SearchResult(neighbours, exact=not walked, examined=compared, sequence=view.sequence, plan=plan)


def scan(view: View, query: Query) -> SearchResult:
    """Return the neighbours among all live vectors."""
    parts = [*(segment.rows for segment in view.segments), view.delta]
    neighbours = _best(_choose(parts, view, query), view, query)
    return SearchResult(neighbours, exact=True, examined=view.live, sequence=view.sequence)


def _walked(segment: Segment, view: View, query: Query) -> tuple[_Chosen, int] | None:
    """Return rows that hold `k` items, and how many were compared; None where the graph gives fewer."""
    assert segment.graph is not None  # noqa: S101 - for the type checker
    compared = 0
    needed = query.k * segment.spread
    excluded = len(query.exclude) * segment.spread
    # Up to a fifth of a segment is dead before it is built anew.
    for width in (int(1.25 * (needed + min(excluded, _SLACK))) + _SLACK, int(2 * (needed + excluded)) + 4 * _SLACK):
        if width > segment.rows.length // 4:
            return None
        found = segment.graph.nearest(query.values, width)
        compared += found.compared
        places = found.places[segment.rows.died[found.places] > view.sequence]
        if len(places) < query.k:
            continue
        if segment.spread == 1 and not query.exclude:
            return _Chosen(segment.rows, places), compared
        items = {segment.rows.labels[place][0] for place in places.tolist()} - query.exclude
        if len(items) >= query.k:
            return _Chosen(segment.rows, places), compared
    return None


def _choose(parts: Sequence[Rows], view: View, query: Query) -> list[_Chosen]:
    """Return rows of `parts` among which the nearest `k` items certainly are."""
    parts = [part for part in parts if part.length]
    if not parts:
        return []
    ranked = [ranks(part, query.values, view.space.metric) for part in parts]
    slack = max(one.slack for one in ranked)
    values = np.concatenate([one.values for one in ranked])
    values[~np.concatenate([part.alive(view.sequence) for part in parts])] = np.inf
    starts = np.cumsum([0, *(part.length for part in parts)])
    limit = _kth_rank(values, parts, starts, query) + slack
    near = np.flatnonzero((values <= limit) & (values < np.inf))
    return [
        _Chosen(part, near[(near >= start) & (near < start + part.length)] - start)
        for part, start in zip(parts, starts, strict=False)
    ]


def _kth_rank(values: NDArray[np.floating], parts: Sequence[Rows], starts: NDArray[np.int64], query: Query) -> float:
    """Return the rank of the k-th item that may be returned; infinite where there are fewer."""
    width = 2 * query.k + min(len(query.exclude), _SLACK) + _SLACK
    while True:
        width = min(width, len(values))
        # argpartition first: sorting all of them costs ten times the choice of a few.
        near = np.argpartition(values, width - 1)[:width]
        seen: set[str] = set()
        for place in near[np.argsort(values[near])]:
            if values[place] == np.inf:
                return np.inf
            part = int(np.searchsorted(starts, place, side="right")) - 1
            item_id = parts[part].labels[place - starts[part]][0]
            if item_id not in query.exclude:
                seen.add(item_id)
                if len(seen) == query.k:
                    return float(values[place])
        if width == len(values):
            return np.inf
        width *= 4


def _best(chosen: Sequence[_Chosen], view: View, query: Query) -> list[Neighbour]:
    """Return the nearest `k` items of the chosen rows, each once, equal distances in the order of ids."""
    parts = [one for one in chosen if len(one.places)]
    if not parts:
        return []
    measured = np.concatenate(
        [distances(one.rows.vectors[one.places], query.values, view.space.metric) for one in parts]
    )
    order = np.argsort(measured)
    ends = np.cumsum([len(one.places) for one in parts])
    owners = np.searchsorted(ends, order, side="right").tolist()
    neighbours: dict[str, Neighbour] = {}
    # Ids are read for those rows only that come this far: each costs as much as a comparison of vectors.
    tied: list[tuple[str, str]] = []
    ranked = measured[order].tolist()
    for number, (index, owner) in enumerate(zip(order.tolist(), owners, strict=True)):
        part = parts[owner]
        tied.append(part.rows.labels[int(part.places[index - ends[owner]])])
        if number + 1 < len(ranked) and ranked[number + 1] == ranked[number]:
            continue
        # Python compares text by code points, which is the byte order of its UTF-8.
        for item_id, picture_id in sorted(tied):
            if item_id not in query.exclude:
                neighbours.setdefault(item_id, Neighbour(item_id, picture_id, ranked[number]))
            if len(neighbours) == query.k:
                return list(neighbours.values())
        tied.clear()
    return list(neighbours.values())
