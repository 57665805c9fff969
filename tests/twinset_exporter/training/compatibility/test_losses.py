from __future__ import annotations

import numpy as np
import pytest

from twinset.contract import Metric
from twinset_exporter.training.compatibility.losses import Losses

METRICS = [Metric.EUCLIDEAN, Metric.INNER_PRODUCT]


def _losses(metric: Metric) -> Losses:
    rng = np.random.default_rng(0)
    sources, targets = (rng.standard_normal((count, 4)).astype(np.float32) for count in (3, 4))
    return Losses(metric, sources, targets, 0.2)


def _pairs(losses: Losses) -> float:
    weights = np.array([0.5, 0.2, 0.3], np.float32)
    return losses.pairs(np.array([0, 2, 2]), np.array([1, 3, 0]), True, weights)


def _false_pairs(losses: Losses) -> float:
    return losses.pairs(np.array([0, 2]), np.array([1, 3]), False, np.array([0.5, 0.2], np.float32))


def _others(losses: Losses) -> float:
    weights = np.array([[0.1, 0.0, 0.3], [0.2, 0.2, 0.2]], np.float32)
    return losses.others(np.array([2, 0]), np.array([3, 1, 1]), weights)


def _softmax(losses: Losses) -> float:
    candidates = np.array([[True, False, True], [True, True, True], [False, True, True]])
    return losses.softmax(np.array([0, 1, 1]), np.array([3, 1, 0]), candidates, 0.7)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("loss", [_pairs, _false_pairs, _others, _softmax])
def test_slopes_are_the_gradient(metric, loss):
    losses = _losses(metric)

    loss(losses)

    for name in ("sources", "targets"):
        given, slopes = getattr(losses, name), getattr(losses, f"{name.removesuffix('s')}_slopes")
        for place in np.ndindex(given.shape):
            expected = (_moved(metric, loss, name, place, 1e-2) - _moved(metric, loss, name, place, -1e-2)) / 2e-2
            assert slopes[place] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("loss", [_pairs, _false_pairs, _others])
def test_the_slope_of_the_offset_is_the_gradient(loss):
    losses = _losses(Metric.EUCLIDEAN)

    loss(losses)

    above, below = _losses(Metric.EUCLIDEAN), _losses(Metric.EUCLIDEAN)
    above.offset, below.offset = 0.21, 0.19
    assert losses.offset_slope == pytest.approx((loss(above) - loss(below)) / 0.02, abs=2e-3)


def test_slopes_of_several_losses_add_up():
    both, first, second = (_losses(Metric.INNER_PRODUCT) for _ in range(3))

    _pairs(both), _softmax(both), _pairs(first), _softmax(second)

    np.testing.assert_allclose(both.source_slopes, first.source_slopes + second.source_slopes, rtol=1e-6)


def _moved(metric: Metric, loss, name: str, place: tuple[int, ...], step: float) -> float:
    losses = _losses(metric)
    getattr(losses, name)[place] += step
    return loss(losses)
