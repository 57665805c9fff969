import numpy as np
import pytest

from twinset_server.catalog.columns.codes import CodesWriter
from twinset_server.catalog.columns.table import Columns, RowPlaces


def columns_of(*keys: int) -> Columns:
    living = CodesWriter(np.ones(len(keys), np.int32)).publish()
    return Columns(0, len(keys), np.array(keys, np.int64), {}, living, 0)


@pytest.mark.parametrize(
    ("owners", "places"),
    [([2, 3, 5], [0, 1, 2]), ([5, 7], [2, 3]), ([3, 3, 5], [1, 1, 2]), ([7, 2], [3, 0]), ([], []), ([9], [4])],
)
def test_rows_are_as_true_as_their_items(owners: list[int], places: list[int]) -> None:
    columns = columns_of(2, 3, 5, 7, 9)
    found = RowPlaces.of(columns, np.array(owners, np.int64))
    assert len(found) == len(owners)
    for mask in np.eye(5, dtype=np.bool_):
        np.testing.assert_array_equal(found.truth(mask), mask[places])


def test_rows_in_the_order_of_their_items_copy_nothing() -> None:
    mask = np.array([True, False, True])
    assert np.shares_memory(RowPlaces.of(columns_of(2, 3, 5), np.array([3, 5])).truth(mask), mask)


def test_rows_of_items_that_are_gone_have_a_truth() -> None:
    columns = columns_of(2, 5)
    assert len(RowPlaces.of(columns, np.array([1, 2, 3, 5, 6])).truth(np.array([True, False]))) == 5
    assert len(RowPlaces.of(columns_of(), np.array([1, 2])).truth(np.zeros(0, np.bool_))) == 2


@pytest.mark.parametrize("gap", [1, 3, 100])
@pytest.mark.parametrize("count", [5, 4000])
def test_items_are_found_by_their_keys_however_many_are_asked_for(gap: int, count: int) -> None:
    rng = np.random.default_rng([gap, count])
    keys = np.unique(rng.integers(1, 3000 * gap, 3000))
    columns = columns_of(*keys.tolist())
    wanted = rng.choice(keys, count)
    np.testing.assert_array_equal(columns.keys[columns.places(wanted)], wanted)
    beside = columns.places(np.concatenate([wanted, [0, keys[-1] + 5, keys[7] + 1]]))
    assert ((beside >= 0) & (beside < len(keys))).all()
