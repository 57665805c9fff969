from __future__ import annotations

import keras
import numpy as np
import pytest

from twinset.contract import Metric
from twinset_exporter.training.compatibility import published

FEATURES = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
METRICS = [Metric.EUCLIDEAN, Metric.INNER_PRODUCT]


def _pairs(count: int = 30):
    return published.steps(np.array([0, 1, 2]), np.array([3, 4, 5]), np.array([4, 5, 3]), count, seed=0)


def test_steps_are_true_and_other_pairs_in_turn():
    found = list(_pairs(12))

    assert len(found) == 12
    for half in (found[:6], found[6:]):
        assert sorted(half) == [(0, 3, True), (0, 4, False), (1, 4, True), (1, 5, False), (2, 3, False), (2, 5, True)]


@pytest.mark.parametrize("metric", METRICS)
def test_a_compiled_loop_computes_what_the_published_one_does(metric):
    loops = [published.PublishedLoop(FEATURES, metric, seed=0, compiled=compiled) for compiled in (False, True)]

    for one in loops:
        one.run(_pairs())

    eager, compiled = (one.model() for one in loops)
    np.testing.assert_allclose(compiled.source, eager.source, atol=1e-7)
    np.testing.assert_allclose(compiled.target, eager.target, atol=1e-7)
    assert compiled.offset == pytest.approx(eager.offset, abs=1e-7)


@pytest.mark.parametrize("metric", METRICS)
def test_a_step_moves_every_weight_by_the_rate_towards_the_truth(metric):
    loop = published.PublishedLoop(FEATURES, metric, seed=0)
    before = loop.model()

    loop.run(iter([(0, 3, True)]))

    after = loop.model()
    pair = np.array([0]), np.array([3])
    assert after.log_odds(FEATURES, *pair) > before.log_odds(FEATURES, *pair)
    # Adam's first step is about the rate, whatever the gradient.
    np.testing.assert_allclose(np.abs(after.source - before.source), published.RATE, rtol=0.5)


def test_weights_begin_as_published():
    model = published.PublishedLoop(np.zeros((2, 4096), np.float32), Metric.EUCLIDEAN, seed=0).model()

    assert model.source.shape == model.target.shape == (4096, 5)
    assert model.source.std() == pytest.approx(0.001, rel=0.02)
    assert model.offset == 0


def test_log_odds_are_those_of_the_book():
    source, target = np.eye(8, 5, dtype=np.float32), 2 * np.eye(8, 5, dtype=np.float32)
    u, v = FEATURES[0, :5], 2 * FEATURES[3, :5]
    pair = np.array([0]), np.array([3])

    euclidean = published.Published(Metric.EUCLIDEAN, source, target, 1.5).log_odds(FEATURES, *pair)
    inner = published.Published(Metric.INNER_PRODUCT, source, target, 1.5).log_odds(FEATURES, *pair)

    assert euclidean == pytest.approx(1.5 - ((u - v) ** 2).sum(), rel=1e-5)
    assert inner == pytest.approx(1.5 + u @ v, rel=1e-5)


def teardown_module() -> None:
    keras.backend.clear_session()
