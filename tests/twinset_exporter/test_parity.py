from __future__ import annotations

import numpy as np
import pytest

from twinset_exporter.errors import ExportError
from twinset_exporter.parity import compare, gate

ROWS = np.array([[3.0, 0.0, 4.0], [0.0, 5.0, 10.0]], np.float32)


def test_the_figures_are_those_of_the_worst_component_and_the_worst_picture() -> None:
    given = ROWS.copy()
    given[1] = [0.0, 10.0, 5.0]
    (parity,) = compare({"features": ROWS}, {"features": given})
    assert parity.largest_difference == 5.0
    assert parity.scale == 10.0
    assert parity.share == 0.5
    assert parity.smallest_cosine == pytest.approx(100 / 125)


def test_equal_outputs_pass() -> None:
    gate(compare({"features": ROWS}, {"features": ROWS}))


def test_rounding_passes() -> None:
    gate(compare({"features": ROWS}, {"features": ROWS * np.float32(1 + 1e-6)}))


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(ROWS + np.float32([0, 0, 2e-3]), id="one component off by 2e-4 of the scale"),
        pytest.param(ROWS[::-1], id="swapped rows"),
        pytest.param(np.where(ROWS == 4, np.nan, ROWS), id="NaN"),
        pytest.param(np.zeros_like(ROWS), id="zeros"),
        pytest.param(ROWS * np.float32(1.001), id="another length"),
    ],
)
def test_another_answer_is_refused(given: np.ndarray) -> None:
    with pytest.raises(ExportError, match=r"refused.*features"):
        gate(compare({"features": ROWS}, {"features": given}))


def test_a_small_component_turned_is_refused_by_the_cosine() -> None:
    # One large picture sets the scale; a small one may be wholly wrong within 1e-4 of it.
    expected = np.array([[1e5, 0], [1, 0]], np.float32)
    given = np.array([[1e5, 0], [0, 1]], np.float32)
    with pytest.raises(ExportError, match="cosine 0"):
        gate(compare({"features": expected}, {"features": given}))


def test_a_network_without_features_is_refused() -> None:
    zeros = np.zeros_like(ROWS)
    with pytest.raises(ExportError, match="refused"):
        gate(compare({"features": zeros}, {"features": zeros}))
