import numpy as np
import pytest

from fakes.catalog import distance
from twinset.contract import Metric
from twinset_server.catalog.index.distance import coarse_ranks, distances, ranks
from twinset_server.catalog.index.rows import Delta, Rows
from twinset_server.catalog.index.selection import Ranking


def rows_of(vectors: np.ndarray) -> Rows:
    numbers = np.arange(len(vectors))
    labels = [(str(number), "") for number in numbers]
    return Delta.of(numbers, vectors, numbers, labels, numbers.astype(np.int32))


def unit_rows(count: int, dimension: int) -> np.ndarray:
    vectors = np.random.default_rng(1).standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("metric", Metric)
def test_distances_are_those_of_the_definition(metric: Metric) -> None:
    vectors = unit_rows(3000, 48)
    expected = [distance(vectors[7], vector, metric) for vector in vectors]
    np.testing.assert_allclose(distances(vectors, vectors[7], metric), expected, atol=1e-6)


@pytest.mark.parametrize("ranking", [ranks, coarse_ranks])
@pytest.mark.parametrize("metric", Metric)
def test_ranks_order_rows_as_their_distances_do_beyond_the_slack(metric: Metric, ranking: Ranking) -> None:
    vectors = unit_rows(2000, 64) * (1 if metric is Metric.COSINE else 7)
    ranked = ranking(rows_of(vectors), slice(None), vectors[3], metric)
    by_distance = np.argsort(distances(vectors, vectors[3], metric))
    falls = np.maximum.accumulate(ranked.values[by_distance]) - ranked.values[by_distance]
    assert falls.max() <= ranked.slack


@pytest.mark.parametrize("ranking", [ranks, coarse_ranks])
@pytest.mark.parametrize("metric", [Metric.EUCLIDEAN, Metric.INNER_PRODUCT])
def test_components_whose_squares_leave_float32_still_rank(metric: Metric, ranking: Ranking) -> None:
    vectors = np.array([[1e30, 0], [-3e30, 1], [2e30, 5], [1, 1]], np.float32)
    query = np.array([2e30, 1e30], np.float32)
    order = np.argsort(ranking(rows_of(vectors), slice(None), query, metric).values)
    expected = np.argsort([distance(query, vector, metric) for vector in vectors])
    np.testing.assert_array_equal(order, expected)


def test_equal_rows_are_equally_far_wherever_they_stand() -> None:
    vectors = np.repeat(unit_rows(1, 517), 3000, axis=0)
    assert len(np.unique(distances(vectors, unit_rows(2, 517)[1], Metric.COSINE))) == 1


def test_a_vector_is_at_distance_zero_of_itself() -> None:
    vectors = unit_rows(50, 1280)
    assert all(distances(vectors, vector, Metric.COSINE).min() == 0 for vector in vectors)
