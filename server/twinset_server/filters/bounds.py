"""How long and how deep filters may be. The protos and docs/filters.md document it; this is what enforces it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from twinset_server.domain import ATTRIBUTES, CATEGORY, And, Compare, Exists, Expression, In, Not, Or
from twinset_server.errors import InvalidRequest

MAX_FILTER_BYTES = 16 << 10
MAX_DEPTH = 32
"""How many parts may stand within each other, the comparison at the bottom included."""
MAX_COMPARISONS = 100
MAX_OPERANDS = 1000
MAX_FIELD_CHARACTERS = len(ATTRIBUTES) + 64
"""What a filter may hold; the protos and the page on filters document it."""


def check_field(field: str, name: str) -> None:
    """Raise `InvalidRequest` about `field` of a request where `name` is no field of items."""
    if len(name) > MAX_FIELD_CHARACTERS:
        raise InvalidRequest(field, f"is {len(name)} characters long, at most {MAX_FIELD_CHARACTERS} allowed")
    if name != CATEGORY and not (name.startswith(ATTRIBUTES) and len(name) > len(ATTRIBUTES)):
        raise InvalidRequest(field, f"{name!r} is no field of items: use {CATEGORY}, or {ATTRIBUTES}NAME")


def check(field: str, expression: Expression) -> None:
    """Raise `InvalidRequest` about `field` of a request where `expression` is deeper or longer than filters may be."""
    compared = operands = depth = 0
    for level in _levels(expression):
        depth += 1
        for part in level:
            if isinstance(part, Compare | In | Exists):
                check_field(field, part.field)
                compared += 1
                operands += len(part.operands) if isinstance(part, In) else 1
    for what, count, most in (
        ("parts within each other", depth, MAX_DEPTH),
        ("comparisons", compared, MAX_COMPARISONS),
        ("values to compare with", operands, MAX_OPERANDS),
    ):
        if count > most:
            raise InvalidRequest(field, f"has {count} {what}, at most {most} allowed")


def comparisons(expression: Expression) -> Iterator[Compare | In | Exists]:
    """Yield what a filter asks of fields."""
    return (part for level in _levels(expression) for part in level if isinstance(part, Compare | In | Exists))


def _levels(expression: Expression) -> Iterator[Sequence[Expression]]:
    """Yield the parts of a filter, those of one depth at a time."""
    level: list[Expression] = [expression]
    while level:
        yield level
        below: list[Expression] = []
        for part in level:
            match part:
                case And(parts) | Or(parts):
                    below.extend(parts)
                case Not(inner):
                    below.append(inner)
        level = below
