"""Which of the best items are returned: unlike each other, at most so many of a kind, no near duplicates.

Maximal marginal relevance: J. Carbonell and J. Goldstein, The Use of MMR, Diversity-Based Reranking for Reordering
Documents and Producing Summaries, SIGIR 1998.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from twinset_server.domain import Attribute, Float32Array, Metric
from twinset_server.recommend.percentiles import MEDIAN, Float64Array, Percentiles
from twinset_server.scoring import similarities


@dataclass(frozen=True, slots=True)
class Likeness:
    """How similar candidates are to each other.

    Attributes:
        vectors: `[N, D]` float32, those that they were found by.
        known: `[N]` who has one; the others are like nothing.
        metric: the space's.
        percentiles: of similarities between items of the space; None where these count as they are.
    """

    vectors: Float32Array
    known: np.typing.NDArray[np.bool_]
    metric: Metric
    percentiles: Percentiles | None = None

    def to(self, place: int) -> Float64Array:
        """Return `[N]` the space's own similarity of each candidate to the one at `place`."""
        if not self.known[place]:
            return np.full(len(self.known), -np.inf)
        own = similarities(self.vectors, self.vectors[place : place + 1], self.metric)[:, 0]
        return np.where(self.known, own, -np.inf)

    def counted(self, own: Float64Array) -> Float64Array:
        """Return what diversity counts for similarities `[N]`."""
        if self.percentiles is None:
            return own
        return np.where(np.isneginf(own), MEDIAN, self.percentiles.of(np.where(np.isneginf(own), 0.0, own)))


def select(
    scores: Float64Array,
    k: int,
    *,
    likeness: Likeness | None = None,
    mmr_lambda: float | None = None,
    max_similarity: float | None = None,
    groups: Sequence[Attribute | None] | None = None,
    group_size: int = 1,
) -> list[int]:
    """Return the places of up to `k` candidates in the order in which they are chosen.

    Each is the one with the highest lambda score - (1 - lambda) max similarity to those chosen before, among those that
    may be chosen; the first one has none before it, and of equal ones the first is taken.

    Args:
        scores: `[N]`, falling.
        k: how many.
        likeness: needed for `mmr_lambda` and `max_similarity`.
        mmr_lambda: 0 to 1; None chooses by score.
        max_similarity: who is as similar to one chosen before, or more, may not be chosen; None for anyone.
        groups: `[N]` of what kind each is, None for one of its own kind; None where all may be chosen.
        group_size: how many of a kind may be chosen.
    """
    kinds = [None if value is None else _kind(value) for value in groups or ()]
    left: dict[Hashable, int] = {}
    free = np.ones(len(scores), np.bool_)
    nearest = np.zeros(len(scores))
    chosen: list[int] = []
    while len(chosen) < k and free.any():
        if mmr_lambda is None:
            place = int(np.argmax(free))
        else:
            worth = mmr_lambda * scores - (1 - mmr_lambda) * nearest
            place = int(np.argmax(np.where(free, worth, -np.inf)))
        free[place] = False
        if kinds and (kind := kinds[place]) is not None:
            room = left.setdefault(kind, group_size)
            if not room:
                continue
            left[kind] = room - 1
        chosen.append(place)
        if likeness is not None:
            own = likeness.to(place)
            if max_similarity is not None:
                free &= own < max_similarity
            if mmr_lambda is not None:
                counted = likeness.counted(own)
                nearest = counted if len(chosen) == 1 else np.maximum(nearest, counted)
    return chosen


def _kind(value: Attribute) -> Hashable:
    """Return a key that values share which are the same: the integer 1, the number 1.0 and true aren't."""
    return type(value), value
