from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from twinset.contract import Metric
from twinset_exporter import keras_file, tensorflow_noise
from twinset_exporter.training.compatibility import encoding, objective, publication, sides
from twinset_exporter.training.compatibility.calibration import Platt
from twinset_exporter.training.compatibility.categories import descriptors
from twinset_exporter.training.compatibility.network import OFFSET, SOURCE, TARGET, Network

tensorflow_noise.silence()

METRICS = [Metric.EUCLIDEAN, Metric.INNER_PRODUCT]
KNOWN, ALONE = Platt(0.8, 0.3), Platt(0.5, -0.4)


class Trained:
    """A network of random weights over 40 items."""

    def __init__(self, metric: Metric, names: Sequence[str] = ("sofa", "table lamp", "wall lamp")) -> None:
        rng = np.random.default_rng(0)
        self.features = rng.standard_normal((40, 12)).astype(np.float32) + 2
        self.categories = rng.integers(len(names) + 1, size=40).astype(np.int32)
        self.code = encoding.fit(self.features, 5, landmarks=20, widths=(0.5, 0.2), components=7, seed=0)
        self.network = Network(self.code.dimension, descriptors(names), 3)
        self.weights = self.network.initial(0.5, rng)
        for weight in self.weights.values():
            weight += rng.standard_normal(weight.shape).astype(np.float32) * 0.2
        self.rows = self.code.rows(self.features)
        self.metric = metric
        self.sides = sides.fold(self.network, self.weights, self.code, metric, KNOWN, ALONE, self.rows, self.categories)

    def raw(self, categories: np.ndarray) -> np.ndarray:
        """Return the network's own log odds of each item with the next."""
        source = self.network.side(self.weights, SOURCE, self.rows, categories)
        target = np.roll(self.network.side(self.weights, TARGET, self.rows, categories), -1, axis=0)
        return objective.logits(self.metric, source, target, float(self.weights[OFFSET][0]))

    def served(self, categories: np.ndarray) -> np.ndarray:
        """Return the same as the vectors give it."""
        source, target = self.sides.vectors(self.features, categories)
        return self.sides.log_odds(source, np.roll(target, -1, axis=0))


@pytest.mark.parametrize("metric", METRICS)
def test_vectors_give_the_calibrated_log_odds_of_the_network(metric):
    trained = Trained(metric)
    known = np.maximum(trained.categories, 1)

    np.testing.assert_allclose(trained.served(known), KNOWN.apply(trained.raw(known)), atol=2e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_items_without_categories_have_a_calibration_of_their_own(metric):
    trained = Trained(metric)
    unknown = np.zeros_like(trained.categories)

    np.testing.assert_allclose(trained.served(unknown), ALONE.apply(trained.raw(unknown)), atol=2e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_the_saved_network_answers_the_same_vectors(metric, tmp_path):
    trained = Trained(metric)
    (tmp_path / "head.keras").write_bytes(publication.network_bytes(trained.sides))

    model = keras_file.load(tmp_path / "head.keras")

    answer = model.predict([trained.features, trained.categories[:, None]], verbose=0)
    source, target = trained.sides.vectors(trained.features, trained.categories)
    np.testing.assert_allclose(answer["pair_source"], source, atol=1e-4)
    np.testing.assert_allclose(answer["pair_target"], target, atol=1e-4)


def test_a_network_without_categories_takes_features_alone(tmp_path):
    trained = Trained(Metric.EUCLIDEAN, ())
    (tmp_path / "head.keras").write_bytes(publication.network_bytes(trained.sides))

    model = keras_file.load(tmp_path / "head.keras")

    source, _ = trained.sides.vectors(trained.features, trained.categories)
    np.testing.assert_allclose(model.predict(trained.features, verbose=0)["pair_source"], source, atol=1e-4)


def test_a_bias_above_all_in_training_is_cut_off_by_the_euclidean_metric():
    trained = Trained(Metric.EUCLIDEAN)

    source, target = trained.sides.vectors(trained.features * 50, trained.categories)

    assert np.isfinite(source).all()
    assert np.isfinite(target).all()


def test_rounding_is_not_magnified_where_a_bias_is_the_highest():
    trained = Trained(Metric.EUCLIDEAN)

    given = trained.sides.vectors(trained.features, trained.categories)
    rounded = trained.sides.vectors(trained.features * np.float32(1 - 3e-7), trained.categories)

    for side, other in zip(given, rounded, strict=True):
        np.testing.assert_allclose(other, side, atol=1e-5 * np.abs(side).max())


def test_a_prior_moves_the_log_odds_of_the_contract():
    trained = Trained(Metric.INNER_PRODUCT)

    half = publication.contract(trained.sides, prior=0.5, ece=0.01)
    rare = publication.contract(trained.sides, prior=0.1, ece=0.01)

    assert half.shift == pytest.approx(KNOWN.shift)
    assert rare.shift == pytest.approx(KNOWN.shift + np.log(0.1 / 0.9))
    assert (half.scale, half.offset) == (rare.scale, rare.offset)
