import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from twinset_server.catalog.index.coarse import MAX_DIMENSION, coarse_of

COMPONENTS = st.floats(-(2.0**50), 2.0**50, width=32)


@given(
    rows=arrays.arrays(np.float32, st.tuples(st.integers(1, 40), st.just(24)), elements=COMPONENTS),
    query=arrays.arrays(np.float32, 24, elements=COMPONENTS),
)
def test_no_product_is_farther_off_than_is_said(rows: np.ndarray, query: np.ndarray) -> None:
    assume(coarse_of(rows).takes(query))
    found, error = coarse_of(rows).inner(query, slice(0, len(rows)))
    exact = rows.astype(np.float64) @ query.astype(np.float64)
    assert np.abs(found - exact).max() <= error


def test_the_error_of_unit_vectors_is_small() -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((5000, 512)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found, error = coarse_of(rows).inner(rows[7], slice(0, 5000))
    assert error < 0.025
    assert np.abs(found - rows @ rows[7]).max() < 0.002


def test_picked_rows_have_the_products_that_they_have_among_all() -> None:
    rng = np.random.default_rng(2)
    coarse = coarse_of(rng.standard_normal((9000, 16)).astype(np.float32))
    query = rng.standard_normal(16).astype(np.float32)
    picked = rng.permutation(9000)[:8500]
    every, _ = coarse.inner(query, slice(0, 9000))
    some, _ = coarse.inner(query, picked)
    np.testing.assert_array_equal(some, every[picked])


def test_rows_that_leave_float32_can_not_be_used() -> None:
    query = np.array([1, 2], np.float32)
    rows = coarse_of(np.array([[1e15, 0]], np.float32))
    assert rows.takes(query)
    assert not rows.takes(query * np.float32(1e30))
    assert not rows.takes(query * np.float32(1e-30))
    assert not coarse_of(np.array([[1e30, 0]], np.float32)).takes(query)


@pytest.mark.parametrize("value", [127, -127])
def test_the_largest_dimension_does_not_overflow(value: int) -> None:
    rows = np.full((2, MAX_DIMENSION), value, np.float32)
    found, error = coarse_of(rows).inner(rows[0], slice(0, 2))
    assert abs(found[1] - 127.0**2 * MAX_DIMENSION) <= error


def test_products_of_several_queries_are_those_of_each() -> None:
    rng = np.random.default_rng(3)
    rows = coarse_of(rng.standard_normal((300, 33)).astype(np.float32))
    queries = rng.standard_normal((5, 33)).astype(np.float32)
    together, error = rows.inner_of_each(queries, slice(10, 300))
    for query, found in zip(queries, together, strict=True):
        alone, own_error = rows.inner(query, slice(10, 300))
        np.testing.assert_allclose(found, alone, rtol=1e-6)
        assert own_error <= error
