"""What a saved graph gives to those who ask it: how wide a walk must be, and which rows none comes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twinset.contract import Metric
from twinset_server.catalog.index.checksums import Pages, Stopped
from twinset_server.catalog.index.coding import Coding
from twinset_server.catalog.index.distance import nearest_ranks, ranks_of
from twinset_server.catalog.index.graph import Graph
from twinset_server.catalog.index.labels import Places
from twinset_server.catalog.index.reach import UnknownLayout, unreachable
from twinset_server.domain import Float32Array, Space

_NARROWEST = 32
"""Width of the walk that gives recall .99 on embeddings of pictures; flatter data, and more of it, needs more."""

_CHEAP = 512
"""Few rows are walked as wide as this: it costs little beside what a call costs anyhow."""

_WIDE_SHARE = 64
"""A walk may be as wide as this part of the rows: wider ones cost as much as comparing them all."""

_PROBES = 256
_FEW = 64
"""So many who ask tell what others will find."""

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
    if len(asking) < _FEW and space.metric is Metric.INNER_PRODUCT:
        # Too few are known who ask, and rows seldom do: what tells rows apart stands in, and is found less easily.
        asking = np.concatenate([asking, vectors[sample] - vectors[sample[::-1]]])
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
