"""What a filter says, as a tree. `parse` makes it of a string, `rpc` of a message, `evaluate` applies it to items.

A field is `category`, or `attributes.NAME`. An item has the field `category` where its category is not empty.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from twinset_server.domain import Attribute
from twinset_server.errors import InvalidRequest

MAX_FILTER_BYTES = 16 << 10
MAX_DEPTH = 32
"""How many parts may stand within each other, the comparison at the bottom included."""
MAX_COMPARISONS = 100
MAX_OPERANDS = 1000
"""What a filter may hold; the protos and the page on filters document it."""

CATEGORY = "category"
ATTRIBUTES = "attributes."
"""What the name of an attribute's field begins with."""


class Operator(enum.Enum):
    """How a field's value is compared. A value of another kind than the operand's matches none of them.

    Kinds are texts, numbers (whole or not), truths, times, and several texts. Texts are ordered by their characters'
    code points.
    """

    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="
    HAS = ":"
    """As EQUAL; and of several texts, that the operand is one of them."""
    PREFIX = "=*"
    """That a text begins with the operand."""


@dataclass(frozen=True, slots=True)
class And:
    """That all parts hold; `parts` are two or more."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """That one of the parts holds, or more; `parts` are two or more."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """That `part` doesn't hold: so it holds for an item without the field that `part` asks about."""

    part: Expression


@dataclass(frozen=True, slots=True)
class Compare:
    """That the item has the field, and its value compares to `operand` as `operator` says."""

    field: str
    operator: Operator
    operand: Attribute


@dataclass(frozen=True, slots=True)
class In:
    """That the item has the field, and its value equals one of `operands`, which may be of several kinds."""

    field: str
    operands: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """That the item has the field."""

    field: str


Expression = And | Or | Not | Compare | In | Exists


def check_field(field: str, name: str) -> None:
    """Raise `InvalidRequest` about `field` of a request where `name` is no field of items."""
    if name != CATEGORY and not (name.startswith(ATTRIBUTES) and len(name) > len(ATTRIBUTES)):
        raise InvalidRequest(field, f"{name!r} is no field of items: use {CATEGORY}, or {ATTRIBUTES}NAME")


def check(field: str, expression: Expression) -> None:
    """Raise `InvalidRequest` about `field` of a request where `expression` is deeper or longer than filters may be."""
    level: list[Expression] = [expression]
    comparisons = operands = depth = 0
    while level:
        depth += 1
        below: list[Expression] = []
        for part in level:
            match part:
                case And(parts) | Or(parts):
                    below.extend(parts)
                case Not(inner):
                    below.append(inner)
                case In(name, values):
                    check_field(field, name)
                    comparisons, operands = comparisons + 1, operands + len(values)
                case Compare(name) | Exists(name):
                    check_field(field, name)
                    comparisons, operands = comparisons + 1, operands + 1
        level = below
    for what, count, most in (
        ("parts within each other", depth, MAX_DEPTH),
        ("comparisons", comparisons, MAX_COMPARISONS),
        ("values to compare with", operands, MAX_OPERANDS),
    ):
        if count > most:
            raise InvalidRequest(field, f"has {count} {what}, at most {most} allowed")
