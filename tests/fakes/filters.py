"""What filters mean, said once more and as plainly as can be: item by item, in Python. And filters drawn at random."""

import datetime
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from hypothesis import strategies as st

from twinset_server.domain import (
    And,
    Attribute,
    Compare,
    Exists,
    Expression,
    Facet,
    FacetRequest,
    In,
    Item,
    Not,
    Operator,
    Or,
    WritableItem,
)

Fields = Mapping[str, Attribute]

ORDERS: dict[Operator, Callable[[object, object], bool]] = {
    Operator.LESS: operator.lt,
    Operator.AT_MOST: operator.le,
    Operator.GREATER: operator.gt,
    Operator.AT_LEAST: operator.ge,
}


def kind(value: Attribute) -> type:
    return float if type(value) in (int, float) else type(value)


def same(one: Attribute, other: Attribute) -> bool:
    return kind(one) is kind(other) and one == other


def holds(value: Attribute, sign: Operator, operand: Attribute) -> bool:
    """Return whether a value compares to `operand` as `sign` says."""
    if sign is Operator.HAS and isinstance(value, tuple) and isinstance(operand, str):
        return operand in value
    if kind(value) is not kind(operand):
        return False
    if sign in (Operator.EQUAL, Operator.HAS):
        return value == operand
    if sign is Operator.NOT_EQUAL:
        return value != operand
    if sign is Operator.PREFIX:
        return isinstance(value, str) and isinstance(operand, str) and value.startswith(operand)
    return kind(value) not in (bool, tuple) and ORDERS[sign](value, operand)


def fields_of(item: Item | WritableItem) -> dict[str, Attribute]:
    """Return the fields that an item has."""
    category = {"category": item.category} if item.category else {}
    return category | {f"attributes.{name}": value for name, value in item.attributes.items()}


def matches(fields: Fields, expression: Expression) -> bool:
    """Return whether an item of these fields matches."""
    match expression:
        case And(parts):
            return all(matches(fields, part) for part in parts)
        case Or(parts):
            return any(matches(fields, part) for part in parts)
        case Not(part):
            return not matches(fields, part)
        case Compare(field, sign, operand):
            return field in fields and holds(fields[field], sign, operand)
        case In(field, operands):
            return field in fields and any(same(fields[field], operand) for operand in operands)
        case Exists(field):
            return field in fields


def facets(requests: Sequence[FacetRequest], items: Iterable[Fields]) -> tuple[Facet, ...]:
    """Return the counts over items."""
    items = list(items)
    return tuple(_facet(request, items) for request in requests)


def _facet(request: FacetRequest, items: Sequence[Fields]) -> Facet:
    counts: Counter[tuple[type, Attribute]] = Counter()
    for fields in items:
        value = fields.get(request.field, ())
        for one in set(value) if isinstance(value, tuple) else {value}:
            counts[kind(one), one] += 1
    top = tuple((value, count) for (_, value), count in counts.most_common(request.limit))
    return Facet(request.field, top, len(counts), sum(request.field not in fields for fields in items))


NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)

# Few values of each kind, so that filters match: some equal but for their kind, some texts that begin others.
VALUES: Sequence[Attribute] = (
    *("", "a", "ab", "b", "1"),
    *(-1, 0, 1, 2, 0.5, 1.5, 1e300),
    *(True, False),
    *((), ("a",), ("b", "a"), ("ab", "ab")),
    *(NOON, NOON + datetime.timedelta(microseconds=1)),
)
NAMES = ("category", "attributes.one", "attributes.two", "attributes.none")

values = st.sampled_from(VALUES)


def expressions_over(names: Sequence[str], operands: st.SearchStrategy[Attribute]) -> st.SearchStrategy[Expression]:
    """Return filters of every form over these fields."""
    name = st.sampled_from(names)
    comparisons = (
        st.builds(Compare, name, st.sampled_from(list(Operator)), operands)
        | st.builds(In, name, st.lists(operands, max_size=4).map(tuple))
        | st.builds(Exists, name)
    )
    return st.recursive(comparisons, _joined, max_leaves=6)


def _joined(parts: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.builds(And, several) | st.builds(Or, several) | st.builds(Not, parts)


expressions = expressions_over(NAMES, values)


def unordered(facet: Facet) -> object:
    """Return what two facets are to have in common: values of equal count stand in no order."""
    counts = {(value, kind(value), count) for value, count in facet.counts}
    return facet.field, counts, facet.distinct, facet.missing
