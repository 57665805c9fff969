"""Filters and facets as messages."""

import datetime
from typing import Any

import pytest
from google.protobuf import timestamp_pb2

from twinset.filters import literal
from twinset.v1 import catalog_pb2, filter_pb2, recommender_pb2
from twinset_server.domain import (
    And,
    Attribute,
    Compare,
    Exists,
    Expression,
    Facet,
    FacetRequest,
    In,
    Not,
    Operator,
    Or,
)
from twinset_server.errors import InvalidRequest
from twinset_server.filters.parse import parse
from twinset_server.rpc import filters, recommendations

NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
A, B = filter_pb2.Filter(exists="category"), filter_pb2.Filter(exists="attributes.b")
TEN, RED = catalog_pb2.AttributeValue(int_value=10), catalog_pb2.AttributeValue(string_value="red")


def read(message: filter_pb2.Filter) -> Expression | None:
    return filters.expression(recommender_pb2.RecommendRequest(filter_expression=message))


def comparison(operator: Any, value: catalog_pb2.AttributeValue, field: str = "attributes.x") -> filter_pb2.Filter:
    return filter_pb2.Filter(comparison=filter_pb2.Comparison(field=field, operator=operator, value=value))


def within(**bounds: catalog_pb2.AttributeValue) -> filter_pb2.Filter:
    return filter_pb2.Filter(range=filter_pb2.Range(field="attributes.x", **bounds))


def joined(kind: str, *parts: filter_pb2.Filter) -> filter_pb2.Filter:
    return filter_pb2.Filter(**{kind: filter_pb2.FilterList(filters=parts)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (A, Exists("category")),
        (joined("all_of", A, B), And((Exists("category"), Exists("attributes.b")))),
        (joined("any_of", A, B), Or((Exists("category"), Exists("attributes.b")))),
        (joined("any_of", joined("all_of", A)), Exists("category")),
        (filter_pb2.Filter(negation=A), Not(Exists("category"))),
        (within(at_least=TEN), Compare("attributes.x", Operator.AT_LEAST, 10)),
        (
            within(above=TEN, at_most=TEN),
            And((Compare("attributes.x", Operator.GREATER, 10), Compare("attributes.x", Operator.AT_MOST, 10))),
        ),
        (within(below=RED), Compare("attributes.x", Operator.LESS, "red")),
        (
            filter_pb2.Filter(membership=filter_pb2.Membership(field="attributes.x", values=[TEN, RED])),
            In("attributes.x", (10, "red")),
        ),
        (filter_pb2.Filter(membership=filter_pb2.Membership(field="attributes.x")), In("attributes.x", ())),
    ],
)
def test_a_message_is_read_as(message: filter_pb2.Filter, expected: Expression) -> None:
    assert repr(read(message)) == repr(expected)


def test_every_operator_is_read() -> None:
    names = [name for name in filter_pb2.ComparisonOperator.keys() if not name.endswith("UNSPECIFIED")]  # noqa: SIM118
    found = [read(comparison(filter_pb2.ComparisonOperator.Value(name), RED)) for name in names]
    assert found == [
        Compare("attributes.x", Operator[name.removeprefix("COMPARISON_OPERATOR_")], "red") for name in names
    ]
    assert len(names) == len(Operator)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (catalog_pb2.AttributeValue(string_value="x"), "x"),
        (catalog_pb2.AttributeValue(int_value=2), 2),
        (catalog_pb2.AttributeValue(double_value=2.5), 2.5),
        (catalog_pb2.AttributeValue(bool_value=True), True),
        (catalog_pb2.AttributeValue(string_list=catalog_pb2.StringList(values=["a"])), ("a",)),
        (catalog_pb2.AttributeValue(time_value=timestamp_pb2.Timestamp(seconds=int(NOON.timestamp()))), NOON),
    ],
)
def test_a_value_keeps_its_type(value: catalog_pb2.AttributeValue, expected: Attribute) -> None:
    found = read(comparison(filter_pb2.COMPARISON_OPERATOR_EQUAL, value))
    assert repr(found) == repr(Compare("attributes.x", Operator.EQUAL, expected))


