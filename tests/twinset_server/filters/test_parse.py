"""Filters as strings."""

import contextlib
import datetime
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.filters import expressions
from twinset_server.domain import And, Attribute, Compare, Exists, Expression, In, Not, Operator, Or
from twinset_server.errors import InvalidRequest
from twinset_server.filters.parse import parse

NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


def compare(name: str, sign: str, operand: Attribute) -> Compare:
    return Compare(name if name == "category" else f"attributes.{name}", Operator(sign), operand)


A, B, C, D = (compare(name, "=", 1) for name in "abcd")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('category = "shoes"', compare("category", "=", "shoes")),
        ("category=shoes", compare("category", "=", "shoes")),
        ("attributes.price<20", compare("price", "<", 20)),
        ("attributes.price <= 19.90", compare("price", "<=", 19.9)),
        ("attributes.price > -5", compare("price", ">", -5)),
        ("attributes.price >= 1e3", compare("price", ">=", 1000.0)),
        ("attributes.price > .5", compare("price", ">", 0.5)),
        ("attributes.price != 3", compare("price", "!=", 3)),
        ("attributes.in_stock = true", compare("in_stock", "=", True)),
        ('attributes.in_stock = "true"', compare("in_stock", "=", "true")),
        ("attributes.size = L", compare("size", "=", "L")),
        ("attributes.size = '42'", compare("size", "=", "42")),
        ('attributes.tags:"red"', compare("tags", ":", "red")),
        ("attributes.tags:*", Exists("attributes.tags")),
        ("category : *", Exists("category")),
        ('attributes.tags:"*"'.replace("*", r"\*"), compare("tags", ":", "*")),
        ('category = "shoes/*"', compare("category", "=*", "shoes/")),
        ("category = sho*", compare("category", "=*", "sho")),
        ("category = *", compare("category", "=*", "")),
        (r'category = "shoes\*"', compare("category", "=", "shoes*")),
        (r'category = "a\\*"', compare("category", "=*", "a\\")),
        (r"""category = "say \"hi\", it's" """, compare("category", "=", """say "hi", it's""")),
        ("attributes.added > 2026-03-01T12:00:00Z", compare("added", ">", NOON)),
        ("attributes.added > 2026-03-01t13:00:00.5+01:00", compare("added", ">", NOON.replace(microsecond=500_000))),
        (
            'attributes.added > "2026-03-01T12:00:00Z"',
            Or((compare("added", ">", NOON), compare("added", ">", "2026-03-01T12:00:00Z"))),
        ),
        ('attributes."shoe size" = 1', compare("shoe size", "=", 1)),
        ("attributes.'in-stock' = 1", compare("in-stock", "=", 1)),
        ("attributes.in-stock = 1", compare("in-stock", "=", 1)),
        ('attributes.dim."a (b)".c = 1', compare("dim.a (b).c", "=", 1)),
        (r'attributes."a\"b" = 1', compare('a"b', "=", 1)),
        ("attributes.AND = 1", compare("AND", "=", 1)),
        ("attributes.größe = 1", compare("größe", "=", 1)),
        ("attributes.attributes.x = 1", compare("attributes.x", "=", 1)),
    ],
)
def test_a_comparison_is_read_as(text: str, expected: Expression) -> None:
    # By their text: to Python True is 1.
    assert repr(parse(text)) == repr(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a AND b", And((A, B))),
        ("a b", And((A, B))),
        ("a OR b", Or((A, B))),
        ("a AND b OR c AND d", And((A, Or((B, C)), D))),
        ("a b OR c d", And((A, Or((B, C)), D))),
        ("(a AND b) OR c", Or((And((A, B)), C))),
        ("NOT a", Not(A)),
        ("-a", Not(A)),
        ("- a b", And((Not(A), B))),
        ("NOT(a OR b) c", And((Not(Or((A, B))), C))),
        ("NOT a OR b", Or((Not(A), B))),
        ("((a))", A),
        ("a\n AND\tb", And((A, B))),
    ],
)
def test_or_binds_tighter_than_and_as_in_aip_160(text: str, expected: Expression) -> None:
    text = re.sub(r"\b[abcd]\b", lambda name: f"attributes.{name[0]} = 1", text)
    # Equalities of different fields stay comparisons.
    # By their text: to Python True is 1.
    assert repr(parse(text)) == repr(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("category = (a OR b)", In("category", ("a", "b"))),
        ("category = a OR category = b OR category = 3", In("category", ("a", "b", 3))),
        ("attributes.a = 1 OR attributes.b = 1", Or((A, B))),
        ("category != (a AND b)", And((compare("category", "!=", "a"), compare("category", "!=", "b")))),
        ("attributes.t:(a b)", And((compare("t", ":", "a"), compare("t", ":", "b")))),
        ("attributes.t:(a OR NOT b)", Or((compare("t", ":", "a"), Not(compare("t", ":", "b"))))),
        ("attributes.t:(a -b)", And((compare("t", ":", "a"), Not(compare("t", ":", "b"))))),
        ('attributes.t:(a -"b c")', And((compare("t", ":", "a"), Not(compare("t", ":", "b c"))))),
        ("attributes.p = (-1 OR -(2 OR 3))", Or((compare("p", "=", -1), Not(In("attributes.p", (2, 3)))))),
        ('attributes.t:("AND" OR "b")', Or((compare("t", ":", "AND"), compare("t", ":", "b")))),
    ],
)
def test_parentheses_after_a_comparator_hold_values(text: str, expected: Expression) -> None:
    # By their text: to Python True is 1.
    assert repr(parse(text)) == repr(expected)


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_filter_is_none(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("category", "at character 9: expected one of = != < <= > >= : after category, found the end"),
        ("category shoes", "at character 10: expected one of = != < <= > >= : after category, found 'shoes'"),
        ("category =", "at character 11: expected a value, found the end"),
        ("category = )", "at character 12: expected a value, found ')'"),
        ("category == shoes", "at character 11: expected a value, found '='"),
        ("category = -red", "at character 12: expected a value, found '-'"),
        ("category = OR", "at character 12: expected a value, found OR: quote it where it is one"),
        ("shoes", "at character 1: no field of this name: use category, or attributes.NAME"),
        ("price < 3", "at character 1: no field of this name: use category, or attributes.NAME"),
        ("attributes = 3", "at character 1: no field of this name: use category, or attributes.NAME"),
        ('attributes."" = 3', "at character 1: no field of this name: use category, or attributes.NAME"),
        ("category.x = 3", "at character 1: no field of this name: use category, or attributes.NAME"),
        ("attributes. = 3", "at character 13: expected a name after '.', found '='"),
        ('"category" = 3', "at character 1: expected a field, found 'category'"),
        ("category = a AND", "at character 17: expected a field, found the end"),
        ("AND category = a", "at character 1: expected a field, found 'AND'"),
        ("category = a OR OR category = b", "at character 17: expected a field, found 'OR'"),
        ("(category = a", "at character 14: expected ')' for the '(' at character 1, found the end"),
        ("category = a)", "at character 13: expected AND, OR or the end, found ')'"),
        ("()", "at character 2: expected a field, found ')'"),
        ("category = ()", "at character 13: expected a value, found ')'"),
        ('category = "shoes', 'at character 12: the quote " is never closed'),
        ("category = a, b", "at character 13: ',' can't stand here: quote what has it within"),
        ("category ! a", "at character 10: '!' can't stand here: quote what has it within"),
        ("category = a*b", r"at character 12: a * means any ending, behind = and at a text's end: write \* for the "),
        ("category != a*", r"at character 13: a * means any ending, behind = and at a text's end: write \* for the "),
        ("category : a*", r"at character 12: a * means any ending, behind = and at a text's end: write \* for the "),
        ("attributes.d > 2026-03-01", "at character 16: write a time as 2026-03-01T12:00:00Z, and quote what is a"),
        ("attributes.d > 2026-03-01T12:00:00", "at character 16: write a time as 2026-03-01T12:00:00Z, and quote"),
        ("attributes.d > 2026-02-30T12:00:00Z", "at character 16: 2026-02-30T12:00:00Z is no time that there is: day"),
        ("a" * 17_000, "takes 17000 bytes, at most 16384 allowed"),
        ("(" * 33, "at character 33: more than 32 parentheses within each other"),
        ("category = " + "(" * 33, "at character 44: more than 32 parentheses within each other"),
        (" ".join(["category = a"] * 101), "has 101 comparisons, at most 100 allowed"),
        (f"category = ({' OR '.join('a' * 1001)})", "has 1001 values to compare with, at most 1000 allowed"),
    ],
)
def test_what_is_no_filter_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse(text)

    assert raised.value.field == "filter"
    assert raised.value.description.startswith(message)


