from __future__ import annotations

import numpy as np
import pytest

from twinset_exporter.training.compatibility import calibration


def _sample(count: int = 40_000, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Return scores whose log odds are twice the score minus one where half of the pairs are true, and truths."""
    rng = np.random.default_rng(0)
    truths = rng.random(count) < share
    # Normal scores of both kinds with one variance have log odds that are linear in the score.
    scores = rng.normal(np.where(truths, 1.0, 0.0), np.sqrt(0.5))
    return scores, truths


def test_scale_and_shift_are_found():
    found = calibration.fit(*_sample())

    assert found.scale == pytest.approx(2, rel=0.05)
    assert found.shift == pytest.approx(-1, rel=0.05)


def test_they_hold_for_half_whatever_the_share_of_the_sample():
    found = calibration.fit(*_sample(share=0.1))

    assert found.scale == pytest.approx(2, rel=0.1)
    assert found.shift == pytest.approx(-1, rel=0.1)


def test_scores_far_from_zero_converge():
    scores, truths = _sample()

    found = calibration.fit(scores + 300, truths)

    assert found.scale == pytest.approx(2, rel=0.05)
    assert found.shift == pytest.approx(-601, rel=0.05)


def test_scores_that_mean_nothing_get_hardly_any_say():
    scores, truths = _sample()

    found = calibration.fit(-scores, truths)

    assert found.scale == 0.01
    assert abs(found.shift) < 0.1


def test_a_separable_sample_stays_finite():
    found = calibration.fit(np.array([-1.0, -2.0, 1.0, 2.0]), np.array([False, False, True, True]))

    assert 0 < found.scale < 100


def test_one_kind_alone_cannot_calibrate():
    with pytest.raises(ValueError, match="true pairs and others"):
        calibration.fit(np.array([1.0, 2.0]), np.array([True, True]))


def test_log_odds_of_a_share():
    assert calibration.log_odds(0.5) == 0
    assert calibration.log_odds(0.9) == pytest.approx(np.log(9))
