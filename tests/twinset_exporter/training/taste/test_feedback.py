from __future__ import annotations

import numpy as np

from twinset_exporter.datasets.interactions import Interactions
from twinset_exporter.training.taste.feedback import Feedback

RATINGS = Interactions(
    np.array([1, 0, 1, 1], np.int32),
    np.array([2, 0, 0, 1], np.int32),
    np.array([5, 4, 3, 4], np.float32),
    None,
    ("ann", "bob", "cy"),
    ("x", "y", "z", "w"),
)


def test_a_value_from_the_bound_on_is_a_like() -> None:
    feedback = Feedback.of(RATINGS, 4)
    users, items = feedback.acts(liked=True)
    assert list(zip(users.tolist(), items.tolist(), strict=True)) == [(0, 0), (1, 2), (1, 1)]
    users, items = feedback.acts(liked=False)
    assert list(zip(users.tolist(), items.tolist(), strict=True)) == [(1, 0)]


def test_users_and_items_without_acts_count() -> None:
    feedback = Feedback.of(RATINGS, 4)
    assert (feedback.user_count, feedback.item_count) == (3, 4)
    assert feedback.starts.tolist() == [0, 1, 4, 4]


def test_rows_of_users_come_with_the_place_of_their_user() -> None:
    feedback = Feedback.of(RATINGS, 4)
    place, rows = feedback.rows_of(np.array([2, 1, 0]))
    assert place.tolist() == [1, 1, 1, 2]
    assert feedback.items[rows].tolist() == [2, 0, 1, 0]


def test_a_part_keeps_the_numbers_of_users_and_items() -> None:
    feedback = Feedback.of(RATINGS, 4)
    part = feedback.only(feedback.items == 0)
    assert part.users().tolist() == [0, 1]
    assert part.liked.tolist() == [True, False]
    assert (part.user_count, part.item_count) == (3, 4)
