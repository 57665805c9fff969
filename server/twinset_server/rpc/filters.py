"""Filters and facets of requests to domain, and counts back to protos."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from twinset.v1 import catalog_pb2, filter_pb2, pairs_pb2, ranking_pb2, recommender_pb2
from twinset_server import limits
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
from twinset_server.filters.bounds import check
from twinset_server.filters.facets import DEFAULT_FACET_VALUES
from twinset_server.filters.parse import parse
from twinset_server.rpc import convert

_EXPRESSION = "filter_expression"

_OPERATORS = {
    filter_pb2.COMPARISON_OPERATOR_EQUAL: Operator.EQUAL,
    filter_pb2.COMPARISON_OPERATOR_NOT_EQUAL: Operator.NOT_EQUAL,
    filter_pb2.COMPARISON_OPERATOR_LESS: Operator.LESS,
    filter_pb2.COMPARISON_OPERATOR_AT_MOST: Operator.AT_MOST,
    filter_pb2.COMPARISON_OPERATOR_GREATER: Operator.GREATER,
    filter_pb2.COMPARISON_OPERATOR_AT_LEAST: Operator.AT_LEAST,
    filter_pb2.COMPARISON_OPERATOR_HAS: Operator.HAS,
    filter_pb2.COMPARISON_OPERATOR_PREFIX: Operator.PREFIX,
}

_BOUNDS = {
    "at_least": Operator.AT_LEAST,
    "above": Operator.GREATER,
    "at_most": Operator.AT_MOST,
    "below": Operator.LESS,
}


def expression(
    message: recommender_pb2.RecommendRequest | pairs_pb2.Slot | ranking_pb2.RankForUserRequest,
) -> Expression | None:
    """Return the filter of a request; None where it has none.

    Raises:
        InvalidRequest: it is none, longer than allowed, or given twice.
    """
    if not message.HasField(_EXPRESSION):
        return parse(message.filter)
    if message.filter:
        raise InvalidRequest("filter", "is set, and filter_expression too: set one of them")
    found = _filter(message.filter_expression, _EXPRESSION)
    check(_EXPRESSION, found)
    return found


def facet_requests(messages: Sequence[filter_pb2.FacetRequest]) -> tuple[FacetRequest, ...]:
    """Return what is to be counted."""
    return tuple(
        FacetRequest(message.field, message.limit if message.HasField("limit") else DEFAULT_FACET_VALUES)
        for message in messages
    )


def facet(counted: Facet) -> filter_pb2.Facet:
    """Return the counts of a field."""
    return filter_pb2.Facet(
        field=counted.field,
        counts=[
            filter_pb2.FacetCount(value=convert.attribute_message(value), count=count)
            for value, count in counted.counts
        ],
        distinct_count=counted.distinct,
        missing_count=counted.missing,
    )


def _filter(message: filter_pb2.Filter, path: str) -> Expression:
    # protobuf itself refuses messages that are more than a hundred deep.
    kind = message.WhichOneof("kind")
    path = f"{path}.{kind}"
    match kind:
        case "all_of":
            parts = _parts(message.all_of, path)
            return parts[0] if len(parts) == 1 else And(parts)
        case "any_of":
            parts = _parts(message.any_of, path)
            return parts[0] if len(parts) == 1 else Or(parts)
        case "negation":
            return Not(_filter(message.negation, path))
        case "comparison":
            return _comparison(message.comparison, path)
        case "membership":
            values = enumerate(message.membership.values)
            operands = tuple(_value(value, f"{path}.values[{position}]") for position, value in values)
            return In(message.membership.field, operands)
        case "range":
            return _range(message.range, path)
        case "exists":
            return Exists(message.exists)
        case _:
            raise InvalidRequest(path.removesuffix(".None"), "is empty: set one of its fields")


def _parts(message: filter_pb2.FilterList, path: str) -> tuple[Expression, ...]:
    if not message.filters:
        raise InvalidRequest(f"{path}.filters", "is empty: set one or more")
    return tuple(_filter(part, f"{path}.filters[{position}]") for position, part in enumerate(message.filters))


def _comparison(message: filter_pb2.Comparison, path: str) -> Compare:
    operator = _OPERATORS.get(message.operator)
    if operator is None:
        raise InvalidRequest(f"{path}.operator", f"{message.operator} is no ComparisonOperator to use")
    operand = _value(message.value, f"{path}.value")
    if operator is Operator.PREFIX and not isinstance(operand, str):
        raise InvalidRequest(f"{path}.value", "is no text, and only texts begin with something")
    return Compare(message.field, operator, operand)


def _range(message: filter_pb2.Range, path: str) -> Expression:
    bounds = [name for side in ("lower", "upper") if (name := message.WhichOneof(side))]
    if not bounds:
        raise InvalidRequest(path, "has no bound: set at_least, above, at_most or below")
    parts = tuple(
        Compare(message.field, _BOUNDS[name], _value(getattr(message, name), f"{path}.{name}")) for name in bounds
    )
    return parts[0] if len(parts) == 1 else And(parts)


def _value(message: Message, path: str) -> Attribute:
    assert isinstance(message, catalog_pb2.AttributeValue)  # noqa: S101 - for the type checker
    try:
        value = convert.attribute("", message)
    except InvalidRequest as error:
        raise error.at(path) from error
    limits.check_operand(path, value)
    return value
