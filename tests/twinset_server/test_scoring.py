"""Distances become scores, and only vectors that belong get in."""

import numpy as np
import pytest

from twinset_server.domain import Metric, Space, Vector
from twinset_server.errors import BadVector, FingerprintMismatch
from twinset_server.scoring import admit, score_of

MINE, OTHER = "a" * 64, "b" * 64
COSINE = Space("visual", 2, Metric.COSINE, MINE, model="m")
EUCLIDEAN = Space("own", 2, Metric.EUCLIDEAN, MINE)


def _vector(*values: float, fingerprint: str | None = MINE) -> Vector:
    return Vector("visual", np.array(values, dtype=np.float32), fingerprint)


@pytest.mark.parametrize(
    ("metric", "distance", "score"),
    [(Metric.COSINE, 0.25, 0.75), (Metric.EUCLIDEAN, 4.0, -4.0), (Metric.INNER_PRODUCT, -3.0, 3.0)],
)
def test_a_score_is_higher_where_a_distance_is_lower(metric: Metric, distance: float, score: float) -> None:
    assert score_of(metric, distance) == score


def test_a_vector_of_a_cosine_space_is_scaled_to_unit_length() -> None:
    assert admit(_vector(3, 4), COSINE, "v").tolist() == pytest.approx([0.6, 0.8])


def test_a_vector_with_an_enormous_length_is_scaled_too() -> None:
    assert admit(_vector(3e38, 3e38), COSINE, "v").tolist() == pytest.approx([0.5**0.5] * 2)


def test_a_vector_of_another_metric_stays_as_it_is() -> None:
    assert admit(_vector(3, 4), EUCLIDEAN, "v").tolist() == [3, 4]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((1,), "has 1 components"),
        ((1, 2, 3), "has 3 components"),
        ((1, float("nan")), "component 1"),
        ((float("inf"), 1), "component 0"),
        ((0, 0), "length 0"),
    ],
)
def test_a_bad_vector_is_refused_by_field(values: tuple[float, ...], text: str) -> None:
    with pytest.raises(BadVector, match=text) as caught:
        admit(_vector(*values), COSINE, "examples[0].vector")
    assert caught.value.field == "examples[0].vector.values"


def test_a_zero_vector_is_welcome_outside_cosine_spaces() -> None:
    assert admit(_vector(0, 0), EUCLIDEAN, "v").tolist() == [0, 0]


def test_a_vector_of_another_model_is_refused_with_both_named() -> None:
    with pytest.raises(FingerprintMismatch) as caught:
        admit(_vector(1, 0, fingerprint=OTHER), COSINE, "v")
    assert MINE in caught.value.message
    assert OTHER in caught.value.message


def test_a_vector_without_a_fingerprint_is_refused_where_a_model_fills_the_space() -> None:
    with pytest.raises(BadVector, match="fingerprint"):
        admit(_vector(1, 0, fingerprint=None), COSINE, "v")


def test_a_vector_without_a_fingerprint_is_welcome_in_an_external_space() -> None:
    assert admit(_vector(1, 0, fingerprint=None), EUCLIDEAN, "v").tolist() == [1, 0]
