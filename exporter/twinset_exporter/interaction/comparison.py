"""How far two ways to score pairs are apart, at every size that a request may have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twinset.interaction_contract import MAX_PAIRS, SCORE
from twinset_exporter import parity
from twinset_exporter.interaction.runtime import Scores
from twinset_exporter.proof import BatchParity

BATCHES = (1, 32, MAX_PAIRS)
_SMALL = 32

Pairs = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Factors of users and items, `[N, D]` float32 each."""


def compare(expected: NDArray[np.float32], given: Scores, pairs: Pairs) -> tuple[BatchParity, ...]:
    """Return the parity at every size in `BATCHES`; the largest gets all pairs, the others the first 32.

    All scores together are compared as one vector: one alone has only its sign for a direction, and those near 0 change
    it with the rounding.

    Args:
        expected: `[N]`, the scores of the pairs.
        given: what is compared.
        pairs: N of them.
    """
    found = []
    for batch in BATCHES:
        count = len(expected) if batch == MAX_PAIRS else min(len(expected), _SMALL)
        scores = given.scores(pairs[0][:count], pairs[1][:count], batch)
        both = ({SCORE: rows[np.newaxis]} for rows in (expected[:count], scores))
        found.append(BatchParity(batch, count, parity.compare(*both)))
    return tuple(found)


def sample(users: NDArray[np.float32], items: NDArray[np.float32], *, seed: int = 0, count: int = MAX_PAIRS) -> Pairs:
    """Return `count` pairs of rows of `users`, `[U, D]`, and `items`, `[I, D]`."""
    rng = np.random.default_rng(seed)
    return tuple(np.array(rows[np.sort(rng.integers(0, len(rows), count))]) for rows in (users, items))  # type: ignore[return-value]


def worst(batches: Sequence[BatchParity]) -> parity.Parity:
    """Return the parity at the size where it is furthest off."""
    return max((batch.outputs[0] for batch in batches), key=lambda one: (np.isnan(one.share), one.share))
