"""Filters and facets over items, against what Python says of each item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fakes import filters as oracle
from fakes.filters import NAMES, Fields, expressions, values
from twinset_server.catalog.columns.values import Values
from twinset_server.domain import And, Compare, Exists, Expression, FacetRequest, Int32Array, Not, Operator
from twinset_server.errors import InvalidRequest
from twinset_server.filters.evaluate import evaluate
from twinset_server.filters.facets import check_facets, count
from twinset_server.filters.parse import parse


@dataclass(frozen=True)
class FakeColumn:
    codes: Int32Array
    values: Values

    def truth(self, table: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return table[self.codes]


@dataclass(frozen=True)
class FakeColumns:
    length: int
    fields: Mapping[str, FakeColumn]

    @classmethod
    def of(cls, items: Sequence[Fields]) -> "FakeColumns":
        columns: dict[str, FakeColumn] = {}
        for place, fields in enumerate(items):
            for name, value in fields.items():
                column = columns.setdefault(name, FakeColumn(np.zeros(len(items), np.int32), Values()))
                column.codes[place] = column.values.code_of(value)
        return cls(len(items), columns)


items = st.lists(st.dictionaries(st.sampled_from(NAMES[:3]), values), max_size=20)


@settings(max_examples=300)
@given(items, expressions)
def test_an_item_matches_where_python_says_so(items: list[Fields], expression: Expression) -> None:
    truths = evaluate(expression, FakeColumns.of(items))

    assert truths.dtype == np.bool_
    assert truths.tolist() == [oracle.matches(fields, expression) for fields in items]


RED: Fields = {"category": "shoes", "attributes.colour": "red", "attributes.price": 20, "attributes.tags": ("new", "x")}
BARE: Fields = {"attributes.price": 20.0}
TEXT: Fields = {"category": "shoes", "attributes.price": "20"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('category = "shoes"', [RED, TEXT]),
        ('category != "shoes"', []),
        ('NOT category = "shoes"', [BARE]),
        ('attributes.colour != "blue"', [RED]),
        ("attributes.price = 20", [RED, BARE]),
        ('attributes.price = "20"', [TEXT]),
        ("attributes.price != 21", [RED, BARE]),
        ("attributes.price < 21", [RED, BARE]),
        ('attributes.tags:"new"', [RED]),
        ('attributes.tags = "new"', []),
        ("attributes.colour:*", [RED]),
        ("NOT attributes.colour:*", [BARE, TEXT]),
        ("attributes.unheard_of = 1", []),
        ("attributes.unheard_of != 1", []),
        ("NOT attributes.unheard_of = 1", [RED, BARE, TEXT]),
        ("category:* attributes.price >= 20 attributes.price < 20.5", [RED]),
    ],
)
def test_a_missing_value_compares_to_nothing_and_not_turns_that_round(text: str, expected: list[Fields]) -> None:
    expression = parse(text)
    assert expression is not None
    items = [RED, BARE, TEXT]

    truths = evaluate(expression, FakeColumns.of(items))

    assert [item for item, truth in zip(items, truths, strict=True) if truth] == expected


def test_values_that_are_added_while_a_filter_is_evaluated_change_nothing() -> None:
    class Growing(Values):
        def select(self, operator: Operator, operand: object, length: int) -> NDArray[np.bool_]:
            found = super().select(operator, operand, length)
            self.code_of(len(self))
            return found

    grown = Growing()
    codes = np.array([0, grown.code_of(-1), grown.code_of(-2)], np.int32)
    columns = FakeColumns(3, {"attributes.n": FakeColumn(codes, grown)})
    below = [Compare("attributes.n", Operator.LESS, bound) for bound in (0, -1, 5)]

    assert evaluate(And((*below, Not(Exists("category")))), columns).tolist() == [False, False, True]


@settings(max_examples=200)
@given(items, st.data())
def test_facets_are_what_python_counts(items: list[Fields], data: st.DataObject) -> None:
    matching = np.array(data.draw(st.lists(st.booleans(), min_size=len(items), max_size=len(items))), np.bool_)
    matched = [fields for fields, matches in zip(items, matching, strict=True) if matches]
    requests = [FacetRequest(name, 50) for name in NAMES]

    for found, expected in zip(
        count(requests, matching, FakeColumns.of(items)), oracle.facets(requests, matched), strict=True
    ):
        assert oracle.unordered(found) == oracle.unordered(expected)
        assert [number for _, number in found.counts] == sorted((number for _, number in found.counts), reverse=True)


def test_the_most_frequent_values_come_first_and_no_more_than_asked_for() -> None:
    items: list[Fields] = [{"category": name} for name in "abbcccddddd"] + [{}]

    (facet,) = count([FacetRequest("category", 2)], np.ones(12, np.bool_), FakeColumns.of(items))

    assert facet.counts == (("d", 5), ("c", 3))
    assert (facet.distinct, facet.missing) == (4, 1)


def test_an_item_counts_once_for_each_of_its_texts() -> None:
    items: list[Fields] = [{"attributes.t": ("a", "a", "b")}, {"attributes.t": "a"}, {"attributes.t": ()}]

    (facet,) = count([FacetRequest("attributes.t", 9)], np.ones(3, np.bool_), FakeColumns.of(items))

    assert facet.counts == (("a", 2), ("b", 1))
    assert facet.missing == 0


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([FacetRequest("title", 5)], "facets[0].field"),
        ([FacetRequest("category", 5), FacetRequest("attributes.x", 0)], "facets[1].limit"),
        ([FacetRequest("category", 1001)], "facets[0].limit"),
        ([FacetRequest("category", 5)] * 17, "facets"),
    ],
)
def test_facets_over_their_limits_are_refused(requests: list[FacetRequest], field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_facets("facets", requests)

    assert raised.value.field == field
