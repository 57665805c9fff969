import json

import numpy as np
import pytest

from twinset.contract import Metric
from twinset_server.catalog.index.coding import Coding, default_dtype
from twinset_server.domain import Dtype, Float32Array, Space


def factors(count: int, dimension: int = 9) -> Float32Array:
    """Return rows of unit length with a bias beside, as a model of taste has them."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((count, dimension)).astype(np.float32)
    rows[:, :-1] /= np.linalg.norm(rows[:, :-1], axis=1, keepdims=True)
    rows[:, -1] -= 7
    return rows


def test_inner_products_become_distances_that_order_rows_alike() -> None:
    rows = factors(300)
    coding = Coding.of(Dtype.F32, rows, Metric.INNER_PRODUCT)
    coded = coding.rows(rows).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(coded, axis=1), coding.length, rtol=1e-6)
    for query in (rows[0], -rows[1], 1e-20 * rows[2], 1e20 * rows[3]):
        asked = coding.query(query, Metric.INNER_PRODUCT).astype(np.float64)
        assert asked[-1] == 0
        assert np.linalg.norm(asked) == pytest.approx(coding.length, rel=1e-6)
        apart = np.square(coded - asked).sum(axis=1)
        scores = rows.astype(np.float64) @ query.astype(np.float64)
        np.testing.assert_array_equal(np.argsort(apart)[:50], np.argsort(-scores)[:50])


def test_a_query_of_zeros_stays_one() -> None:
    coding = Coding.of(Dtype.F32, factors(20), Metric.INNER_PRODUCT)
    assert not coding.query(np.zeros(9, np.float32), Metric.INNER_PRODUCT).any()


def test_what_all_rows_have_in_common_takes_no_bits_of_what_differs() -> None:
    rows = factors(300)
    coding = Coding.of(Dtype.BF16, rows, Metric.INNER_PRODUCT)
    assert coding.length < 0.7 * np.linalg.norm(rows, axis=1).max()
    assert np.abs(coding.rows(rows)[:, :-1].mean(axis=0)).max() < 1e-5


def test_longer_rows_are_not_added_to_a_graph_of_inner_products() -> None:
    rows = factors(100)
    coding = Coding.of(Dtype.BF16, rows, Metric.INNER_PRODUCT)
    assert coding.fits(rows)
    assert not coding.fits(2 * rows)


def test_a_coding_is_the_same_after_a_manifest() -> None:
    coding = Coding.of(Dtype.F32, factors(50), Metric.INNER_PRODUCT)
    assert tuple(json.loads(json.dumps(coding.centre))) == coding.centre


def test_small_inner_products_are_held_as_they_are() -> None:
    assert default_dtype(Space("taste", 64, Metric.INNER_PRODUCT, "a" * 64)) is Dtype.F32
    assert default_dtype(Space("taste", 512, Metric.INNER_PRODUCT, "a" * 64)) is Dtype.BF16
    assert default_dtype(Space("visual", 64, Metric.COSINE, "a" * 64)) is Dtype.BF16
