"""Answers to callers, searched for again exactly."""

import threading
from collections.abc import Callable, Iterator

import pytest

from twinset_server.catalog.index.checks import RecallChecks, recall_of
from twinset_server.domain import Neighbour, SearchMethod, SearchPlan, SearchResult


def found(*distances: float, exact: bool = False) -> SearchResult:
    neighbours = [Neighbour(f"{place}/{distance}", "", distance) for place, distance in enumerate(distances)]
    return SearchResult(neighbours, exact, 100, 7, SearchPlan(SearchMethod.WALK, 64))


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecallChecks]:
    monkeypatch.setattr("twinset_server.catalog.index.checks._PAUSE_SHARE", 0)
    opened = RecallChecks(1.0)
    yield opened
    opened.close()


def checked(
    checks: RecallChecks, result: SearchResult, exactly: Callable[[], SearchResult], space: str = "own"
) -> None:
    """Offer an answer and wait until it has been checked, or was passed over."""
    checks.offer("own", result, exactly)
    checks.settle()


def test_the_recall_is_the_mean_over_what_was_checked(checks: RecallChecks) -> None:
    truth = found(*[place / 10 for place in range(10)], exact=True)
    checked(checks, found(*[place / 10 for place in range(10)]), lambda: truth)
    checked(checks, found(*[place / 10 for place in range(5)], *[2.0] * 5), lambda: truth)
    measured = checks.recall("own")
    assert measured is not None
    assert (measured.recall_at_10, measured.searches) == (pytest.approx(0.75), 2)
    assert measured.since.utcoffset() is not None
    assert checks.recall("other") is None


def test_an_exact_answer_is_not_checked(checks: RecallChecks) -> None:
    checked(checks, found(0.1, exact=True), lambda: found(0.1, exact=True))
    assert checks.recall("own") is None


def test_no_share_checks_nothing() -> None:
    none = RecallChecks(0.0)
    checked(none, found(0.1), lambda: found(0.1))
    assert none.recall("own") is None
    none.close()


def test_what_comes_while_one_is_checked_is_passed_over(checks: RecallChecks) -> None:
    may_go = threading.Event()

    def slow() -> SearchResult:
        may_go.wait(10)
        return found(0.1)

    checks.offer("own", found(0.1), slow)
    for _ in range(5):
        checks.offer("own", found(0.1), lambda: found(0.1))
    may_go.set()
    checks.settle()
    measured = checks.recall("own")
    assert measured is not None
    assert measured.searches == 1


def test_after_a_check_comes_a_pause_as_long_as_it_was_costly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinset_server.catalog.index.checks._PAUSE_SHARE", 1e9)
    checks = RecallChecks(1.0)
    for _ in range(3):
        checked(checks, found(0.1), lambda: found(0.1))
    measured = checks.recall("own")
    assert measured is not None
    assert measured.searches == 1
    checks.close()


def test_a_check_that_fails_is_told_and_the_next_goes_on(
    checks: RecallChecks, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> SearchResult:
        raise ValueError("a defect")

    checked(checks, found(0.1), broken)
    assert "could not be checked" in caplog.text
    checked(checks, found(0.1), lambda: found(0.1))
    measured = checks.recall("own")
    assert measured is not None
    assert measured.searches == 1


def test_the_last_thousand_count(checks: RecallChecks, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        checked(checks, found(0.5), lambda: found(0.1))
    for _ in range(1000):
        checked(checks, found(0.1), lambda: found(0.1))
    measured = checks.recall("own")
    assert measured is not None
    assert (measured.recall_at_10, measured.searches) == (1.0, 1000)


@pytest.mark.parametrize(
    ("answered", "exact", "recall"),
    [
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], 1.0),
        ([0.1, 0.3], [0.1, 0.2], 0.5),
        ([0.1, 0.2, 0.2], [0.1, 0.2, 0.2, 0.2], 0.75),
        ([], [], 1.0),
        ([], [0.1], 0.0),
        ([place / 100 for place in range(30)], [place / 100 for place in range(30)], 1.0),
    ],
    ids=["all", "one of two", "fewer", "nothing to find", "nothing found", "the first ten of more"],
)
def test_an_answer_counts_by_its_distance(answered: list[float], exact: list[float], recall: float) -> None:
    assert recall_of(found(*answered).neighbours, found(*exact).neighbours) == recall
