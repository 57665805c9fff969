"""The ledger judges: acknowledged is there, under way may be, and nothing else is."""

from faults.ledger import Attempt, Ledger, Stored, begun, done, published, read


def told(*attempts: Attempt) -> Ledger:
    ledger = Ledger()
    for attempt in attempts:
        ledger.done(ledger.begin(attempt))
    return ledger


def test_what_was_acknowledged_must_be_there() -> None:
    ledger = told(Attempt(items={"a": (1, 0)}, users={"u": 1}, interactions=[7]))
    assert ledger.acknowledged == 3
    assert ledger.problems(Stored({"a": (1, 0)}, {"u": 1}, [7])) == []
    assert ledger.problems(Stored()) == [
        "item a is None, and should be (1, 0)",
        "user u is None, and should be 1",
        "interaction 7 is lost",
    ]


def test_an_older_version_is_a_loss() -> None:
    ledger = told(Attempt(items={"a": (1, 0)}), Attempt(items={"a": (2, 0)}))
    assert ledger.problems(Stored({"a": (1, 0)})) == ["item a is (1, 0), and should be (2, 0)"]


def test_a_deleted_item_must_not_come_back() -> None:
    ledger = told(Attempt(items={"a": (1, 0)}), Attempt(items={"a": None}))
    assert ledger.problems(Stored()) == []
    assert ledger.problems(Stored({"a": (1, 0)})) == ["item a is (1, 0), and should be absent"]


def test_what_is_under_way_may_be_there_or_not() -> None:
    ledger = told(Attempt(items={"a": (1, 0)}))
    ledger.begin(Attempt(items={"a": (2, 0)}, interactions=[3]))
    assert ledger.problems(Stored({"a": (1, 0)})) == []
    assert ledger.problems(Stored({"a": (2, 0)}, {}, [3])) == []
    assert ledger.problems(Stored({"a": (3, 0)})) == ["item a is (3, 0), and should be (1, 0) or (2, 0)"]


def test_what_failed_before_a_later_change_was_acknowledged_must_not_come_back() -> None:
    ledger = told(Attempt(items={"a": (1, 0)}))
    ledger.begin(Attempt(items={"a": (2, 0)}))
    ledger.done(ledger.begin(Attempt(items={"a": (3, 0)})))
    assert ledger.problems(Stored({"a": (3, 0)})) == []
    assert ledger.problems(Stored({"a": (2, 0)})) == ["item a is (2, 0), and should be (3, 0)"]


def test_nothing_is_there_twice_or_unasked() -> None:
    ledger = told(Attempt(interactions=[1]))
    assert ledger.problems(Stored(interactions=[1, 1])) == ["interaction 1 is there 2 times"]
    assert ledger.problems(Stored({"x": (1, 0)}, {}, [1, 2])) == [
        "item x is (1, 0), and should be absent",
        "interaction 2 was never put",
    ]


def test_a_feed_is_there_as_a_whole_or_not_at_all() -> None:
    ledger = told(Attempt(items={"a": (1, 0), "b": (1, 0), "c": (1, 0)}))
    ledger.begin(Attempt(items={"a": (2, 0), "b": None, "c": (1, 0)}, whole=True))
    assert ledger.problems(Stored({"a": (1, 0), "b": (1, 0), "c": (1, 0)})) == []
    assert ledger.problems(Stored({"a": (2, 0), "c": (1, 0)})) == []
    assert ledger.problems(Stored({"a": (2, 0), "b": (1, 0), "c": (1, 0)})) == [
        "1 of the 2 changes of one feed are there"
    ]


def test_what_a_feed_found_there_already_is_no_part_of_it() -> None:
    ledger = told(Attempt(items={"a": (1, 0), "b": (1, 0)}))
    ledger.begin(Attempt(items={"a": (2, 0), "c": (2, 0)}))
    ledger.begin(Attempt(items={"a": (2, 0), "b": (5, 0), "c": None, "d": (5, 0)}, whole=True))
    assert ledger.problems(Stored({"a": (2, 0), "b": (1, 0)})) == []
    assert ledger.problems(Stored({"a": (2, 0), "b": (5, 0), "d": (5, 0)})) == []
    assert ledger.problems(Stored({"a": (2, 0), "b": (5, 0)})) == ["1 of the 2 changes of one feed are there"]


def test_lines_tell_the_same() -> None:
    put, delete = Attempt(items={"a": (1, 0)}), Attempt(items={"a": None})
    ledger = read([begun("x/1", put), done("x/1"), published(4), begun("x/2", delete)])
    assert ledger.items == {"a": (1, 0)}
    assert list(ledger.attempts.values()) == [delete]
    assert ledger.generation == 4