@given(
    st.text()
    | st.lists(st.sampled_from(" ()\"=<:*-.\\'!a1,") | st.sampled_from(["category", "AND ", "OR "])).map("".join)
)
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(parse(text), Expression | None)


def _quoted(value: Attribute) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\{c}" if c in '"\\*' else c for c in value) + '"'
        case datetime.datetime():
            return value.isoformat()
        case _:
            return str(value)


def _written(expression: Expression) -> str:
    match expression:
        case And(parts):
            return " AND ".join(f"({_written(part)})" for part in parts)
        case Or(parts):
            return " OR ".join(f"({_written(part)})" for part in parts)
        case Not(part):
            return f"NOT ({_written(part)})"
        case Compare(field, Operator.PREFIX, operand):
            return f'{field} = {_quoted(operand)[:-1]}*"'
        case Compare(field, sign, operand):
            return f"{field}{sign.value}{_quoted(operand)}"
        case In(field, operands):
            return f"{field} = ({' OR '.join(map(_quoted, operands))})"
        case Exists(field):
            return f"{field}:*"


def _writable(expression: Expression) -> bool:
    match expression:
        case And(parts) | Or(parts):
            return all(map(_writable, parts))
        case Not(part):
            return _writable(part)
        case Compare(_, sign, operand):
            return not isinstance(operand, tuple) and (sign is not Operator.PREFIX or isinstance(operand, str))
        case In(_, operands):
            return len(operands) > 1 and not any(isinstance(operand, tuple) for operand in operands)
        case _:
            return True


@given(expressions.filter(_writable))
def test_a_filter_written_down_is_read_as_it_was(expression: Expression) -> None:
    assert _written(parse(_written(expression)) or expression) == _written(_merged(expression))


def _merged(expression: Expression) -> Expression:
    """Return the expression with equalities of one field in an OR as one question, as `parse` reads them."""
    match expression:
        case And(parts):
            return And(tuple(map(_merged, parts)))
        case Or(parts):
            merged = tuple(map(_merged, parts))
            equal = [part for part in merged if isinstance(part, Compare) and part.operator is Operator.EQUAL]
            if len(equal) == len(parts) and len({part.field for part in equal}) == 1:
                return In(equal[0].field, tuple(part.operand for part in equal))
            return Or(merged)
        case Not(part):
            return Not(_merged(part))
        case _:
            return expression
