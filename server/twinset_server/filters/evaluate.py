"""Which items a filter matches.

A comparison is made with the distinct values of its field, of which most fields have few. Parts that ask about one
field are joined there too; only what is left of that meets the items, as one array of truths a field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twinset_server.domain import And, Attribute, Compare, Exists, Expression, In, Not, Operator, Or

Truths = NDArray[np.bool_]


class Values(Protocol):
    """Distinct values by code 1, 2, ...; more may be added meanwhile."""

    def __len__(self) -> int:
        """Return how many there are."""

    def select(self, operator: Operator, operand: Attribute, length: int) -> Truths:
        """Return `[length + 1]` by code: which values compare to `operand` so."""

    def among(self, operands: Sequence[Attribute], length: int) -> Truths:
        """Return `[length + 1]` by code: which values equal one of `operands`."""


class Column(Protocol):
    """One field of all items: a code for each, 0 for those without a value."""

    @property
    def values(self) -> Values:
        """The values by code."""

    def truth(self, table: Truths) -> Truths:
        """Return `[N]`: what `table`, by code, says of each item's code."""


class Columns(Protocol):
    """All items, N of them, by place."""

    @property
    def length(self) -> int:
        """N."""

    @property
    def fields(self) -> Mapping[str, Column]:
        """By name; an item has no field that isn't here."""


def evaluate(expression: Expression, columns: Columns) -> Truths:
    """Return `[N]` by place whether each item matches; of deleted items it may say either."""
    return _by_item(_answer(expression, columns), columns)


@dataclass(frozen=True, slots=True)
class _ByValue:
    """What a filter says of the items by their value of one field; first of those without one."""

    field: str
    table: Truths


_Answer = _ByValue | Truths
_Joined = Callable[[Truths, Truths], Truths]


def _answer(expression: Expression, columns: Columns) -> _Answer:
    match expression:
        case And(parts):
            return _joined(parts, columns, np.logical_and)
        case Or(parts):
            return _joined(parts, columns, np.logical_or)
        case Not(part):
            answer = _answer(part, columns)
            return _ByValue(answer.field, ~answer.table) if isinstance(answer, _ByValue) else ~answer
        case Compare(field, operator, operand):
            return _by_value(field, columns, lambda values, length: values.select(operator, operand, length))
        case In(field, operands):
            return _by_value(field, columns, lambda values, length: values.among(operands, length))
        case Exists(field):
            return _by_value(field, columns, lambda _, length: np.arange(length + 1) > 0)


def _by_value(field: str, columns: Columns, ask: Callable[[Values, int], Truths]) -> _ByValue:
    column = columns.fields.get(field)
    if column is None:
        return _ByValue(field, np.zeros(1, np.bool_))
    return _ByValue(field, ask(column.values, len(column.values)))


def _joined(parts: Sequence[Expression], columns: Columns, join: _Joined) -> _Answer:
    tables: dict[str, Truths] = {}
    by_item: list[Truths] = []
    for part in parts:
        answer = _answer(part, columns)
        if not isinstance(answer, _ByValue):
            by_item.append(answer)
        elif answer.field in tables:
            tables[answer.field] = _join_tables(tables[answer.field], answer.table, join)
        else:
            tables[answer.field] = answer.table
    answers = [_ByValue(field, table) for field, table in tables.items()]
    if len(answers) == 1 and not by_item:
        return answers[0]
    truths = [*(_by_item(answer, columns) for answer in answers), *by_item]
    joined = truths[0]
    for one in truths[1:]:
        joined = join(joined, one)
    return joined


def _join_tables(one: Truths, other: Truths, join: _Joined) -> Truths:
    # Values may have been added between two questions: none of an item that is asked about.
    length = min(len(one), len(other))
    return join(one[:length], other[:length])


def _by_item(answer: _Answer, columns: Columns) -> Truths:
    if not isinstance(answer, _ByValue):
        return answer
    column = columns.fields.get(answer.field)
    if column is None:
        return np.full(columns.length, answer.table[0])
    return column.truth(answer.table)
