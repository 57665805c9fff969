"""Similarities of different spaces on one scale: the share of a space's vectors that are less similar.

A percentile is read from a sample, its background. Among the sample it goes in straight lines from one similarity to
the next; beyond, where the best candidates lie, it approaches 0 and 1 without ever reaching them, so that of two
candidates the more similar one always has the higher percentile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BACKGROUND = 1023
"""How many vectors are sampled: the steps between them are of 1/1024."""

MEDIAN = 0.5
"""The percentile of what can't be compared."""

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """The percentiles of similarities.

    With a sample of n, the j-th smallest similarity x_j has the percentile j / (n + 1); several equal ones have the
    mean of theirs. Between two it is interpolated linearly. Above the largest, x_n, the percentile of x is

        1 - (1 - p(x_n)) / (1 + (x - x_n) / s)

    with s the distance from the median of the sample to x_n, or 1 where that is 0; below the smallest likewise. Without
    a sample every percentile is .5.

    Attributes:
        similarities: `[n]` the sample's, each once, rising.
        shares: `[n]` their percentiles.
    """

    similarities: Float64Array
    shares: Float64Array

    @classmethod
    def over(cls, sample: Float64Array) -> Percentiles:
        """Return the percentiles among these similarities, `[n]` in any order."""
        values, starts, counts = np.unique(np.sort(sample), return_index=True, return_counts=True)
        return cls(values, (starts + (counts + 1) / 2) / (len(sample) + 1))

    def of(self, similarities: Float64Array) -> Float64Array:
        """Return the percentile of each similarity, of any shape: above 0 and below 1."""
        if not len(self.similarities):
            return np.full(similarities.shape, MEDIAN)
        lowest, highest = self.similarities[0], self.similarities[-1]
        middle = float(np.interp(MEDIAN, self.shares, self.similarities))
        above = np.maximum(similarities - highest, 0) / ((highest - middle) or 1.0)
        below = np.maximum(lowest - similarities, 0) / ((middle - lowest) or 1.0)
        within: Float64Array = np.interp(similarities, self.similarities, self.shares)
        # One of the two is 0 everywhere: within is then the percentile of an end of the sample.
        found: Float64Array = 1 - (1 - within / (1 + below)) / (1 + above)
        return found
