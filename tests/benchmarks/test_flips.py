from __future__ import annotations

import numpy as np
import pytest

from benchmarks.flips import History


def test_a_history_knows_what_was_after_each_change() -> None:
    changes = np.array([[1, 0, 7], [0, 1, 5], [1, 1, 9]])
    history = History(np.array([False, True]), changes)
    assert [history.at(sequence).tolist() for sequence in (4, 5, 6, 7, 9, 100)] == [
        [False, True],
        [True, True],
        [True, True],
        [True, False],
        [True, True],
        [True, True],
    ]


def test_a_history_refuses_to_go_back() -> None:
    history = History(np.array([False]), np.array([[0, 1, 5]]))
    history.at(6)
    with pytest.raises(ValueError, match="ask in rising order"):
        history.at(5)
