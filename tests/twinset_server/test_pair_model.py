"""Probabilities of pairs, by the formula of `PairContract`."""

import dataclasses
import math

import numpy as np
import pytest

from fakes.embedder import FakeClassifier, FakeEmbedder
from fakes.service import filled_by
from twinset.contract import Metric
from twinset.pair_contract import PairContract
from twinset_server.domain import Space
from twinset_server.errors import FingerprintMismatch, NoPairModel
from twinset_server.pair_model import PairModel, pair_model

SOURCE = Space("pair_source", 2, Metric.EUCLIDEAN, "9" * 64)
TARGET = Space("pair_target", 2, Metric.EUCLIDEAN, "a" * 64)
PAIR = PairContract(offset=1.5, scale=0.5, shift=-0.25, prior=0.5, ece=0.02)
MODEL = PairModel("model", PAIR, SOURCE, TARGET)


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_the_probability_is_that_of_the_formula() -> None:
    distances = [0.0, 0.3, 2.5, -4.0]
    expected = [sigmoid(0.5 * (1.5 - distance) - 0.25) for distance in distances]
    np.testing.assert_allclose(MODEL.probabilities(distances), expected, rtol=1e-12)
    np.testing.assert_allclose(MODEL.log_probabilities(distances), np.log(expected), rtol=1e-12)


def test_another_prior_moves_the_odds_by_the_ratio_of_the_odds_of_both_priors() -> None:
    model = dataclasses.replace(MODEL, contract=dataclasses.replace(PAIR, prior=0.25))
    before, after = model.probabilities(0.7), model.probabilities(0.7, prior=0.01)
    odds = (after / (1 - after)) / (before / (1 - before))
    assert odds == pytest.approx((0.01 / 0.99) / (0.25 / 0.75))
    assert model.probabilities(0.7, prior=0.25) == pytest.approx(before)


def test_a_log_probability_stays_finite_where_the_probability_is_none() -> None:
    assert MODEL.probabilities(1e6) == 0
    assert MODEL.log_probabilities(1e6) == pytest.approx(0.5 * (1.5 - 1e6) - 0.25)


def test_the_serving_model_gives_the_contract_and_both_spaces() -> None:
    contract = FakeClassifier().contract
    found = pair_model(contract, {space.name: space for space in filled_by(contract)})
    assert (found.name, found.metric) == (contract.model, Metric.EUCLIDEAN)
    assert (found.contract, found.source.name, found.target.name) == (contract.pair, "pair_source", "pair_target")


def test_a_model_without_pairs_or_calibration_gives_none() -> None:
    with pytest.raises(NoPairModel, match="compatibility head"):
        pair_model(FakeEmbedder().contract, {})
    contract = FakeClassifier().contract
    spaces = {space.name: space for space in filled_by(contract)}
    with pytest.raises(NoPairModel):
        pair_model(dataclasses.replace(contract, pair=None), spaces)
    with pytest.raises(NoPairModel):
        pair_model(contract, {"pair_source": spaces["pair_source"]})


def test_spaces_of_another_model_are_refused_with_both_fingerprints() -> None:
    contract = FakeClassifier().contract
    spaces = {space.name: space for space in filled_by(contract)}
    spaces["pair_target"] = dataclasses.replace(spaces["pair_target"], fingerprint="e" * 64)
    with pytest.raises(FingerprintMismatch, match="e" * 64) as refused:
        pair_model(contract, spaces)
    assert refused.value.given == contract.fingerprint_of("target")
