"""Graphs over the vectors of a segment. The one module that knows USearch.

A graph's keys are places of rows. Nothing is ever removed from a graph, or added to one that serves: a search that
races `remove` returned keys that don't exist, and adding to a view crashed. Rows that die are masked by whoever reads.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import usearch
from numpy.typing import NDArray
from usearch.index import Index

from twinset.contract import Metric
from twinset_server.catalog.index.checksums import Pages, Stopped, Unsound
from twinset_server.catalog.index.coding import SMALL, Coding
from twinset_server.catalog.index.distance import nearest_ranks, ranks_of
from twinset_server.catalog.index.labels import Places
from twinset_server.catalog.index.reach import UnknownLayout, unreachable
from twinset_server.domain import Float32Array, Space

VERSION = ".".join(usearch.__version__.split(".")[:2])
"""Files of another version of USearch aren't opened: nothing promises that they mean the same."""

# On unit vectors `ip` orders as cosine does and spares the division; of inner products `coding` makes distances.
_METRICS = {Metric.COSINE: "ip", Metric.EUCLIDEAN: "l2sq", Metric.INNER_PRODUCT: "l2sq"}

_CONNECTIVITY, _EXPANSION_ADD = 16, 128
_SMALL_CONNECTIVITY, _SMALL_EXPANSION_ADD = 32, 256
"""Of few components: a walk finds as much with half of the width, and what twice the links cost is little."""

_NARROWEST = 32
"""Width of the walk that gives recall .99 on embeddings of pictures; flatter data, and more of it, needs more."""

_CHEAP = 512
"""Few rows are walked as wide as this: it costs little beside what a call costs anyhow."""

_WIDE_SHARE = 64
"""A walk may be as wide as this part of the rows: wider ones cost as much as comparing them all."""

_BATCH = 512
_PROBES = 256
PROBE_K = 10
"""Widths are measured by so many neighbours."""

_MIN_RECALL = 0.95
_ENOUGH_RECALL = 0.995
"""Widths are measured up to this recall: whoever wants more compares all."""

_MAX_STRAY_SHARE = 2
"""A graph that leaves out more than this part of its rows isn't worth its walks. Among equal rows many are strays."""


class GraphUnsound(Exception):
    """The graph doesn't find its own rows, or not enough of their neighbours."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of a saved graph.

    Attributes:
        widths: of the walk, rising, each with the recall@10 that it surely gave to whoever asked.
        strays: `[S]` rows that no walk comes to, rising: whoever walks compares them besides.
    """

    widths: tuple[tuple[int, float], ...]
    strays: Places


class Walk(NamedTuple):
    """Rows near a query, nearest first as far as the graph's type can tell.

    Attributes:
        places: `[M]`, of the rows.
        apart: `[M]` float32, rising: their distances, as far as the graph's type can tell, and up to a constant.
        compared: how many rows were compared to find them; of several walks at once their even share.
    """

    places: Places
    apart: Float32Array
    compared: int


class Graph:
    """A saved graph, read from a memory map."""

    def __init__(self, pages: Pages, space: Space, rows: int, coding: Coding) -> None:
        """Open the graph in `pages`, whose checksum was compared before.

        Raises:
            Unsound: it is of another metric, type, dimension or number of rows.
        """
        found = Index.metadata(pages.data)
        fits = found is not None and (
            found["dimensions"],
            found["count_present"],
            found["kind_metric"].name.lower(),
            found["kind_scalar"].name.lower(),
        ) == (coding.dimension(space.dimension), rows, _METRICS[space.metric], coding.dtype.value)
        if not fits:
            raise Unsound(f"the graph is not one of {rows} rows of space {space.name!r}: it says {found}")
        # USearch doesn't keep what it reads from; without this the map would go.
        self._pages = pages
        self._index = _empty(space, coding)
        self._metric = space.metric
        self.coding = coding
        self._index.view(pages.data)
        # Searches of one Index share scratch memory. Its own lock is no promise, and ours costs nothing beside a walk.
        self._lock = threading.Lock()

    def nearest(self, query: Float32Array, count: int, width: int) -> Walk:
        """Return up to `count` rows near `query`, `[D]`, dead ones among them, by a walk of at least `width`."""
        matches = self._searched(self.coding.query(query, self._metric), count, width)
        return Walk(matches.keys.view(np.intp), matches.distances, int(matches.computed_distances))

    def nearest_of_row(self, vector: Float32Array, count: int, width: int) -> Places:
        """Return up to `count` rows near the place of a row, `[D]`: by inner product too, its own is the first."""
        (row,) = self.coding.rows(vector[np.newaxis])
        found: Places = self._searched(row, count, width).keys.view(np.intp)
        return found

    def nearest_of_each(self, queries: Sequence[Float32Array], count: int, width: int) -> list[Walk]:
        """Return what `nearest` gives for each of the queries; together they cost less."""
        if len(queries) == 1:
            return [self.nearest(queries[0], count, width)]
        matches = self._searched(np.stack([self.coding.query(one, self._metric) for one in queries]), count, width)
        places = matches.keys.view(np.intp)
        compared = int(matches.computed_distances) // len(queries)
        return [
            Walk(places[number, :found], matches.distances[number, :found], compared)
            for number, found in enumerate(matches.counts.tolist())
        ]

    def _searched(self, queries: NDArray[np.generic], count: int, width: int) -> Any:
        with self._lock:
            self._index.expansion_search = width  # type: ignore[misc]
            return self._index.search(queries, count, threads=1)


