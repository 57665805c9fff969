"""Graphs over the vectors of a segment. The one module that knows USearch.

A graph's keys are places of rows. Nothing is ever removed from a graph, or added to one that serves: a search that
races `remove` returned keys that don't exist, and adding to a view crashed. Rows that die are masked by whoever reads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import usearch
from numpy.typing import NDArray
from usearch.index import Index

from twinset.contract import Metric
from twinset_server.catalog.index.checksums import Pages, Stopped, Unsound
from twinset_server.catalog.index.coding import SMALL, Coding
from twinset_server.catalog.index.labels import Places
from twinset_server.domain import Float32Array, Space

VERSION = ".".join(usearch.__version__.split(".")[:2])
"""Files of another version of USearch aren't opened: nothing promises that they mean the same."""

# On unit vectors `ip` orders as cosine does and spares the division; of inner products `coding` makes distances.
_METRICS = {Metric.COSINE: "ip", Metric.EUCLIDEAN: "l2sq", Metric.INNER_PRODUCT: "l2sq"}

_CONNECTIVITY, _EXPANSION_ADD = 16, 128
_SMALL_CONNECTIVITY, _SMALL_EXPANSION_ADD = 32, 256
"""Of few components: a walk finds as much with half of the width, and what twice the links cost is little."""

_BATCH = 512


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


class Walks(NamedTuple):
    """What walks for several queries give, a row each; where one gives fewer rows the rest is place 0, infinitely far.

    Attributes:
        places: `[Q, M]`.
        apart: `[Q, M]` float32.
        compared: how many rows were compared for each, on average.
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
        places, apart, compared = self.walks(np.array(queries), count, width)
        lengths = (apart < np.inf).sum(axis=1).tolist()
        return [Walk(places[place, :length], apart[place, :length], compared) for place, length in enumerate(lengths)]

    def walks(self, queries: Float32Array, count: int, width: int) -> Walks:
        """Return `count` rows near each of the queries, `[Q, D]`, or as many as there are."""
        matches = self._searched(self.coding.queries(queries, self._metric), count, width)
        places, apart = matches.keys.view(np.intp), matches.distances
        if len(queries) == 1:  # USearch gives no table then
            places, apart = places[np.newaxis], apart[np.newaxis]
        elif matches.counts.min() < count:
            lacking = np.arange(count) >= matches.counts[:, np.newaxis]
            places[lacking], apart[lacking] = 0, np.inf
        return Walks(places, apart, int(matches.computed_distances) // len(queries))

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
