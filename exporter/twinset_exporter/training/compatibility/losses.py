"""The losses of one step, and the slopes that they leave at the sides of its items."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_exporter.training.compatibility import objective
from twinset_exporter.training.compatibility.network import Floats, Numbers, summed


@dataclass(slots=True, eq=False)
class Losses:
    """Adds up losses of pairs; each method returns its own, and adds its slopes to those so far.

    Pairs are told by places among the sides.

    Attributes:
        metric: EUCLIDEAN or INNER_PRODUCT.
        sources: `[S, d + 1]` sides.
        targets: `[T, d + 1]` sides.
        offset: c.
        source_slopes: `[S, d + 1]`, the gradient of `sources`.
        target_slopes: `[T, d + 1]`.
        offset_slope: of c.
    """

    metric: Metric
    sources: Floats
    targets: Floats
    offset: float
    source_slopes: Floats = field(init=False)
    target_slopes: Floats = field(init=False)
    offset_slope: float = 0.0

    def __post_init__(self) -> None:
        self.source_slopes = np.zeros_like(self.sources)
        self.target_slopes = np.zeros_like(self.targets)

    def pairs(self, sources: Numbers, targets: Numbers, truth: bool, weights: Floats) -> float:
        """Return the weighted logistic loss of `[B]` pairs that are all true, or all not."""
        u, v = self.sources[sources], self.targets[targets]
        log_odds = objective.logits(self.metric, u, v, self.offset)
        errors = weights * (objective.probabilities(log_odds) - np.float32(truth))
        du, dv = objective.slopes(self.metric, u, v, errors)
        self.source_slopes += summed(du, sources, len(self.sources))
        self.target_slopes += summed(dv, targets, len(self.targets))
        self.offset_slope += float(errors.sum())
        return float(weights @ np.logaddexp(0, -log_odds if truth else log_odds))

    def others(self, sources: Numbers, targets: Numbers, weights: Floats) -> float:
        """Return the weighted logistic loss of a block, `[S', T']`, of pairs that aren't true."""
        u, v = self.sources[sources], self.targets[targets]
        log_odds = objective.block_logits(self.metric, u, v, self.offset)
        chances = objective.probabilities(log_odds)
        self._add(sources, targets, u, v, weights * chances)
        self.offset_slope += float((weights * chances).sum())
        # log(1 + exp(x)) = -log(1 - p): the slopes need p anyway, and few drawn pairs come near 1.
        return float(-(weights * np.log1p(-np.minimum(chances, np.float32(1 - 1e-7)))).sum())

    def softmax(self, sources: Numbers, targets: Numbers, candidates: NDArray[np.bool_], weight: float) -> float:
        """Return the weighted mean cross entropy of `[B]` true pairs: each target among those of the others.

        Args:
            sources: `[B]`.
            targets: `[B]`.
            candidates: `[B, B]`, which targets each source is to tell from its own, which is always among them.
            weight: of this loss.
        """
        u, v = self.sources[sources], self.targets[targets]
        log_odds = objective.block_logits(self.metric, u, v, 0.0)
        log_odds[~candidates] = -np.inf
        log_odds -= log_odds.max(axis=1, keepdims=True)
        shares = np.exp(log_odds)
        shares /= shares.sum(axis=1, keepdims=True)
        own = np.diagonal(shares).copy()
        np.fill_diagonal(shares, own - 1)
        self._add(sources, targets, u, v, shares * np.float32(weight / len(sources)))
        return weight * float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean())

    def _add(self, sources: Numbers, targets: Numbers, u: Floats, v: Floats, errors: Floats) -> None:
        du, dv = objective.block_slopes(self.metric, u, v, errors)
        self.source_slopes += summed(du, sources, len(self.sources))
        self.target_slopes += summed(dv, targets, len(self.targets))
