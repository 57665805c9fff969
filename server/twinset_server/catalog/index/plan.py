"""What to build next: pure decisions over the sizes of segments.

Every row goes from the delta into a segment of its own time, and a few times from there into an older and larger one. A
row costs more to add the larger the graph (80 µs each to a new one of 5,000, 420 to one of 100,000), a segment costs
every search a walk. So sizes are kept geometric: one large segment, one or two that are each much smaller.

All of that is what merges do. A fold writes the rows that wait and nothing else, so it takes the same time whatever
there is beside them: while it lasts, more rows come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from twinset_server.catalog.index.lanes import Lane

_MERGE_SHARE = 4
"""Segments are merged when the younger has at least this part of the older's rows.

An eighth wrote the larger one twice as often, which takes a core and the memory's bandwidth from searches.
"""

_GRAPHLESS_SHARE = 8
"""The same where the younger one would get its first graph instead, which that merge would soon throw away.

Not so where it has twice as many rows as get one: searches compare them until the merge is done.
"""

_FLAT_SHARE = 2
"""The same where a graph over the older one was tried in vain: each trial costs a whole build."""

_SMALL_FOLDS = 16
"""Segments of up to so many folds are merged, and get their graphs, in a lane of their own.

That takes seconds; behind a merge of large ones, which may take many minutes, searches would compare ever more rows.
"""

_BARE_GRAPHS = 3
"""Folds wait while so many times as many rows stand without a graph as get one, but not for fewer than many at once."""

_DEAD_SHARE = 5
"""A segment with more than this part of its rows dead is built anew: they take the places of answers."""

_SNAPSHOT_FOLDS = 4
_SNAPSHOT_SHARE = 20
"""A snapshot of the columns is due after the changes of so many folds, but not before this part of the items changed.

A start takes in the changes since the last one, some 10 µs each, and to write one takes about 1 µs an item.
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """A segment as far as plans go.

    Attributes:
        number: its number.
        rows: how many it has.
        dead: how many of them died.
        graph: whether there is one over it.
        flat: a graph was tried, and found too little.
        in_vain: changes, rows to add or dead ones, at which the last work on it failed; it waits for twice as many.
    """

    number: int
    rows: int
    dead: int
    graph: bool
    flat: bool = False
    in_vain: int = 0

    @property
    def living(self) -> int:
        """How many rows have not died."""
        return self.rows - self.dead


@dataclass(frozen=True, slots=True)
class Merge:
    """Put the live rows of several segments, oldest first, into one.

    Where `extend` is set, the first one's graph is copied and added to, dead rows and all.
    """

    numbers: tuple[int, ...]
    extend: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """When there is something to do.

    Attributes:
        fold_at: rows of the delta at which they are folded.
        bulk_at: rows of the delta from which on they came at once, or no builder was there: workers wait for one, which
            writes them once for all.
        graph_at: rows from which on a segment gets a graph; fewer are compared as quickly one by one.
    """

    fold_at: int
    bulk_at: int
    graph_at: int

    @classmethod
    def of(cls, fold_at: int, slow_at: int, graph_at: int) -> Limits:
        """Return the limits that follow from the settings."""
        # Writers are slowed down from `slow_at` on: with twice as many, the builder was away, or there was none.
        return cls(fold_at, max(2 * slow_at, 2 * fold_at), graph_at)

    def snapshot_due(self, items: int) -> int:
        """Return how many items must have changed for a snapshot of the columns of all `items` to be due.

        Without one it is due for `bulk_at` items in any case.
        """
        return max(1, min(_SNAPSHOT_FOLDS * self.fold_at, self.bulk_at), items // _SNAPSHOT_SHARE)


def merges_first(shapes: Sequence[Shape], limits: Limits) -> bool:
    """Return whether a fold should wait for merges: more rows came than these could build graphs over.

    Searches compare such rows wherever they stand. Those outside the index slow their writers down; folded, they would
    slow nobody down, and become ever more. What came at once is left out, since its graph may take many minutes, and so
    is what gets none.
    """
    bare = [one.living for one in shapes if not (one.graph or one.flat or one.rows >= limits.bulk_at)]
    return sum(bare) >= max(limits.bulk_at, _BARE_GRAPHS * limits.graph_at)


def merge(shapes: Sequence[Shape], busy: Collection[int], limits: Limits, lane: Lane | None = None) -> Merge | None:
    """Return the most urgent work on segments that none of `busy` takes part in; None where all is well.

    Args:
        shapes: the segments, oldest first.
        busy: numbers of segments that another lane is at work on.
        limits: which segments get a graph, and which are small.
        lane: the one that asks: `BRIEF` works on small segments, those younger than the last large one, `LONG` on what
            a large one takes part in. None for either.
    """
    large = [number for number, shape in enumerate(shapes, 1) if shape.rows > _SMALL_FOLDS * limits.fold_at]
    older = max(large, default=0)
    if lane is Lane.BRIEF:
        return next(_due(shapes[older:], busy, limits), None)
    among = {shape.number for shape in (shapes if lane is None else shapes[:older])}
    return next((due for due in _due(shapes, busy, limits) if due.numbers[0] in among), None)


def _due(shapes: Sequence[Shape], busy: Collection[int], limits: Limits) -> Iterator[Merge]:
    """Yield what is to be done with segments, the most urgent first."""
    yield from _decayed(shapes, busy)
    yield from _runs(shapes, busy, limits)
    yield from _graphless(shapes, busy, limits)


def _decayed(shapes: Sequence[Shape], busy: Collection[int]) -> Iterator[Merge]:
    for shape in reversed(shapes):
        due = shape.dead * _DEAD_SHARE > shape.rows and shape.dead >= 2 * shape.in_vain
        if shape.number not in busy and due:
            yield Merge((shape.number,), extend=False)


def _runs(shapes: Sequence[Shape], busy: Collection[int], limits: Limits) -> Iterator[Merge]:
    """Yield the merges that are due, of the youngest segments first, each over as many as follow from it."""
    for end in range(len(shapes), 1, -1):
        start, rows, graphless = end - 1, shapes[end - 1].living, not shapes[end - 1].graph
        while start and _takes(shapes[start - 1], rows, graphless, limits):
            start -= 1
            rows += shapes[start].living
            graphless = graphless and not shapes[start].graph
        run = shapes[start:end]
        if len(run) > 1 and not any(shape.number in busy for shape in run):
            yield Merge(tuple(shape.number for shape in run), extend=run[0].graph)


def _graphless(shapes: Sequence[Shape], busy: Collection[int], limits: Limits) -> Iterator[Merge]:
    for shape in shapes:
        free = shape.number not in busy and not shape.graph and not shape.flat
        if free and shape.living >= limits.graph_at:
            yield Merge((shape.number,), extend=False)


def _takes(older: Shape, rows: int, graphless: bool, limits: Limits) -> bool:
    """Return whether `rows` younger ones, with a graph or `graphless`, are to be merged with the older segment."""
    share = _MERGE_SHARE
    if older.flat:
        share = _FLAT_SHARE
    elif older.graph and graphless and limits.graph_at <= rows < 2 * limits.graph_at:
        share = _GRAPHLESS_SHARE
    return rows * share >= older.rows and rows >= 2 * older.in_vain
