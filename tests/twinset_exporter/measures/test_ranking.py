from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from twinset_exporter.measures import ranking

NOTHING = np.empty(0, np.int64), np.empty(0, np.int64)


def acts(*pairs: tuple[int, int]) -> ranking.Acts:
    users, items = np.array(pairs).T
    return users, items


def scores(*rows: list[float]) -> ranking.Scores:
    table = np.array(rows)
    return lambda users: table[users]


def test_auc_is_the_share_of_pairs_in_order_and_a_tie_counts_half() -> None:
    assert ranking.auc(np.array([3.0, 1.0]), np.array([2.0, 1.0, 0.0])) == pytest.approx((3 + 1.5) / 6)


def test_auc_agrees_with_all_pairs_counted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    relevant, others = rng.integers(0, 9, 30).astype(float), rng.integers(0, 9, 70).astype(float)
    pairs = relevant[:, np.newaxis] - others
    assert ranking.auc(relevant, others) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_what_a_user_was_trained_on_is_no_candidate() -> None:
    found = ranking.rank(scores([9, 2, 1, 0]), acts((0, 1)), acts((0, 0)), items=4)
    assert found.mean_auc() == 1.0
    assert ranking.rank(scores([9, 2, 1, 0]), acts((0, 1)), NOTHING, items=4).mean_auc() == pytest.approx(2 / 3)


def test_every_user_counts_the_same() -> None:
    found = ranking.rank(scores([3, 2, 1], [1, 2, 3]), acts((0, 0), (1, 0), (1, 1)), NOTHING, items=3)
    assert found.users.tolist() == [0, 1]
    assert found.auc.tolist() == [1.0, 0.0]
    assert found.mean_auc() == 0.5


def test_a_user_without_anything_to_find_is_left_out() -> None:
    found = ranking.rank(scores([3, 2, 1], [1, 2, 3]), acts((0, 0), (1, 1)), acts((1, 1)), items=3)
    assert found.users.tolist() == [0]


def test_recall_and_ndcg_look_at_the_first_places_alone() -> None:
    found = ranking.rank(scores([5, 4, 3, 2, 1]), acts((0, 1), (0, 4)), NOTHING, items=5, k=2)
    assert found.mean_recall() == 0.5
    best = 1 + 1 / np.log2(3)
    assert found.mean_ndcg() == pytest.approx((1 / np.log2(3)) / best)


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="user 0: a score is not a number"):
        ranking.rank(scores([1, float("nan")]), acts((0, 0)), NOTHING, items=2)


def test_nobody_to_rank_for_is_an_error() -> None:
    with pytest.raises(ValueError, match="no user has a relevant candidate"):
        ranking.rank(scores([1, 2]), acts((0, 0)), acts((0, 0)), items=2)


def test_interval_holds_the_mean_and_narrows_with_more_values() -> None:
    few: NDArray[np.float64] = np.tile([0.0, 1.0], 10)
    low, high = ranking.interval(few, seed=0, draws=500)
    assert low < 0.5 < high
    narrow_low, narrow_high = ranking.interval(np.tile(few, 25), seed=0, draws=500)
    assert narrow_high - narrow_low < (high - low) / 3
