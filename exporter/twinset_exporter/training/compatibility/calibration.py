"""From log odds to probabilities that come true as often as they say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

_STEPS = 50
_PRIOR_WEIGHT = 1.0
_SMALLEST_SCALE = 1e-2


@dataclass(frozen=True, slots=True)
class Platt:
    """`scale * log odds + shift`, where half of the pairs are true.

    Attributes:
        scale: above 0.
        shift: in nats.
    """

    scale: float
    shift: float

    def apply(self, log_odds: Floats) -> NDArray[np.float64]:
        """Return calibrated log odds for half of the pairs being true, of the shape of `log_odds`."""
        return np.asarray(self.scale * log_odds.astype(np.float64) + self.shift)


def fit(log_odds: Floats, truths: NDArray[np.bool_]) -> Platt:
    """Return the calibration with the least log loss on pairs that the network wasn't trained on.

    Logistic regression by Newton's method, as Platt 1999, for a sample of which half is true: both kinds get the same
    weight in sum. A weak Gaussian around scale 1 keeps it finite where the sample is separable.

    Args:
        log_odds: `[N]` of the network.
        truths: `[N]`.

    Raises:
        ValueError: all pairs are true, or none.
    """
    true = int(np.count_nonzero(truths))
    if not 0 < true < len(truths):
        raise ValueError("calibration needs true pairs and others")
    # Around its mean: the Newton steps of scale and shift hardly disturb each other then.
    centre = float(log_odds.mean(dtype=np.float64))
    inputs = np.stack((log_odds.astype(np.float64) - centre, np.ones(len(truths))), axis=1)
    weights = np.where(truths, 0.5 / true, 0.5 / (len(truths) - true)) * len(truths)
    around, strength = np.array([1.0, 0.0]), np.diag([_PRIOR_WEIGHT, 0.0])
    found = around.copy()
    for _ in range(_STEPS):
        chances = 0.5 * (1 + np.tanh(0.5 * inputs @ found))
        slope = inputs.T @ (weights * (chances - truths)) + strength @ (found - around)
        curvature = (inputs * (weights * chances * (1 - chances))[:, None]).T @ inputs + strength
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), slope)
        found -= step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    # A scale at or below 0 says that the scores mean nothing: then they get as little say as can be.
    scale = max(float(found[0]), _SMALLEST_SCALE)
    return Platt(scale, float(found[1]) - scale * centre)


def log_odds(share: float) -> float:
    """Return the log odds of a share of true pairs, above 0 and below 1."""
    return math.log(share / (1 - share))
