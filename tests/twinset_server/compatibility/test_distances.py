"""Distances between sides, against a loop over all of their vectors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.catalog import distance
from twinset.contract import Metric
from twinset_server.compatibility import distances
from twinset_server.compatibility.distances import pair_distances, side_distances
from twinset_server.compatibility.sides import SideVectors
from twinset_server.domain import Float32Array, ItemRows

METRICS = (Metric.EUCLIDEAN, Metric.INNER_PRODUCT)


def sides_of(counts: list[int], seed: int) -> tuple[SideVectors, list[Float32Array]]:
    values = np.random.default_rng(seed).standard_normal((sum(counts), 3)).astype(np.float32)
    owners = np.repeat(np.arange(len(counts)), counts)
    rows = ItemRows(values, owners, [""] * len(values))
    return SideVectors.of_items(rows, len(counts)), [values[owners == side] for side in range(len(counts))]


def nearest(metric: Metric, source: Float32Array, target: Float32Array) -> float:
    return min((distance(a, b, metric) for a in source for b in target), default=float("nan"))


counts = st.lists(st.integers(0, 3), min_size=1, max_size=6)


@pytest.mark.parametrize("metric", METRICS)
@given(left=counts, right=counts, seed=st.integers(0, 99))
@settings(max_examples=60)
def test_the_distance_of_a_pair_is_that_of_its_nearest_vectors(
    metric: Metric, left: list[int], right: list[int], seed: int
) -> None:
    sources, by_source = sides_of(left, seed)
    targets, by_target = sides_of(right, seed + 1)
    pairs = np.divmod(np.arange(len(left) * len(right)), len(right))
    expected = [nearest(metric, by_source[a], by_target[b]) for a, b in zip(*pairs, strict=True)]
    found = pair_distances(metric, sources, targets, *pairs)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_many_vectors_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sources, _ = sides_of([3, 1, 2, 3, 1], 0)
    targets, _ = sides_of([2, 3, 3], 1)
    pairs = np.divmod(np.arange(15), 3)
    whole = pair_distances(Metric.EUCLIDEAN, sources, targets, *pairs)
    for rows in (1, 7, 20):
        monkeypatch.setattr(distances, "_ROWS", rows)
        np.testing.assert_array_equal(pair_distances(Metric.EUCLIDEAN, sources, targets, *pairs), whole)


@pytest.mark.parametrize("metric", METRICS)
def test_all_with_all_are_the_distances_of_each_pair(metric: Metric) -> None:
    sources, by_source = sides_of([1, 3, 2], 0)
    targets, by_target = sides_of([2, 1], 1)
    expected = [[nearest(metric, a, b) for b in by_target] for a in by_source]
    np.testing.assert_allclose(side_distances(metric, sources, targets), expected, rtol=1e-9)
    taken = sources.taken(np.array([2, 0]))
    np.testing.assert_allclose(side_distances(metric, taken, targets), [expected[2], expected[0]], rtol=1e-9)
    none = targets.taken(np.array([], np.intp))
    assert side_distances(metric, sources, none).shape == (3, 0)
