"""The nearest items among rows: chosen by bytes, then by float32, and ordered by exact distances.

Each step keeps all rows that may be among the nearest `k` items, as far as its rounding can tell, and is several times
as costly a row as the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_server.catalog.index.distance import Ranked, coarse_ranks, rank_at, ranks
from twinset_server.catalog.index.labels import Places
from twinset_server.catalog.index.ordering import nearest_items
from twinset_server.catalog.index.rows import Rows
from twinset_server.domain import Float32Array, Neighbour

_SPARE = 16
_MOST = float(np.finfo(np.float32).max)
"""No row that may be an answer has a larger rank."""

_FEW = 128
"""So many rows are compared exactly at once: choosing among them first would cost more."""


class Wanted(NamedTuple):
    """The nearest `k` items to `values`, `[D]` float32, that aren't excluded."""

    values: Float32Array
    metric: Metric
    k: int
    exclude: frozenset[str]


class Candidates(NamedTuple):
    """Rows to choose from.

    Attributes:
        rows: some of these.
        places: where they stand; a slice where they are neighbours.
        allowed: `[N]` truths, one per place; None where all may be answers.
        ranked: what `coarse_ranks` says of the places, to be written to; None where that isn't known.
    """

    rows: Rows
    places: Places | slice
    allowed: NDArray[np.bool_] | None = None
    ranked: Ranked | None = None

    @property
    def size(self) -> int:
        """How many rows there are, whether allowed or not."""
        return (
            len(range(*self.places.indices(self.rows.length))) if isinstance(self.places, slice) else len(self.places)
        )


Ranking = Callable[[Rows, Places | slice, Float32Array, Metric], Ranked]


def nearest(candidates: Sequence[Candidates], wanted: Wanted) -> list[Neighbour]:
    """Return the nearest `k` items among the candidates, each once, equal distances in the order of ids."""
    # What a walk gave is little, and near: it needn't be chosen from.
    few: list[Candidates] = []
    many: list[Candidates] = []
    for one in candidates:
        (few if one.size <= _FEW else many).append(one)
    parts = [(one.rows, _allowed(one)) for one in few]
    found = nearest_items(parts, wanted.values, wanted.metric, wanted.k, wanted.exclude)
    if not many:
        return found
    farthest = rank_at(found[-1].distance, wanted.values, wanted.metric) if len(found) == wanted.k else np.inf
    for ranking in (coarse_ranks, ranks):
        if sum(one.size for one in many) <= _FEW + 4 * wanted.k:
            break
        many = _within(many, ranking, wanted, farthest)
    if not any(one.size for one in many):
        return found
    parts += [(one.rows, _allowed(one)) for one in many]
    return nearest_items(parts, wanted.values, wanted.metric, wanted.k, wanted.exclude)


def _within(candidates: Sequence[Candidates], ranking: Ranking, wanted: Wanted, farthest: float) -> list[Candidates]:
    """Return those among which the nearest `k` items certainly are, if they are no farther than rank `farthest`."""
    candidates = [one for one in candidates if one.size]
    ranked = [one.ranked or ranking(one.rows, one.places, wanted.values, wanted.metric) for one in candidates]
    for one, of in zip(ranked, candidates, strict=True):
        if of.allowed is not None:
            one.values[~of.allowed] = np.inf
    values = ranked[0].values if len(ranked) == 1 else np.concatenate([one.values for one in ranked])
    starts = np.cumsum([0, *(one.size for one in candidates)])
    slack = max(one.slack for one in ranked)
    (near,) = (values <= min(farthest + slack, _MOST)).nonzero()
    if len(near) > _FEW + 4 * wanted.k:
        near = near[values[near] <= _kth_rank(values, candidates, starts, wanted) + slack]
    ends = np.searchsorted(near, starts)
    return [
        Candidates(one.rows, _at(one, near[ends[number] : ends[number + 1]] - starts[number]))
        for number, one in enumerate(candidates)
    ]


def _kth_rank(
    values: NDArray[np.floating], candidates: Sequence[Candidates], starts: NDArray[np.int64], wanted: Wanted
) -> float:
    """Return the rank of the k-th item that may be returned; infinite where there are fewer."""
    width = 2 * wanted.k + min(len(wanted.exclude), _SPARE) + _SPARE
    while True:
        width = min(width, len(values))
        # argpartition first: sorting all of them costs ten times the choice of a few.
        near = np.argpartition(values, width - 1)[:width]
        seen: set[str] = set()
        for place in near[np.argsort(values[near])].tolist():
            if values[place] == np.inf:
                return np.inf
            part = int(np.searchsorted(starts, place, side="right")) - 1
            one = candidates[part]
            item_id = one.rows.labels[_place(one, place - int(starts[part]))][0]
            if item_id not in wanted.exclude:
                seen.add(item_id)
                if len(seen) == wanted.k:
                    return float(values[place])
        if width == len(values):
            return np.inf
        width *= 4


def _allowed(one: Candidates) -> Places:
    if isinstance(one.places, slice):
        start = one.places.indices(one.rows.length)[0]
        return start + (np.arange(one.size) if one.allowed is None else np.flatnonzero(one.allowed))
    return one.places if one.allowed is None else one.places[one.allowed]


def _at(one: Candidates, numbers: Places) -> Places:
    """Return the places of the candidates of these numbers."""
    if isinstance(one.places, slice):
        return numbers + one.places.indices(one.rows.length)[0]
    found: Places = one.places[numbers]
    return found


def _place(one: Candidates, number: int) -> int:
    return number + one.places.indices(one.rows.length)[0] if isinstance(one.places, slice) else int(one.places[number])
