"""Facets: how many items there are of each value of a field."""

from __future__ import annotations

from dataclasses import dataclass

from twinset_server.domain.values import Attribute


@dataclass(frozen=True, slots=True)
class FacetRequest:
    """A field to count the values of, and how many of them to tell, the most frequent first."""

    field: str
    limit: int


@dataclass(frozen=True, slots=True)
class Facet:
    """The counts of one field.

    Attributes:
        field: `category`, or `attributes.NAME`.
        counts: values, each with the number of items that have it, the most frequent first. An item with several
            texts counts for each of them.
        distinct: how many values there are, those told included.
        missing: how many items have no value.
    """

    field: str
    counts: tuple[tuple[Attribute, int], ...]
    distinct: int
    missing: int
