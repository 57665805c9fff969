"""Beam search: one candidate for each of several slots, so that the sum over all pairs is as high as can be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twinset_server.compatibility.sides import Numbers
from twinset_server.pair_model import Float64Array

EMPTY = -1
"""Stands for the candidate of a slot that none may fill."""


class Affinities(Protocol):
    """What candidates of slots add to a set; all at most 0 and finite."""

    @property
    def identities(self) -> Sequence[NDArray[np.int64]]:
        """By slot `[C]`: what each candidate is. None may be in a set twice."""

    def alone(self, slot: int) -> Float64Array:
        """Return `[C]` what each candidate of a slot adds by what is given."""

    def between(self, slot: int, candidates: Numbers, other: int) -> Float64Array:
        """Return `[N, C]` what these of one slot's candidates add together with each of another, later slot's."""


@dataclass(frozen=True, slots=True)
class Found:
    """The best set that was found.

    Attributes:
        chosen: by slot the number of a candidate, or `EMPTY`.
        score: what they add up to.
        complete: whether every set was looked at.
    """

    chosen: tuple[int, ...]
    score: float
    complete: bool


def best_set(affinities: Affinities, width: int) -> Found:
    """Return the best set, keeping the `width` best unfinished ones at each slot; of equal ones the first candidates.

    A slot stays empty only where none of its candidates fits into any of the unfinished sets.
    """
    identities = affinities.identities
    chosen = np.empty((1, 0), np.intp)
    scores = np.zeros(1)
    complete = True
    for slot, own in enumerate(identities):
        totals = scores[:, None] + affinities.alone(slot)
        for other in range(slot):
            filled = np.flatnonzero(chosen[:, other] != EMPTY)
            if not len(filled) or not len(own):
                continue
            distinct, places = np.unique(chosen[filled, other], return_inverse=True)
            totals[filled] += affinities.between(other, distinct, slot)[places]
            taken = identities[other][chosen[filled, other]]
            totals[filled] = np.where(taken[:, None] == own, -np.inf, totals[filled])
        open_sets = np.flatnonzero(totals.ravel() > -np.inf)
        if not len(open_sets):
            chosen = np.column_stack([chosen, np.full(len(chosen), EMPTY)])
            continue
        # Stable: of equal totals the set that was ahead goes first, then the nearer candidate.
        ranked = open_sets[np.argsort(-totals.ravel()[open_sets], kind="stable")]
        complete &= len(ranked) <= width
        sets, candidates = np.divmod(ranked[:width], len(own))
        chosen = np.column_stack([chosen[sets], candidates])
        scores = totals[sets, candidates]
    return Found(tuple(chosen[0].tolist()), float(scores[0]), complete)


def with_each(affinities: Affinities, chosen: Sequence[int], slot: int) -> Float64Array:
    """Return `[C]` what each candidate of `slot` adds to a set, whose other slots stay; -inf where it is in them."""
    own = affinities.identities[slot]
    totals = affinities.alone(slot).copy()
    for other, candidate in enumerate(chosen):
        if other == slot or candidate == EMPTY:
            continue
        number = np.array([candidate])
        if other < slot:
            totals += affinities.between(other, number, slot)[0]
        else:
            totals += affinities.between(slot, np.arange(len(own)), other)[:, candidate]
        totals[own == affinities.identities[other][candidate]] = -np.inf
    return totals
