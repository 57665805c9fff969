"""Items that may be the best by several examples, and the proof that no others are.

Every lane gives the items of one space in falling order of what they add to the score: the one search for all examples,
or, where they are of several spaces, a search for each example (for one with a negative weight that for what is least
like it). An item that no lane has given so far adds no more than the last one of each lane: so its score is at most the
sum of these, the bound (the threshold algorithm: R. Fagin, A. Lotem and M. Naor, Optimal aggregation algorithms for
middleware, 2001). Lanes go on until enough items have higher scores than that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from twinset_server.domain import SCAN, Facet, Float32Array, Metric, Neighbour, Search, SearchResult, Space
from twinset_server.ports import CatalogState
from twinset_server.recommend.examples import combined_of
from twinset_server.recommend.measures import Measure, scores
from twinset_server.recommend.percentiles import MEDIAN, Float64Array
from twinset_server.recommend.request import SpaceSearch
from twinset_server.scoring import score_of

_FIRST = 256
"""Each lane is asked for so many items at first, or for more where more are needed at once."""

_FACTOR = 4
_MOST = 16_384
"""The next time for so many times as many; and never for more than this, unless all is to be compared."""


@dataclass(slots=True)
class _Lane:
    """Items of one space in the order of one search, as far as it was asked so far.

    Attributes:
        space: the space.
        query: `[D]` float32.
        given: what an item adds to the score at a distance from the query.
        absent: what one adds that has no vector in the space.
        result: of the last search.
        exhausted: whether it gave all items that there are.
        examined: vectors compared in all its searches.
    """

    space: Space
    query: Float32Array
    given: Callable[[float], float]
    absent: float
    result: SearchResult | None = None
    exhausted: bool = False
    examined: int = 0

    @property
    def bound(self) -> float:
        """The most that an item adds which the lane hasn't given so far."""
        if self.exhausted or self.result is None:
            return self.absent
        return max(self.absent, self.given(self.result.neighbours[-1].distance))


