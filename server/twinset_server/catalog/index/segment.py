"""A segment: rows that no longer change, with a USearch graph over them. The one module that knows USearch.

Nothing is ever removed from a graph or added to one that serves (a search that races `remove` returned keys that don't
exist): rows that die are masked by whoever reads, and a new segment replaces the old.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from twinset.contract import Metric
from twinset_server.catalog.index.distance import ranks
from twinset_server.catalog.index.rows import Rows
from twinset_server.domain import Float32Array, Space

_log = logging.getLogger(__name__)

# On unit vectors `ip` orders as cosine does and spares the division.
_METRICS = {Metric.COSINE: "ip", Metric.EUCLIDEAN: "l2sq", Metric.INNER_PRODUCT: "ip"}

_CONNECTIVITY = 16
_EXPANSIONS = (64, 128, 256, 512)
"""Widths of the walk: 64 gives recall .995 on embeddings of pictures; flatter data needs more."""

_BATCH = 1024
_PROBES = 128
_PROBE_K = 10
_MIN_RECALL = 0.95


class SegmentUnsound(Exception):
    """The graph doesn't find the neighbours of its own rows, so the space is better searched exactly."""


class Stopped(Exception):
    """The catalogue closes; the segment isn't wanted any more."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Rows near a query, nearest first as far as bf16 can tell, and how many were compared to find them."""

    places: NDArray[np.intp]
    compared: int


class Segment:
    """Rows and their graph.

    Attributes:
        rows: all of them, sorted by key; their vectors may lie in a memory map.
        spread: vectors per item, 1 or more.
    """

    def __init__(self, rows: Rows, graph: Index) -> None:
        self.rows = rows
        self.spread = rows.length / len({item_id for item_id, _ in rows.labels[: rows.length]})
        self._graph = graph
        # Searches of one Index share scratch memory. Its own lock is no promise, and ours costs nothing beside a walk.
        self._lock = threading.Lock()

    def nearest(self, query: Float32Array, count: int) -> Walk:
        """Return up to `count` rows near `query`, dead ones among them."""
        with self._lock:
            matches = self._graph.search(query, count, threads=1)
        keys = np.asarray(matches.keys).astype(np.int64)
        return Walk(np.searchsorted(self.rows.keys[: self.rows.length], keys), int(matches.computed_distances))


def build(rows: Rows, space: Space, *, threads: int, stop: threading.Event) -> Segment:
    """Return a segment over `rows`, proven on a sample of them.

    Raises:
        SegmentUnsound: even built by one thread, recall on the sample stays below .95.
        Stopped: `stop` was set.
    """
    # Several threads can leave rows that no walk reaches; one can't.
    for used in sorted({threads, 1}, reverse=True):
        segment = Segment(rows, graph := _graph(rows, space, used, stop))
        for expansion in _EXPANSIONS:
            # USearch types the property as read-only; it isn't.
            graph.expansion_search = expansion  # type: ignore[misc]
            recall = _recall(segment, space, stop)
            if recall >= _MIN_RECALL:
                return segment
        _log.warning("space %s: a graph built by %d threads has recall %.2f on a sample", space.name, used, recall)
    raise SegmentUnsound(f"recall {recall:.2f} on a sample of {rows.length} rows, at least {_MIN_RECALL} is needed")


def _graph(rows: Rows, space: Space, threads: int, stop: threading.Event) -> Index:
    graph = Index(
        ndim=space.dimension,
        metric=_METRICS[space.metric],
        dtype="bf16",
        connectivity=_CONNECTIVITY,
        expansion_search=_EXPANSIONS[0],
        enable_key_lookups=False,
    )
    keys = rows.keys[: rows.length].astype(np.uint64)
    for start in range(0, rows.length, _BATCH):
        if stop.is_set():
            raise Stopped
        graph.add(keys[start : start + _BATCH], rows.vectors[start : start + _BATCH], threads=threads)
    return graph


def _recall(segment: Segment, space: Space, stop: threading.Event) -> float:
    """Return the share of true neighbours that walks from a sample of the segment's own rows find.

    A found row counts by its distance, not by its key: among equal pictures any may stand for another.
    """
    rows = segment.rows
    k = min(_PROBE_K, rows.length)
    sample = np.random.default_rng(0).choice(rows.length, min(_PROBES, rows.length), replace=False)
    hits = 0
    for place in sample:
        if stop.is_set():
            raise Stopped
        query = rows.vectors[place]
        ranked = ranks(rows, query, space.metric)
        farthest = np.partition(ranked.values, k - 1)[k - 1]
        found = np.unique(segment.nearest(query, k).places)
        hits += int(np.count_nonzero(ranked.values[found] <= farthest + ranked.slack))
    return hits / (len(sample) * k)
