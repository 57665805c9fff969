"""Pairs that are scored, and sets that are completed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc
import numpy as np

from twinset import wire, wire_pairs
from twinset.errors import TwinsetError
from twinset.items import View
from twinset.pairs import CompletedSet, PairScoring, ScoredPair, ScoredPairs, Side, Slot
from twinset.status import error_from_call, error_from_status
from twinset.v1 import pairs_pb2

_PAIRS_IN_MESSAGE = 8192
"""Their sides are no more than a message may hold, however different."""


class Scoring:
    """The part of a client that asks what goes together."""

    server: str
    timeout_s: float
    _recommender: Any

    def score_pair(
        self, left: str | Side, right: str | Side, *, both_directions: bool = False, prior: float | None = None
    ) -> ScoredPair:
        """Return the probability that two sides go together.

        Args:
            left: the source of the pair; a text is an item's id.
            right: its target.
            both_directions: also score it the other way round.
            prior: the share of true pairs among those asked about; the model's own by default.

        Raises:
            ValueError: a side is not exactly one of item, picture and vector.
            InvalidArgument: a picture or vector is bad, or `prior` no share between 0 and 1.
            NotFound: an item isn't there.
            FailedPrecondition: no model serves that tells of pairs, a vector is of another space or model, or an item
                has none of its side.
        """
        request = pairs_pb2.ScorePairRequest(
            left=wire_pairs.side_to_proto(left),
            right=wire_pairs.side_to_proto(right),
            both_directions=both_directions,
            prior=prior,
        )
        with self._translated():
            return wire_pairs.scored_pair_from_proto(self._recommender.ScorePair(request, timeout=self.timeout_s))

    def score_pairs(
        self,
        left: Sequence[str],
        right: Sequence[str],
        *,
        both_directions: bool = False,
        prior: float | None = None,
    ) -> ScoredPairs:
        """Return the probability of each pair of stored items; any number may be asked for.

        Args:
            left: the ids of the sources.
            right: those of the targets, as many.
            both_directions: also score each the other way round.
            prior: as in `score_pair`.

        Raises:
            ValueError: there are not as many of both.
            InvalidArgument: `prior` is no share between 0 and 1.
            FailedPrecondition: no model serves that tells of pairs.
        """
        if len(left) != len(right):
            raise ValueError(f"score_pairs got {len(left)} left and {len(right)} right items: give one each")
        columns: list[pairs_pb2.BatchScorePairsResponse] = []
        failed: dict[str, TwinsetError] = {}
        scoring: PairScoring | None = None
        for start in range(0, len(left), _PAIRS_IN_MESSAGE):
            part = slice(start, start + _PAIRS_IN_MESSAGE)
            numbers: dict[str, int] = {}
            request = pairs_pb2.BatchScorePairsRequest(
                left=[numbers.setdefault(item_id, len(numbers)) for item_id in left[part]],
                right=[numbers.setdefault(item_id, len(numbers)) for item_id in right[part]],
                both_directions=both_directions,
                prior=prior,
            )
            request.item_ids.extend(numbers)
            with self._translated():
                response = self._recommender.BatchScorePairs(request, timeout=self.timeout_s)
            columns.append(response)
            failed |= {request.item_ids[one.side]: error_from_status(one.error) for one in response.failed_sides}
            scoring = wire_pairs.scoring_from_proto(response.scoring)
        return ScoredPairs(
            _joined([one.probabilities for one in columns], np.float64),
            _joined([one.distances for one in columns], np.float32),
            _joined([one.reverse_probabilities for one in columns], np.float64) if both_directions else None,
            _joined([one.reverse_distances for one in columns], np.float32) if both_directions else None,
            failed,
            scoring,
            tuple(one.recommendation_id for one in columns),
        )

    def complete_set(
        self,
        given: Iterable[str | Side],
        slots: Iterable[str | Slot],
        *,
        both_directions: bool = False,
        beam: int | None = None,
        alternatives: int | None = None,
        exclude: Iterable[str] = (),
        prior: float | None = None,
        view: View = "id",
    ) -> CompletedSet:
        """Return the items that complete a set: one for each slot, so that the sum of log P over all pairs is high.

        Args:
            given: what there is, 1 to 32; a text is an item's id.
            slots: what is missing, 1 to 16; a text is a category. Of two chosen items, that of the earlier slot is the
                source of their pair.
            both_directions: count each pair both ways.
            beam: how many unfinished sets are kept at each slot, 1 to 1,000; 50 by default.
            alternatives: how many other items to tell for each slot, 0 to 100; 3 by default.
            exclude: ids that fill no slot, up to 1,000.
            prior: as in `score_pair`.
            view: how much of each item comes along.

        Raises:
            ValueError: a side is not exactly one of item, picture and vector.
            InvalidArgument: a filter or another field is malformed or over its limit.
            NotFound: a given item isn't there.
            FailedPrecondition: as in `score_pair`.
        """
        request = pairs_pb2.CompleteSetRequest(
            given=map(wire_pairs.side_to_proto, given),
            slots=map(wire_pairs.slot_to_proto, slots),
            both_directions=both_directions,
            beam=beam,
            alternatives=alternatives,
            exclude=exclude,
            prior=prior,
            view=wire.view_to_proto(view),
        )
        with self._translated():
            return wire_pairs.completed_set_from_proto(self._recommender.CompleteSet(request, timeout=self.timeout_s))

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as failure:
            raise error_from_call(failure, self.server) from failure


def _joined(columns: Sequence[Sequence[float]], kind: type[np.floating[Any]]) -> np.ndarray:
    return np.concatenate([np.empty(0, kind), *(np.fromiter(one, kind, len(one)) for one in columns)])
