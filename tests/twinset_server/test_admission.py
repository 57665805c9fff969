"""What is too much is refused, and the classes of calls don't take each other's places."""

import pytest

from twinset_server.admission import Budget, Gate, Pace
from twinset_server.errors import Overloaded


def gate(limit: int) -> Gate:
    return Gate("reads", limit, "server.max_reads", 0.2)


def test_a_gate_lets_in_as_many_as_it_has_places() -> None:
    reads = gate(2)
    with reads, reads:
        assert reads.is_full
        with pytest.raises(Overloaded, match=r"2 reads are under way here, as many as server\.max_reads allows"), reads:
            pass
    assert not reads.is_full
    assert reads.under_way == 0


def test_a_place_is_free_again_after_a_failure() -> None:
    reads = gate(1)
    with pytest.raises(ValueError, match="failed"), reads:
        raise ValueError("failed")
    assert reads.under_way == 0


def test_a_refusal_says_when_to_come_back() -> None:
    assert gate(1).refusal().retry_after_s == 0.2


def test_a_budget_gives_nothing_beyond_it_but_to_one_that_holds_nothing() -> None:
    budget, called = Budget(10), []
    assert budget.take(8, alone=False)
    assert not budget.take(3, alone=False)
    assert budget.take(3, alone=True)
    budget.when_freed(lambda: called.append(True))
    assert not called
    budget.give_back(8)
    assert called == [True]
    assert budget.take(7, alone=False)


def test_the_pace_of_the_model_decides_how_many_may_wait() -> None:
    pace = Pace(longest_wait_s=0.5, least=8, most=100)
    assert pace.limit == 100
    for number in range(1, 100):
        pace.ended(4, began_s=0.1 * (number - 1), now_s=0.1 * number, full=True)
    assert pace.limit == 20


def test_the_pace_never_leaves_the_model_without_work_nor_lets_in_more_than_allowed() -> None:
    slow, fast = Pace(1.0, 8, 100), Pace(1.0, 8, 100)
    slow.ended(1, 0.0, 10.0, full=True)
    fast.ended(1000, 0.0, 0.1, full=True)
    assert (slow.limit, fast.limit) == (8, 100)


def test_requests_that_overlap_count_from_one_end_to_the_next() -> None:
    pace = Pace(1.0, 1, 1000)
    for number in range(1, 60):
        pace.ended(10, began_s=0.1 * (number - 2), now_s=0.1 * number, full=True)
    assert pace.limit == pytest.approx(100, abs=1)


def test_requests_that_were_not_full_say_only_what_is_done_at_least() -> None:
    pace = Pace(1.0, 1, 1000)
    pace.ended(1, 0.0, 1.0, full=False)
    assert pace.limit == 1000
    pace.ended(10, 1.0, 2.0, full=True)
    pace.ended(1, 2.0, 3.0, full=False)
    assert pace.limit == 10
