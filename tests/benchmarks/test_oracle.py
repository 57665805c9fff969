from __future__ import annotations

import numpy as np

from benchmarks.oracle import Oracle
from twinset.contract import Metric

ROWS = np.array([[3, 0], [1, 0], [0, 1], [1, 0], [-1, 0]], np.float32)
QUERIES = np.array([[1, 0]], np.float32)


def test_the_largest_inner_products_are_nearest() -> None:
    oracle = Oracle(ROWS, QUERIES, Metric.INNER_PRODUCT)
    assert oracle.recall(0, [0], 1) == 1
    assert oracle.recall(0, [0, 2], 2) == 0.5


def test_the_smallest_distances_are_nearest_and_equal_ones_are_as_good() -> None:
    oracle = Oracle(ROWS, QUERIES, Metric.EUCLIDEAN)
    assert oracle.recall(0, [1], 1) == oracle.recall(0, [3], 1) == 1
    assert oracle.recall(0, [0], 1) == 0


def test_what_may_not_be_an_answer_is_none_and_leaves_room_for_others() -> None:
    oracle = Oracle(ROWS, QUERIES, Metric.INNER_PRODUCT)
    may = np.array([False, False, True, False, True])
    assert oracle.recall(0, [2, 4], 3, may) == 1
    assert oracle.recall(0, [0, 2], 2, may) == 0.5
    assert oracle.recall(0, [2], 2, may) == 0.5


def test_nothing_is_right_where_nothing_may_be_an_answer() -> None:
    oracle = Oracle(ROWS, QUERIES, Metric.COSINE)
    none = np.zeros(5, bool)
    assert oracle.recall(0, [], 10, none) == 1
    assert oracle.recall(0, [2], 10, none) == 0
