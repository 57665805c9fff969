from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes.taste import held_out
from twinset_exporter.training.taste import yardsticks
from twinset_exporter.training.taste.feedback import Feedback


def test_ease_predicts_each_item_from_the_others_by_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    acts = (rng.random((30, 6)) < 0.4).astype(float)
    weights = yardsticks.ease_weights(acts, ridge=3.0)
    for item in range(6):
        others = np.delete(acts, item, axis=1)
        expected = np.linalg.solve(others.T @ others + 3.0 * np.eye(5), others.T @ acts[:, item])
        np.testing.assert_allclose(np.delete(weights[:, item], item), expected, atol=1e-10)
        assert weights[item, item] == 0


def test_ials_ends_where_its_loss_is_least_for_a_user() -> None:
    rng = np.random.default_rng(1)
    wanted, items = (rng.random((1, 8)) < 0.5).astype(float), rng.normal(size=(8, 3))
    (found,) = yardsticks._solved(wanted, items, 0.2, 0.1)
    seen = wanted[0] > 0

    def loss(user: NDArray[np.float64]) -> float:
        scores = items @ user
        strength = 0.1 * (seen.sum() + 0.2 * 8)
        return float(((1 - scores[seen]) ** 2).sum() + 0.2 * (scores**2).sum() + strength * (user**2).sum())

    for step in np.eye(3) * 1e-3:
        assert loss(found) < min(loss(found + step), loss(found - step))


@pytest.mark.parametrize("model", [yardsticks.ease, yardsticks.ials])
def test_yardsticks_find_a_planted_taste(model: Callable[..., NDArray[np.float64]]) -> None:
    data = held_out()
    scores = model(data.train, ridge=5.0) if model is yardsticks.ease else model(data.train, dimension=8)
    assert data.rank_by(scores.__getitem__).mean_auc() > 0.95


def test_an_act_that_is_no_like_has_its_weight() -> None:
    feedback = Feedback.of_acts(np.array([0, 0]), np.array([1, 2]), np.array([True, False]), 1, 3)
    np.testing.assert_array_equal(yardsticks.matrix(feedback, 0.5), [[0, 1, 0.5]])
    np.testing.assert_array_equal(yardsticks.popularity(feedback), [[0, 1, 0]])