DEEP = A
for _ in range(40):
    DEEP = filter_pb2.Filter(negation=DEEP)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (filter_pb2.Filter(), "filter_expression"),
        (joined("all_of"), "filter_expression.all_of.filters"),
        (joined("any_of", A, filter_pb2.Filter()), "filter_expression.any_of.filters[1]"),
        (filter_pb2.Filter(negation=filter_pb2.Filter()), "filter_expression.negation"),
        (comparison(0, RED), "filter_expression.comparison.operator"),
        (comparison(99, RED), "filter_expression.comparison.operator"),
        (comparison(1, catalog_pb2.AttributeValue()), "filter_expression.comparison.value"),
        (comparison(8, TEN), "filter_expression.comparison.value"),
        (comparison(1, RED, field="title"), "filter_expression"),
        (comparison(1, RED, field="attributes."), "filter_expression"),
        (comparison(1, RED, field=""), "filter_expression"),
        (filter_pb2.Filter(exists=""), "filter_expression"),
        (within(), "filter_expression.range"),
        (within(below=catalog_pb2.AttributeValue()), "filter_expression.range.below"),
        (
            filter_pb2.Filter(membership=filter_pb2.Membership(values=[RED, catalog_pb2.AttributeValue()])),
            "filter_expression.membership.values[1]",
        ),
        (joined("any_of", *[A] * 101), "filter_expression"),
        (
            filter_pb2.Filter(membership=filter_pb2.Membership(field="category", values=[RED] * 1001)),
            "filter_expression",
        ),
        (DEEP, "filter_expression"),
    ],
)
def test_a_message_that_is_no_filter_is_refused_with_its_path(message: filter_pb2.Filter, field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read(message)
    assert raised.value.field == field


def test_a_filter_is_given_once() -> None:
    with pytest.raises(InvalidRequest, match="set one of them"):
        filters.expression(recommender_pb2.RecommendRequest(filter="category:*", filter_expression=A))


def test_a_request_without_a_filter_has_none() -> None:
    assert filters.expression(recommender_pb2.RecommendRequest()) is None


def test_facets_tell_ten_values_by_default() -> None:
    messages = [filter_pb2.FacetRequest(field="category"), filter_pb2.FacetRequest(field="attributes.x", limit=0)]
    assert filters.facet_requests(messages) == (FacetRequest("category", 10), FacetRequest("attributes.x", 0))


def test_counts_go_out_with_their_values() -> None:
    assert filters.facet(Facet("attributes.x", ((True, 3), (1, 2), (NOON, 1)), 5, 4)) == filter_pb2.Facet(
        field="attributes.x",
        counts=[
            filter_pb2.FacetCount(value=catalog_pb2.AttributeValue(bool_value=True), count=3),
            filter_pb2.FacetCount(value=catalog_pb2.AttributeValue(int_value=1), count=2),
            filter_pb2.FacetCount(
                value=catalog_pb2.AttributeValue(time_value=timestamp_pb2.Timestamp(seconds=int(NOON.timestamp()))),
                count=1,
            ),
        ],
        distinct_count=5,
        missing_count=4,
    )


def test_an_answer_that_facets_make_too_large_says_so() -> None:
    facet = filter_pb2.Facet(field="category", counts=[filter_pb2.FacetCount(value=RED, count=1)] * 100)
    found = [recommender_pb2.Recommendation(picture_id="x" * 9)] * 50
    assert recommendations.largest_part(recommender_pb2.RecommendResponse(facets=[facet], recommendations=found)) == (
        "facets"
    )
    assert recommendations.largest_part(recommender_pb2.RecommendResponse(recommendations=found)) == "k"


@pytest.mark.parametrize("value", [True, -3, 2.5, 1e300, 'say "a\\b*"', "", "true", "2026-03-01", NOON])
def test_a_literal_of_the_client_is_read_as_the_value(value: Attribute) -> None:
    assert repr(parse(f"attributes.x >= {literal(value)}")) == repr(Compare("attributes.x", Operator.AT_LEAST, value))


def test_a_literal_time_without_a_zone_is_utc() -> None:
    assert literal(NOON.replace(tzinfo=None)) == literal(NOON)


def test_several_texts_have_no_literal() -> None:
    with pytest.raises(TypeError, match="compare with a text"):
        literal(("a", "b"))
