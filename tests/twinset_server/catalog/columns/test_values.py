import datetime
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.filters import holds, same
from twinset_server.catalog.columns.values import Values
from twinset_server.domain import Attribute, Operator

NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)

# Whole numbers beside floats that they are rounded to, and texts of which some begin others.
whole = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.sampled_from([2**53, 2**53 + 1, 2**63 - 1])
real = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.5, -0.0, 1.0, 2.0**53, 2.0**63, -(2.0**63)]
)
text = st.text(st.sampled_from("ab\0é🎽"), max_size=4) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# Alike for more than the eight bytes that are compared at a time, and ending anywhere within the next.
long = st.builds(lambda same, rest: "a" * same + rest, st.integers(5, 17), st.text(st.sampled_from("ab\0"), max_size=3))
time = st.datetimes(timezones=st.sampled_from([datetime.UTC, datetime.timezone(datetime.timedelta(hours=-5))]))
attribute = whole | real | st.booleans() | text | long | time | st.lists(text, max_size=3).map(tuple)
# A filter may ask for more than is kept.
operand = attribute | st.integers() | st.sampled_from([float("inf"), -float("inf"), 10**400, 2**63])


def filled(given: list[Attribute]) -> tuple[Values, list[Attribute]]:
    """Return values of what is given, with the distinct ones in the order of their codes."""
    values = Values()
    distinct: list[Attribute] = []
    for value in given:
        code = values.code_of(value)
        if not any(same(value, known) for known in distinct):
            distinct.append(value)
        assert same(distinct[code - 1], value)
        assert len(values) == len(distinct)
    return values, distinct


@given(st.lists(attribute, max_size=40))
def test_each_distinct_value_has_one_code_and_is_found_by_it(given: list[Attribute]) -> None:
    values, distinct = filled(given)

    assert all(same(values.value(code), value) for code, value in enumerate(distinct, 1))
    assert [values.code_of(value) for value in distinct] == list(range(1, len(distinct) + 1))


@settings(max_examples=400)
@given(st.lists(attribute, max_size=12), operand, st.sampled_from(Operator), st.data())
def test_select_is_what_python_says_of_each_value(
    given: list[Attribute], operand: Attribute, sign: Operator, data: st.DataObject
) -> None:
    values, distinct = filled(given)
    length = data.draw(st.integers(0, len(distinct)))
    if distinct:
        operand = data.draw(st.just(operand) | st.sampled_from(distinct))

    truths = values.select(sign, operand, length)

    assert truths.tolist() == [False, *(holds(value, sign, operand) for value in distinct[:length])]


@settings(max_examples=300)
@given(st.lists(long, max_size=8), long, st.sampled_from(Operator))
def test_texts_stand_as_python_orders_them_however_long_they_are_alike(
    given: list[Attribute], operand: str, sign: Operator
) -> None:
    values, distinct = filled(given)

    truths = values.select(sign, operand, len(distinct))

    assert truths.tolist() == [False, *(holds(value, sign, operand) for value in distinct)]


@given(st.lists(attribute, max_size=12), st.lists(operand, max_size=5), st.data())
def test_among_is_what_python_says_of_each_value(
    given: list[Attribute], operands: list[Attribute], data: st.DataObject
) -> None:
    values, distinct = filled(given)
    if distinct:
        operands += data.draw(st.lists(st.sampled_from(distinct), max_size=3))

    truths = values.among(operands, len(distinct))

    assert truths.tolist() == [False, *(any(same(value, operand) for operand in operands) for value in distinct)]


@given(st.lists(attribute, max_size=20), st.lists(attribute, max_size=20))
def test_values_read_back_are_the_same_and_go_on_growing(before: list[Attribute], after: list[Attribute]) -> None:
    values, distinct = filled(before)

    content = values.to_bytes()
    again = Values.from_bytes(content)

    assert [again.value(code) for code in range(1, len(again) + 1)] == distinct
    assert [again.code_of(value) for value in before + after] == [values.code_of(value) for value in before + after]
    assert again.to_bytes() == values.to_bytes()
    assert Values.from_bytes(content).to_bytes() == content


@given(st.lists(attribute, max_size=8), st.data())
def test_damaged_values_are_refused_or_read_as_values(given: list[Attribute], data: st.DataObject) -> None:
    content = bytearray(filled(given)[0].to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        values = Values.from_bytes(content)
    except ValueError:
        return
    # What can't be told from whole ones can be used as such.
    for code in range(1, len(values) + 1):
        values.value(code)


@pytest.mark.parametrize("cut", [0, 7, 47, 48, 60])
def test_cut_values_are_refused(cut: int) -> None:
    content = filled(["red", 1.5, ("a", "b")])[0].to_bytes()

    with pytest.raises(ValueError, match=r"too short|take \d+ bytes"):
        Values.from_bytes(content[:cut])


def test_a_truth_is_no_number_and_a_number_no_text() -> None:
    values = Values()

    assert [values.code_of(value) for value in (True, 1, "1", ("1",), 1.0, False, 0)] == [1, 2, 3, 4, 2, 5, 6]


def test_a_time_is_one_in_every_zone() -> None:
    values = Values()

    first = values.code_of(NOON)

    assert values.code_of(NOON.astimezone(datetime.timezone(datetime.timedelta(hours=9)))) == first
    assert values.value(first) == NOON


@pytest.mark.parametrize("value", [2**63 + 1, 10**400, float("nan"), float("inf"), NOON.replace(tzinfo=None)])
def test_what_is_no_attribute_gets_no_code(value: Attribute) -> None:
    values = Values()

    with pytest.raises(ValueError, match=r"64 bits|zone"):
        values.code_of(value)
    assert len(values) == 0


@pytest.mark.parametrize("code", [-1, 0, 2])
def test_a_code_of_no_value_is_an_error(code: int) -> None:
    values = Values()
    values.code_of("red")

    with pytest.raises(IndexError):
        values.value(code)


def test_readers_see_whole_values_while_one_thread_appends() -> None:
    values = Values()
    done = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not done.is_set():
            length = len(values) & ~3
            if length < 8:
                continue
            if values.select(Operator.LESS, 1e9, length).sum() != length // 4:
                wrong.append(length)
            if values.select(Operator.HAS, "even", length).sum() != (length // 4 + 1) // 2:
                wrong.append(("even", length))
            if values.select(Operator.PREFIX, "t", length).sum() != length // 4:
                wrong.append(("t", length))
            if not values.select(Operator.EQUAL, length / 4 - 0.5, length)[length - 3]:
                wrong.append(("found", length))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(3000):
        values.code_of(number + 0.5)
        values.code_of(f"t{number}")
        values.code_of(("even" if number % 2 == 0 else "odd", str(number)))
        values.code_of(NOON + datetime.timedelta(seconds=number))
    done.set()
    for reader in readers:
        reader.join()

    assert wrong == []


def test_twenty_thousand_numbers_take_little_more_than_a_megabyte() -> None:
    numbers = np.random.default_rng(5).random(20_000).tolist()
    tracemalloc.start()
    values = Values()
    for number in numbers:
        values.code_of(number)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(values) == 20_000
    assert held < 1.2e6
