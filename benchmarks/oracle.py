"""The exact answers that a search is held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric

_AT_ONCE = 64
"""Queries compared at a time: with a million rows their scores take 256 MB."""
_ROUNDING = 1e-6
"""What sums of float32 in another order may differ by, beside the score."""


class Oracle:
    """Every score of some queries against all rows, in float32.

    Rows that score the same as the last of the true answers, but for rounding, are as right as it is.
    """

    def __init__(self, rows: NDArray[np.float32], queries: NDArray[np.float32], metric: Metric) -> None:
        """Compare.

        Args:
            rows: `[N, D]`, of unit length where the metric is cosine.
            queries: `[Q, D]`, likewise.
            metric: of the space.
        """
        self._scores = np.empty((len(queries), len(rows)), np.float32)
        for start in range(0, len(queries), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            np.matmul(queries[part], rows.T, out=self._scores[part])
        if metric is Metric.EUCLIDEAN:
            # |q - x|^2 but for |q|^2, which orders nothing.
            self._scores -= 0.5 * np.einsum("nd,nd->n", rows, rows)

    def recall(self, query: int, found: Sequence[int], k: int, may: NDArray[np.bool_] | None = None) -> float:
        """Return the share of the true `k` nearest that `found` holds.

        Args:
            query: which.
            found: rows, none of them twice.
            k: how many were asked for.
            may: `[N]`, which rows may be answers; None for all. One that may not is never right.
        Returns:
            0 to 1; 1 where nothing may be an answer and nothing was found.
        """
        scores = self._scores[query]
        chosen = scores if may is None else scores[may]
        k = min(k, len(chosen))
        if not k:
            return float(not found)
        least = np.partition(chosen, len(chosen) - k)[len(chosen) - k]
        least -= _ROUNDING * abs(least)
        return sum(bool(scores[row] >= least and (may is None or may[row])) for row in found[:k]) / k
