"""Whether probabilities come true as often as they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

BINS = 15


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Predictions in bins by rising probability.

    Attributes:
        predicted: `[B]`, the mean probability of each bin.
        observed: `[B]`, the share of each bin that is true.
        counts: `[B]` int64.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of |predicted - observed| over all predictions, 0 to 1."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.counts))


def reliability(truths: NDArray[np.bool_], probabilities: Floats, bins: int = BINS) -> Reliability:
    """Return the predictions in bins of equal mass, which differ by at most one in size.

    Bins of equal width leave most of the range nearly empty where probabilities lie close together
    (Nixon et al. 2019, "Measuring calibration in deep learning").

    Args:
        truths: `[N]`, what came true.
        probabilities: `[N]`, 0 to 1.
        bins: how many, fewer where there are fewer predictions.

    Raises:
        ValueError: there are no predictions, or one is no probability.
    """
    if not len(truths) or not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must lie in 0 to 1, and be at least one")
    order = np.argsort(probabilities, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return Reliability(
        np.array([probabilities[part].mean(dtype=np.float64) for part in parts]),
        np.array([truths[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )
