from __future__ import annotations

import numpy as np
import pytest

from twinset.contract import Metric
from twinset_exporter.measures import neighbours
from twinset_exporter.measures.neighbours import nearest, precision

RANDOM = np.random.default_rng(0)
INDEX = RANDOM.standard_normal((60, 5), np.float32)
QUERIES = RANDOM.standard_normal((7, 5), np.float32)


def distances(queries: np.ndarray, index: np.ndarray, metric: Metric) -> np.ndarray:
    """Return `[Q, N]` by the definitions."""
    if metric is Metric.EUCLIDEAN:
        return np.square(queries[:, None] - index[None]).sum(axis=2)
    if metric is Metric.COSINE:
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        index = index / np.linalg.norm(index, axis=1, keepdims=True)
    return -queries @ index.T


@pytest.mark.parametrize("metric", list(Metric))
def test_neighbours_are_those_of_the_definition(metric: Metric) -> None:
    wanted = np.argsort(distances(QUERIES, INDEX, metric), axis=1)[:, :6]
    np.testing.assert_array_equal(nearest(INDEX, QUERIES, 6, metric), wanted)


@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.EUCLIDEAN])
def test_without_queries_each_row_asks_among_the_others(monkeypatch: pytest.MonkeyPatch, metric: Metric) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", 16)
    table = distances(INDEX, INDEX, metric)
    np.fill_diagonal(table, np.inf)
    np.testing.assert_array_equal(nearest(INDEX, None, 4, metric), np.argsort(table, axis=1)[:, :4])


def test_of_equal_rows_the_first_comes_first() -> None:
    index = np.array([[0, 1], [1, 0], [1, 0], [1, 0]], np.float32)
    assert nearest(index, index[1:2], 3, Metric.COSINE).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(("queries", "k"), [(QUERIES, 61), (None, 60), (QUERIES, 0)])
def test_more_neighbours_than_there_are_is_refused(queries: np.ndarray | None, k: int) -> None:
    with pytest.raises(ValueError, match="neighbours in an index of 60"):
        nearest(INDEX, queries, k, Metric.COSINE)


def test_precision_is_the_share_of_classmates() -> None:
    found = np.array([[0, 1], [2, 0]])
    assert precision(found, np.array([7, 7, 8]), np.array([7, 8])) == 0.75
