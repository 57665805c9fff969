"""How items compare with examples: the exact sums of the design, over all vectors of the items.

An item's score is the sum over spaces of the best that one of its vectors there gives: sum(share x similarity) over the
examples of the space. A similarity is the space's own where all examples are of one space, and its percentile
elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset_server.domain import Float32Array, ItemRows, Space
from twinset_server.ports import CatalogState
from twinset_server.recommend.combining import shares_of
from twinset_server.recommend.examples import Compared
from twinset_server.recommend.percentiles import BACKGROUND, MEDIAN, Float64Array, Percentiles
from twinset_server.scoring import similarities

_CHUNK = 8192
"""Items whose vectors are in memory at once."""

NOWHERE = -1
"""The row of an item that has none."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How vectors of one space compare with the examples that are compared there.

    Attributes:
        space: the space.
        examples: those compared there, in their order.
        queries: `[E, D]` float32, their vectors.
        shares: `[E]` what similarities count in the score.
        percentiles: `[E]` of similarities to each example; None where these count as they are.
    """

    space: Space
    examples: Sequence[Compared]
    queries: Float32Array
    shares: Float64Array
    percentiles: Sequence[Percentiles] | None

    @property
    def absent(self) -> float:
        """What an item without a vector in the space gets from it."""
        return -np.inf if self.percentiles is None else MEDIAN * float(self.shares.sum())

    def similarities(self, rows: ItemRows) -> Float64Array:
        """Return `[R, E]`, the space's own similarity of each row to each example."""
        return similarities(rows.values, self.queries, self.space.metric)

    def counted(self, own: Float64Array) -> Float64Array:
        """Return what the score counts for similarities `[..., E]`."""
        if self.percentiles is None:
            return own
        return np.stack([one.of(own[..., place]) for place, one in enumerate(self.percentiles)], axis=-1)

    def best_rows(self, rows: ItemRows, own: Float64Array, items: int) -> tuple[NDArray[np.intp], Float64Array]:
        """Return `[items]` the row of each item that gives most, `NOWHERE` without any, and `[items]` what it gives.

        Of rows that give as much the first is taken.

        Args:
            rows: of `items` items.
            own: `[R, E]`, their similarities.
            items: how many there are.
        """
        sums = self.counted(own) @ self.shares
        places = first_rows(rows, sums, items)
        return places, np.where(places == NOWHERE, self.absent, sums[places] if len(sums) else self.absent)


def first_rows(rows: ItemRows, values: Float64Array, items: int) -> NDArray[np.intp]:
    """Return `[items]` the row of each item with its highest value, of equal ones the first; `NOWHERE` without any row.

    Args:
        rows: of `items` items.
        values: `[R]`, one for each row.
        items: how many there are.
    """
    order = np.lexsort((-values, rows.owners))
    first = order[np.unique(rows.owners, return_index=True)[1]]
    found = np.full(items, NOWHERE, np.intp)
    found[rows.owners[first]] = first
    return found


def measures_of(examples: Sequence[Compared], state: CatalogState) -> list[Measure]:
    """Return how examples compare, a space each, in the order of their first examples."""
    shares = shares_of([one.example.weight for one in examples])
    by_space: dict[str, list[Compared]] = {}
    for one in examples:
        by_space.setdefault(one.space.name, []).append(one)
    found = []
    for name, here in by_space.items():
        space, queries = here[0].space, np.stack([one.values for one in here])
        percentiles = None
        if len(by_space) > 1:
            sample = similarities(state.sample(name, BACKGROUND), queries, space.metric)
            percentiles = [Percentiles.over(sample[:, place]) for place in range(len(here))]
        found.append(Measure(space, here, queries, shares[[one.number for one in here]], percentiles))
    return found


def scores(measures: Sequence[Measure], item_ids: Sequence[str], state: CatalogState) -> Float64Array:
    """Return `[N]` the score of each item; items of one space that have no vector there score -infinity."""
    found = np.zeros(len(item_ids))
    for start in range(0, len(item_ids), _CHUNK):
        some = item_ids[start : start + _CHUNK]
        for measure in measures:
            rows = state.vectors(measure.space.name, some)
            found[start : start + _CHUNK] += measure.best_rows(rows, measure.similarities(rows), len(some))[1]
    return found


def found_by(measure: Measure, item_ids: Sequence[str], state: CatalogState) -> tuple[Float32Array, NDArray[np.bool_]]:
    """Return `[N, D]` the vectors that items are found by in the space, and `[N]` who has one; 0 for the others."""
    rows = state.vectors(measure.space.name, item_ids)
    places, _ = measure.best_rows(rows, measure.similarities(rows), len(item_ids))
    known = places != NOWHERE
    vectors = np.zeros((len(item_ids), measure.space.dimension), np.float32)
    vectors[known] = rows.values[places[known]]
    return vectors, known
