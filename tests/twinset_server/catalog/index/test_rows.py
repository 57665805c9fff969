import numpy as np

from twinset_server.catalog.index.rows import Row, Rows


def row(key: int) -> Row:
    return Row(key, (f"item {key}", ""), np.full(2, key, np.float32))


def test_a_view_does_not_see_what_is_appended_later() -> None:
    early = Rows.empty(2).plus([row(1)])
    late = early.plus([row(2), row(5)])
    assert (early.length, late.length) == (1, 3)
    np.testing.assert_array_equal(late.vectors[:3, 0], [1, 2, 5])
    assert late.labels == [("item 1", ""), ("item 2", ""), ("item 5", "")]


def test_a_row_lives_for_those_who_search_before_its_end() -> None:
    rows = Rows.empty(2).plus([row(1), row(2)])
    assert rows.bury(np.array([2]), sequence=7) == 1
    np.testing.assert_array_equal(rows.alive(6), [True, True])
    np.testing.assert_array_equal(rows.alive(7), [True, False])


def test_keys_that_are_not_here_are_not_buried() -> None:
    rows = Rows.empty(2).plus([row(2), row(4)])
    assert rows.bury(np.array([1, 3, 5]), sequence=7) == 0
    assert rows.alive(7).all()


def test_growing_past_the_room_keeps_every_column() -> None:
    rows = Rows.empty(2)
    for key in range(1, 300):
        rows = rows.plus([row(key)])
        rows.bury(np.array([key - 1]), sequence=key)
    np.testing.assert_array_equal(rows.keys[:299], np.arange(1, 300))
    np.testing.assert_array_equal(rows.squares[:299], 2 * np.arange(1, 300) ** 2)
    np.testing.assert_array_equal(rows.alive(1000), [False] * 298 + [True])


def test_a_tail_is_a_copy() -> None:
    rows = Rows.empty(2).plus([row(1), row(2), row(3)])
    tail = rows.tail(1)
    rows.bury(np.array([3]), sequence=9)
    np.testing.assert_array_equal(tail.keys, [2, 3])
    assert tail.labels == [("item 2", ""), ("item 3", "")]
    assert tail.alive(9).all()