class Candidates:
    """The items found so far in one state of the catalogue, with their exact scores."""

    def __init__(self, measures: Sequence[Measure], asked: Search, state: CatalogState) -> None:
        """Begin with none.

        Args:
            measures: how items compare with the examples.
            asked: what all searches have in common; its space, query and k are of no meaning.
            state: where they are searched for.
        """
        self._measures = measures
        self._asked = asked
        self._state = state
        self._lanes, self._sound = _lanes_of(measures)
        self._depth = 0
        self._scores: dict[str, float] = {}
        self._facets: tuple[Sequence[Facet], int | None] | None = None
        self._compared_all = False

    @property
    def complete(self) -> bool:
        """Whether there are no other items that may be returned."""
        return self._compared_all or (self._sound and all(lane.exhausted for lane in self._lanes))

    def hold_best(self, count: int, min_score: float | None) -> bool:
        """Return whether the best `count` of all items are among these, if all searches were exact.

        Those with a lower score than `min_score` need not be.
        """
        if self.complete:
            return True
        if not self._depth:
            return False
        if len(self._measures) == 1:
            # The lane's order is that of scores: further items aren't better, however far they are.
            return len(self._scores) >= count
        bound = sum(lane.bound for lane in self._lanes)
        if min_score is not None and bound < min_score:
            return True
        return len(self._scores) >= count and sorted(self._scores.values(), reverse=True)[count - 1] > bound

    def deepen(self, count: int, *, surely: bool) -> bool:
        """Find more items, at least `count` where there are as many; return False where that would cost too much.

        `surely` asks for it at any cost: all items are compared then.
        """
        if self.complete:
            return False
        depth = _FACTOR * self._depth or max(_FIRST, 2 * count)
        at_end = all(lane.exhausted for lane in self._lanes)
        if at_end or depth > _MOST:
            # At their end lanes can't tell of items that are in none of them.
            if not at_end and not surely:
                return False
            self._compare_all()
            return True
        for lane in self._lanes:
            if not lane.exhausted:
                self._search(lane, depth)
        self._depth = depth
        return True

    def ranked(self, count: int, min_score: float | None) -> tuple[list[str], Float64Array]:
        """Return the best `count` items found so far and their scores, best first, equal ones in the order of ids."""
        values = np.fromiter(self._scores.values(), np.float64, len(self._scores))
        least = -np.inf if min_score is None else min_score
        if count < len(values):
            # Of equal scores all or none are looked at, so that their ids decide.
            least = max(least, np.partition(values, len(values) - count)[len(values) - count])
        item_ids = list(self._scores)
        # Python compares text by code points, which is the byte order of its UTF-8.
        best = sorted((-values[place], item_ids[place]) for place in np.flatnonzero(values >= least).tolist())[:count]
        return [item_id for _, item_id in best], np.array([-score for score, _ in best])

    def result(self, neighbours: Sequence[Neighbour], *, proven: bool) -> SearchResult:
        """Return these items as what was found; `proven` where no others can be better if all searches were exact."""
        facets, matching = self._facets or ((), None)
        sure = self._compared_all or all(lane.result is None or lane.result.exact for lane in self._lanes)
        searches = self.searches()
        return SearchResult(
            neighbours,
            exact=proven and sure,
            examined=sum(one.examined for one in searches),
            sequence=self._state.sequence,
            plan=searches[0].plan,
            facets=facets,
            matching=matching,
        )

    def searches(self) -> list[SpaceSearch]:
        """Return what was searched, a space each."""
        found = []
        for measure in self._measures:
            lanes = [lane for lane in self._lanes if lane.space.name == measure.space.name]
            plans = [lane.result.plan for lane in lanes if lane.result is not None]
            found.append(
                SpaceSearch(
                    measure.space,
                    plans[-1] if plans and not self._compared_all else SCAN,
                    sum(lane.examined for lane in lanes) + (len(self._scores) if self._compared_all else 0),
                    [one.number for one in measure.examples],
                )
            )
        return found

    def _search(self, lane: _Lane, depth: int) -> None:
        facets = self._asked.facets if self._facets is None else ()
        result = self._state.search(
            self._asked._replace(space=lane.space.name, query=lane.query, k=depth, facets=facets)
        )
        if self._facets is None:
            self._facets = result.facets, result.matching
        lane.result = result
        lane.exhausted = len(result.neighbours) < depth
        lane.examined += result.examined
        self._add([one.item_id for one in result.neighbours])

    def _compare_all(self) -> None:
        asked = self._asked
        if asked.facets and self._facets is None:
            space = self._measures[0].space
            nowhere = np.zeros(space.dimension, np.float32)
            result = self._state.search(asked._replace(space=space.name, query=nowhere, k=1))
            self._facets = result.facets, result.matching
        for measure in self._measures:
            found = self._state.items(measure.space.name, asked.expression)
            self._add([item_id for item_id in found if item_id not in asked.exclude])
        self._compared_all = True

    def _add(self, item_ids: Sequence[str]) -> None:
        fresh = [item_id for item_id in item_ids if item_id not in self._scores]
        if fresh:
            self._scores.update(zip(fresh, scores(self._measures, fresh, self._state).tolist(), strict=True))


def _lanes_of(measures: Sequence[Measure]) -> tuple[list[_Lane], bool]:
    """Return the lanes, and whether every item that may be returned is in one of them.

    No search gives the farthest vectors of a Euclidean space. An item that isn't near to what they are away from gets
    at most 0 for that, which is what lacks in the bound then.
    """
    if len(measures) == 1:
        (measure,) = measures
        combined = combined_of(measure.examples)
        lanes = [] if combined is None else [_Lane(measure.space, combined.query, combined.score, -np.inf)]
        return lanes, bool(lanes)
    lanes, sound = [], True
    for measure in measures:
        here = [_lane_of(measure, place) for place in range(len(measure.examples))]
        lanes += [lane for lane in here if lane is not None]
        sound &= any(lane is not None for lane in here)
    return lanes, sound


def _lane_of(measure: Measure, place: int) -> _Lane | None:
    """Return the lane of one example among those of several spaces; None where no search gives its items."""
    assert measure.percentiles is not None  # noqa: S101 - for the type checker
    metric, query = measure.space.metric, measure.queries[place]
    share, percentiles = float(measure.shares[place]), measure.percentiles[place]
    if share < 0 and metric is Metric.EUCLIDEAN:
        return None
    # The nearest to the opposite vector are the least similar ones, of a similarity of the other sign.
    sign = 1.0 if share > 0 else -1.0

    def given(distance: float) -> float:
        similarity = np.array(sign * score_of(metric, distance))
        return share * float(percentiles.of(similarity))

    return _Lane(measure.space, query if share > 0 else -query, given, share * MEDIAN)
