"""How likely pairs are true by the two sides of their items, and the slopes of it.

A side, `[N, d + 1]`, is a vector with a bias behind it. The log odds of a pair are `c + s + t - |u - v|^2` by the
Euclidean metric and `c + s + t + <u, v>` by the inner product: McAuley's two forms with biases of the items, as rooms
are large or small, and things more or less often in them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric

Floats = NDArray[np.float32]


def logits(metric: Metric, sources: Floats, targets: Floats, offset: float) -> Floats:
    """Return the log odds of `[B]` pairs from their `[B, d + 1]` sides, `[B]` float32."""
    u, v = sources[:, :-1], targets[:, :-1]
    near = np.einsum("bd,bd->b", u, v) if metric is Metric.INNER_PRODUCT else -((u - v) ** 2).sum(axis=1)
    return np.asarray(near + sources[:, -1] + targets[:, -1] + np.float32(offset))


def slopes(metric: Metric, sources: Floats, targets: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Return the gradients of both sides of `[B]` pairs, for `errors`, `[B]`, the gradient of their log odds."""
    u, v = sources[:, :-1], targets[:, :-1]
    weight = errors[:, None]
    if metric is Metric.INNER_PRODUCT:
        return np.hstack((weight * v, weight)), np.hstack((weight * u, weight))
    apart = 2 * weight * (u - v)
    return np.hstack((-apart, weight)), np.hstack((apart, weight))


def block_logits(metric: Metric, sources: Floats, targets: Floats, offset: float) -> Floats:
    """Return the log odds of each of `[S, d + 1]` sources with each of `[T, d + 1]` targets, `[S, T]` float32."""
    u, v = sources[:, :-1], targets[:, :-1]
    near = u @ v.T
    s, t = sources[:, -1], targets[:, -1]
    if metric is Metric.EUCLIDEAN:
        near *= 2
        s, t = s - (u * u).sum(axis=1), t - (v * v).sum(axis=1)
    near += (s + np.float32(offset))[:, None]
    near += t
    return near


def block_slopes(metric: Metric, sources: Floats, targets: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Return the gradients of all sides of a block, for `errors`, `[S, T]`, the gradient of its log odds."""
    u, v = sources[:, :-1], targets[:, :-1]
    of_source, of_target = errors.sum(axis=1)[:, None], errors.sum(axis=0)[:, None]
    du, dv = errors @ v, errors.T @ u
    if metric is Metric.EUCLIDEAN:
        du, dv = 2 * (du - of_source * u), 2 * (dv - of_target * v)
    return np.hstack((du, of_source)), np.hstack((dv, of_target))


def probabilities(log_odds: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return 1 / (1 + exp(-x)), which doesn't overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * log_odds)))