def build(
    path: Path,
    vectors: Float32Array,
    space: Space,
    *,
    coding: Coding,
    base: Path | None,
    threads: int,
    stopped: Callable[[], bool],
    progress: Callable[[float], None],
) -> None:
    """Write a graph over all of `vectors` to `path`.

    Args:
        path: a file that doesn't exist.
        vectors: `[N, D]` float32.
        space: their space.
        coding: how the graph holds them; the same as in `base`.
        base: the graph of the first of them, which is copied and added to.
        threads: how many add; several can leave rows that no walk reaches.
        stopped: asked now and then.
        progress: told the share of rows that are in.
    Raises:
        Stopped: `stopped` returned True.
    """
    index = _empty(space, coding)
    if base is not None:
        index.load(base)
    for start in range(len(index), len(vectors), _BATCH):
        if stopped():
            raise Stopped
        end = min(start + _BATCH, len(vectors))
        index.add(np.arange(start, end, dtype=np.uint64), coding.rows(vectors[start:end]), threads=threads)
        progress(end / len(vectors))
    index.save(path)


def prove(
    pages: Pages,
    vectors: Float32Array,
    squares: Float32Array,
    space: Space,
    coding: Coding,
    stopped: Callable[[], bool],
    asking: Float32Array,
) -> Proof:
    """Return what a saved graph gives, by what it finds for those who ask: for a sample of its rows, and for `asking`.

    By the widest walk at least .95 of the true neighbours of either must be found. Each row of the sample must be
    found at its own place; where one isn't, all rows are looked for, and those that aren't found are strays too. A
    found row counts by its distance: among equal pictures any may stand for another.

    Args:
        pages: the saved graph.
        vectors: `[N, D]` float32, its rows.
        squares: `[N]` float32, their squared lengths.
        space: theirs.
        coding: how the graph holds them.
        stopped: asked now and then.
        asking: `[A, D]` float32, vectors of another kind that ask, as users do for items; there may be none.
    Raises:
        GraphUnsound: no width is enough, or too many rows are strays.
        Stopped: `stopped` returned True.
    """
    rows = len(vectors)
    try:
        strays = unreachable(pages)
    except UnknownLayout as error:
        raise GraphUnsound(f"the graph over {rows} rows of space {space.name!r} can't be read: {error}") from error
    if len(strays) * _MAX_STRAY_SHARE > rows:
        raise GraphUnsound(f"{len(strays)} of {rows} rows of space {space.name!r} can't be reached")
    graph = Graph(pages, space, rows, coding)
    sample = np.random.default_rng(0).choice(rows, min(_PROBES, rows), replace=False)
    near = _Near(vectors, squares, space.metric)
    probes = [near.probes(vectors[sample], sample, stopped)]
    if not len(asking) and space.metric is Metric.INNER_PRODUCT:
        # Nobody is known who asks, and rows seldom do: what tells rows apart stands in, which is found less easily.
        asking = vectors[sample] - vectors[sample[::-1]]
    if len(asking):
        probes.append(near.probes(asking, None, stopped))
    widths: list[tuple[int, float]] = []
    recall, found = 0.0, False
    for width in _widths(rows):
        recall = min(near.recall(one, graph, width, strays, stopped) for one in probes)
        found = not len(_lost(graph, vectors, squares, sample, width, stopped))
        if recall >= _MIN_RECALL:
            widths.append((width, round(recall, 4)))
        if recall >= _ENOUGH_RECALL and found:
            break
    if not found:
        strays = np.union1d(strays, _lost(graph, vectors, squares, np.arange(rows), width, stopped))
    if not widths or len(strays) * _MAX_STRAY_SHARE > rows:
        raise GraphUnsound(
            f"of {rows} rows of space {space.name!r} {len(strays)} can't be found, and of the neighbours of a sample "
            f"{recall:.2f}, where {_MIN_RECALL} is needed"
        )
    return Proof(tuple(widths), strays)


