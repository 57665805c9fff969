import numpy as np
import pytest

from twinset_server.catalog.index import rows as rows_module
from twinset_server.catalog.index.rows import Delta, Rows


def plus(rows: Delta, *keys: int) -> Delta:
    vectors = np.array([[key, key] for key in keys], np.float32)
    owners = 10 * np.array(keys)
    return rows.plus(np.array(keys), vectors, owners, [(f"item {key}", "") for key in keys], owners.astype(np.int32))


def test_a_view_does_not_see_what_is_appended_later() -> None:
    early = plus(Delta.empty(2), 1)
    late = plus(early, 2, 5)
    assert (early.length, late.length) == (1, 3)
    np.testing.assert_array_equal(late.vectors[:3, 0], [1, 2, 5])
    assert late.labels == [("item 1", ""), ("item 2", ""), ("item 5", "")]


def test_a_row_lives_for_those_who_search_before_its_end() -> None:
    rows = plus(Delta.empty(2), 1, 2)
    assert rows.bury(np.array([2]), sequence=7) == 1
    np.testing.assert_array_equal(rows.alive(6), [True, True])
    np.testing.assert_array_equal(rows.alive(7), [True, False])


def test_a_row_that_is_buried_twice_died_the_first_time() -> None:
    rows = plus(Delta.empty(2), 1, 2)
    rows.bury(np.array([2]), sequence=7)
    assert rows.bury(np.array([2]), sequence=9) == 0
    np.testing.assert_array_equal(rows.alive(8), [True, False])


def test_keys_that_are_not_here_are_not_buried() -> None:
    rows = plus(Delta.empty(2), 2, 4)
    assert rows.bury(np.array([1, 3, 5]), sequence=7) == 0
    assert rows.alive(7).all()
    np.testing.assert_array_equal(rows.holds(np.array([1, 2, 3, 4, 5])), [False, True, False, True, False])


def test_no_rows_hold_nothing() -> None:
    rows: Rows = Delta.empty(2)
    assert rows.bury(np.array([1]), sequence=1) == 0


def test_growing_past_the_room_keeps_every_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_ROOM_BYTES", 512)
    rows = Delta.empty(2)
    for key in range(1, 300):
        rows = plus(rows, key)
        rows.bury(np.array([key - 1]), sequence=key)
    np.testing.assert_array_equal(rows.keys[:299], np.arange(1, 300))
    np.testing.assert_array_equal(rows.squares[:299], 2 * np.arange(1, 300) ** 2)
    np.testing.assert_array_equal(rows.alive(1000), [False] * 298 + [True])


def test_what_is_left_above_a_key_is_a_copy_of_the_living() -> None:
    rows = plus(Delta.empty(2), 1, 2, 3, 4)
    rows.bury(np.array([3]), sequence=8)
    left = rows.alive_above(1, 8)
    rows.bury(np.array([4]), sequence=9)
    np.testing.assert_array_equal(left.keys, [2, 4])
    assert left.labels == [("item 2", ""), ("item 4", "")]
    assert left.alive(9).all()


def test_what_is_left_after_a_key_stands_where_it_stood_and_goes_on_to_grow() -> None:
    rows = plus(Delta.empty(2), 1, 2, 4)
    rows.bury(np.array([4]), sequence=8)
    left = rows.after(1)
    assert np.shares_memory(left.vectors, rows.vectors)
    grown = plus(left, 9)
    np.testing.assert_array_equal(grown.keys[: grown.length], [2, 4, 9])
    np.testing.assert_array_equal(grown.alive(8), [True, False, True])
    assert (grown.labels, rows.length) == ([("item 2", ""), ("item 4", ""), ("item 9", "")], 3)
    assert plus(rows.after(99), 100).length == 1


def test_what_is_left_is_copied_before_its_room_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_ROOM_BYTES", 40 * 2 * 4)
    rows = plus(plus(Delta.empty(2), 1), *range(2, 31))
    rows.bury(np.array([30]), sequence=3)
    left = rows.after(29)
    assert not np.shares_memory(left.vectors, rows.vectors)
    np.testing.assert_array_equal(left.alive(3), [False])
    np.testing.assert_array_equal(plus(left, 31).keys[:2], [30, 31])
