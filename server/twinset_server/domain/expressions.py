"""What a filter says, as a tree: which items an answer may hold.

A field is `category`, or `attributes.NAME`. An item has the field `category` where its category is not empty.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from twinset_server.domain.values import Attribute

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