class _Probes(NamedTuple):
    """Queries and what they should find.

    Attributes:
        queries: `[Q, D]` float32.
        own: `[Q]`, where each stands among the rows: it doesn't count as found. None where they are no rows.
        k: how many neighbours each has.
        farthest: `[Q]` float32, the rank of the last of them.
    """

    queries: Float32Array
    own: Places | None
    k: int
    farthest: Float32Array


class _Near(NamedTuple):
    """Which rows are truly near: `[N, D]`, and their squared lengths, `[N]`."""

    vectors: Float32Array
    squares: Float32Array
    metric: Metric

    def probes(self, queries: Float32Array, own: Places | None, stopped: Callable[[], bool]) -> _Probes:
        """Return the queries with what they should find."""
        among = len(self.vectors) - (own is not None)
        k = min(PROBE_K, among)
        # One more than k: each row is near itself, which says nothing.
        rank = k + (own is not None)
        return _Probes(queries, own, k, nearest_ranks(self.vectors, self.squares, queries, self.metric, rank, stopped))

    def recall(self, probes: _Probes, graph: Graph, width: int, strays: Places, stopped: Callable[[], bool]) -> float:
        """Return the share that walks find, and those who compare the strays besides, less two standard errors."""
        hits = np.empty(len(probes.queries))
        for number, (query, limit) in enumerate(zip(probes.queries, probes.farthest.tolist(), strict=True)):
            if stopped():
                raise Stopped
            places = np.union1d(graph.nearest(query, graph.coding.asked(probes.k), width).places, strays)
            if probes.own is not None:
                places = places[places != probes.own[number]]
            ranked = ranks_of(self.vectors[places], self.squares[places], query, self.metric)
            hits[number] = min(probes.k, int(np.count_nonzero(ranked.values <= limit + ranked.slack)))
        error = float(hits.std()) / math.sqrt(len(hits))
        return (float(hits.mean()) - 2 * error) / max(1, probes.k)


def _lost(
    graph: Graph,
    vectors: Float32Array,
    squares: Float32Array,
    places: Places,
    width: int,
    stopped: Callable[[], bool],
) -> Places:
    """Return those rows of `places` that a walk to their own place finds neither, nor one that equals them."""
    lost = []
    for place in places.tolist():
        if stopped():
            raise Stopped
        near = graph.nearest_of_row(vectors[place], min(PROBE_K, len(vectors)), width)
        if place in near:
            continue
        # Whatever the metric, nothing is nearer to a row than itself by L2.
        ranked = ranks_of(vectors[[place, *near]], squares[[place, *near]], vectors[place], Metric.EUCLIDEAN)
        if not (ranked.values[1:] <= ranked.values[0] + ranked.slack).any():
            lost.append(place)
    return np.array(lost, np.intp)


def _widths(rows: int) -> Iterator[int]:
    width = _NARROWEST
    widest = max(_NARROWEST, min(_CHEAP, rows), rows // _WIDE_SHARE)
    while width <= widest:
        yield width
        if width + width // 2 < widest:
            yield width + width // 2
        width *= 2


def _empty(space: Space, coding: Coding) -> Index:
    small = space.dimension <= SMALL
    return Index(
        ndim=coding.dimension(space.dimension),
        metric=_METRICS[space.metric],
        dtype=coding.dtype.value,
        connectivity=_SMALL_CONNECTIVITY if small else _CONNECTIVITY,
        expansion_add=_SMALL_EXPANSION_ADD if small else _EXPANSION_ADD,
        enable_key_lookups=False,
    )
