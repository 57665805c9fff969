from __future__ import annotations

import numpy as np
import pytest

from twinset_exporter.measures.calibration import reliability


def test_bins_hold_equally_many_by_rising_probability():
    found = reliability(np.array([True, False, True, False, True]), np.array([0.9, 0.1, 0.8, 0.2, 0.3]), bins=2)

    assert found.counts.tolist() == [3, 2]
    np.testing.assert_allclose(found.predicted, [0.2, 0.85])
    np.testing.assert_allclose(found.observed, [1 / 3, 1])
    assert found.error == pytest.approx((3 * (1 / 3 - 0.2) + 2 * 0.15) / 5)


def test_what_comes_true_as_said_has_no_error_and_what_is_shifted_has():
    rng = np.random.default_rng(0)
    chances = rng.uniform(0.1, 0.7, 200_000)
    truths = rng.random(len(chances)) < chances

    assert reliability(truths, chances).error < 0.005
    assert reliability(truths, chances + 0.1).error == pytest.approx(0.1, abs=0.005)


def test_there_are_no_more_bins_than_predictions():
    assert len(reliability(np.array([True, False]), np.array([0.5, 0.5])).counts) == 2


@pytest.mark.parametrize("chances", [[], [1.1], [np.nan]])
def test_what_is_no_probability_is_refused(chances):
    with pytest.raises(ValueError, match="0 to 1"):
        reliability(np.ones(len(chances), bool), np.array(chances))
