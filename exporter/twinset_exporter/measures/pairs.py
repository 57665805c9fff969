"""How well scores and probabilities tell true pairs from others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def auc(positive: Floats, negative: Floats) -> float:
    """Return the share of (positive, negative) couples whose positive scores higher, 0 to 1; a tie counts half.

    This is the area under the ROC curve (Mann and Whitney 1947).

    Args:
        positive: `[P]` scores of true pairs.
        negative: `[N]` scores of the others.

    Raises:
        ValueError: one of them is empty, or a score is not finite.
    """
    for name, scores in (("positive", positive), ("negative", negative)):
        if not len(scores) or not np.isfinite(scores).all():
            raise ValueError(f"{name} scores must be finite numbers, and at least one")
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left").astype(np.float64)
    not_above = np.searchsorted(ordered, positive, side="right").astype(np.float64)
    return float((below + not_above).mean() / (2 * len(ordered)))


def accuracy(truths: NDArray[np.bool_], probabilities: Floats) -> float:
    """Return the share of pairs whose probability is above one half exactly where they are true."""
    return float(((probabilities > 0.5) == truths).mean())


def log_loss(truths: NDArray[np.bool_], logits: Floats, weights: Floats | None = None) -> float:
    """Return the mean negative log likelihood in nats, 0 or more, lower is better.

    Args:
        truths: `[N]`.
        logits: `[N]` log odds of being true: no probability rounds to 0 or 1 that way.
        weights: `[N]` of the pairs, None for equal ones.
    """
    signed = np.where(truths, -logits, logits).astype(np.float64)
    return float(np.average(np.logaddexp(0.0, signed), weights=weights))


def constant_log_loss(truths: NDArray[np.bool_], weights: Floats | None = None) -> float:
    """Return the log loss, in nats, of the constant that has the least: the share of true pairs."""
    share = float(np.average(truths.astype(np.float64), weights=weights))
    return float(-sum(p * np.log(p) for p in (share, 1 - share) if p > 0))
