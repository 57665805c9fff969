from __future__ import annotations

import numpy as np
import pytest

from twinset.contract import Metric
from twinset_exporter.training.compatibility import objective

METRICS = [Metric.EUCLIDEAN, Metric.INNER_PRODUCT]


def _sides(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 4)).astype(np.float32)


def test_log_odds_are_those_of_the_book_with_biases():
    source, target = np.array([[1, 2, 0.5]], np.float32), np.array([[3, -1, 0.25]], np.float32)

    assert objective.logits(Metric.EUCLIDEAN, source, target, 2.0) == pytest.approx(2 + 0.75 - (4 + 9))
    assert objective.logits(Metric.INNER_PRODUCT, source, target, 2.0) == pytest.approx(2 + 0.75 + (3 - 2))


@pytest.mark.parametrize("metric", METRICS)
def test_a_block_has_the_log_odds_of_its_pairs(metric):
    sources, targets = _sides(3, 0), _sides(5, 1)

    block = objective.block_logits(metric, sources, targets, 0.3)

    for s in range(3):
        for t in range(5):
            pair = objective.logits(metric, sources[s : s + 1], targets[t : t + 1], 0.3)
            assert block[s, t] == pytest.approx(float(pair[0]), abs=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_slopes_are_the_gradient(metric):
    sources, targets = _sides(3, 0), _sides(3, 1)
    errors = np.array([0.7, -0.2, 0.4], np.float32)

    def total(u, v):
        return float(errors @ objective.logits(metric, u, v, 0.0))

    for given, place in ((sources, 0), (targets, 1)):
        slopes = objective.slopes(metric, sources, targets, errors)[place]
        np.testing.assert_allclose(slopes, _numeric(lambda: total(sources, targets), given), atol=2e-2)


@pytest.mark.parametrize("metric", METRICS)
def test_slopes_of_a_block_are_the_gradient(metric):
    sources, targets = _sides(2, 0), _sides(3, 1)
    errors = _sides(2, 2)[:, :3]

    def total():
        return float((errors * objective.block_logits(metric, sources, targets, 0.0)).sum())

    for given, place in ((sources, 0), (targets, 1)):
        slopes = objective.block_slopes(metric, sources, targets, errors)[place]
        np.testing.assert_allclose(slopes, _numeric(total, given), atol=2e-2)


def test_probabilities_of_huge_log_odds_dont_overflow():
    assert objective.probabilities(np.array([-1e4, 0, 1e4], np.float32)).tolist() == [0, 0.5, 1]


def _numeric(value, given: np.ndarray, step: float = 1e-2) -> np.ndarray:
    """Return the gradient by central differences, changing `given` in place."""
    gradient = np.empty_like(given)
    for place in np.ndindex(given.shape):
        kept = given[place]
        given[place] = kept + step
        above = value()
        given[place] = kept - step
        gradient[place] = (above - value()) / (2 * step)
        given[place] = kept
    return gradient
