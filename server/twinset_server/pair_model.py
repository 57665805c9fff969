"""Distances between the two sides of pairs to probabilities: the one place that knows how, and which model says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.contract import ModelContract
from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET, PairContract
from twinset_server.domain import Metric, Space
from twinset_server.errors import FingerprintMismatch, NoPairModel

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairModel:
    """How the serving model compares the two sides of a pair.

    Attributes:
        name: the model's.
        contract: how a distance becomes a probability.
        source: the space of items as the first of a pair.
        target: the space of items as the second.
    """

    name: str
    contract: PairContract
    source: Space
    target: Space

    @property
    def metric(self) -> Metric:
        """That of both spaces: Euclidean or inner product."""
        return self.source.metric

    def logits(self, distances: ArrayLike, prior: float | None = None) -> Float64Array:
        """Return scale (offset + s) + shift, and what another prior adds; see `PairContract` for the formula.

        Args:
            distances: between a vector of `source` and one of `target`, each -s: |a - b|^2, or -<a, b>.
            prior: the share of true pairs among those asked for, between 0 and 1; None for the contract's.
        """
        pair = self.contract
        shift = pair.shift if prior is None else pair.shift + _logit(prior) - _logit(pair.prior)
        found: Float64Array = pair.scale * (pair.offset - np.asarray(distances, np.float64)) + shift
        return found

    def probabilities(self, distances: ArrayLike, prior: float | None = None) -> Float64Array:
        """Return the probability, 0 to 1, that each pair goes together, given its distance; see `logits`."""
        return np.exp(self.log_probabilities(distances, prior))

    def log_probabilities(self, distances: ArrayLike, prior: float | None = None) -> Float64Array:
        """Return the natural logarithm of each probability, which stays finite where that rounds to 0; see `logits`."""
        # NaN is the distance of what isn't there.
        with np.errstate(invalid="ignore"):
            found: Float64Array = -np.logaddexp(0.0, -self.logits(distances, prior))
        return found


def pair_model(contract: ModelContract, spaces: Mapping[str, Space]) -> PairModel:
    """Return how the model of `contract` gives probabilities of pairs among `spaces`.

    Raises:
        NoPairModel: it fills no spaces of pairs, or was exported without a calibration.
        FingerprintMismatch: the spaces hold vectors of another model.
    """
    sides = {name: contract.space(name) for name in (PAIR_SOURCE, PAIR_TARGET)}
    if contract.pair is None or None in sides.values():
        raise _no_pairs(contract.model)
    for name, filled in sides.items():
        if filled is None or name not in spaces:
            raise _no_pairs(contract.model)
        made = contract.fingerprint_of(filled.output)
        if made != spaces[name].fingerprint:
            raise FingerprintMismatch(name, given=made, expected=spaces[name].fingerprint, space=name)
    return PairModel(contract.model, contract.pair, spaces[PAIR_SOURCE], spaces[PAIR_TARGET])


def _no_pairs(model: str) -> NoPairModel:
    return NoPairModel(
        model,
        f"the serving model {model} doesn't tell whether two items go together: export a compatibility head, which "
        "fills pair_source and pair_target and brings a calibration, and serve that",
    )


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
