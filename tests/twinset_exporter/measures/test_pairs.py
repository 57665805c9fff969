from __future__ import annotations

import numpy as np
import pytest

from twinset_exporter.measures import pairs


def test_auc_is_the_share_of_couples_in_order():
    positive, negative = np.array([3.0, 1.0]), np.array([2.0, 0.0, 2.0])

    assert pairs.auc(positive, negative) == pytest.approx(4 / 6)


def test_a_tie_counts_half():
    assert pairs.auc(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    assert pairs.auc(np.array([1.0, 2.0]), np.array([1.0, 1.0])) == 0.75


def test_auc_refuses_no_scores_and_nan():
    with pytest.raises(ValueError, match="negative"):
        pairs.auc(np.array([1.0]), np.array([]))
    with pytest.raises(ValueError, match="positive"):
        pairs.auc(np.array([np.nan]), np.array([1.0]))


def test_log_loss_is_that_of_the_probabilities():
    truths, chances = np.array([True, False, True]), np.array([0.9, 0.2, 0.5])
    expected = -np.log([0.9, 0.8, 0.5])

    assert pairs.log_loss(truths, np.log(chances / (1 - chances))) == pytest.approx(expected.mean())
    weighted = pairs.log_loss(truths, np.log(chances / (1 - chances)), np.array([1.0, 2.0, 1.0]))
    assert weighted == pytest.approx((expected * [1, 2, 1]).sum() / 4)


def test_log_loss_of_certain_and_wrong_is_finite():
    assert pairs.log_loss(np.array([True]), np.array([-800.0])) == pytest.approx(800)


def test_the_best_constant_is_the_share_of_true_pairs():
    truths = np.array([True, False, False, False])

    assert pairs.constant_log_loss(truths) == pytest.approx(pairs.log_loss(truths, np.full(4, np.log(1 / 3))))
    assert pairs.constant_log_loss(truths, np.array([3.0, 1, 1, 1])) == pytest.approx(np.log(2))
    assert pairs.constant_log_loss(np.array([True])) == 0


def test_accuracy_counts_from_one_half():
    assert pairs.accuracy(np.array([True, False, True]), np.array([0.6, 0.4, 0.5])) == pytest.approx(2 / 3)
