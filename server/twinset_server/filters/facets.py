"""How many of the items that match have which value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twinset_server.domain import Attribute, Facet, FacetRequest, Int32Array
from twinset_server.errors import InvalidRequest
from twinset_server.filters.bounds import check_field
from twinset_server.filters.evaluate import Truths

MAX_FACETS = 16
MAX_FACET_VALUES = 1000
DEFAULT_FACET_VALUES = 10


class Values(Protocol):
    """Distinct values by code 1, 2, ...; more may be added meanwhile."""

    def __len__(self) -> int:
        """Return how many there are."""

    def tally(self, counts: NDArray[np.int64], limit: int) -> tuple[tuple[tuple[Attribute, int], ...], int]:
        """Return the `limit` most frequent values by the counts of their codes, and how many have a count."""


class Column(Protocol):
    """One field of all items."""

    @property
    def codes(self) -> Int32Array:
        """`[N]`, 0 for those without a value."""

    @property
    def values(self) -> Values:
        """The values by code."""


class Columns(Protocol):
    """All items by place."""

    @property
    def fields(self) -> Mapping[str, Column]:
        """By name; an item has no field that isn't here."""


def check_facets(field: str, requests: Sequence[FacetRequest]) -> None:
    """Raise `InvalidRequest` about `field` of a request for the first facet that can't be counted."""
    if len(requests) > MAX_FACETS:
        raise InvalidRequest(field, f"holds {len(requests)}, at most {MAX_FACETS} allowed")
    for position, request in enumerate(requests):
        check_field(f"{field}[{position}].field", request.field)
        if not 1 <= request.limit <= MAX_FACET_VALUES:
            raise InvalidRequest(
                f"{field}[{position}].limit", f"is {request.limit}: ask for 1 to {MAX_FACET_VALUES} values"
            )


def count(requests: Sequence[FacetRequest], matching: Truths, columns: Columns) -> tuple[Facet, ...]:
    """Return the counts of each field over the items that match.

    Args:
        requests: the fields.
        matching: `[N]` by place; those of deleted items are False.
        columns: the items.
    """
    return tuple(_facet(request, matching, columns) for request in requests)


def _facet(request: FacetRequest, matching: Truths, columns: Columns) -> Facet:
    column = columns.fields.get(request.field)
    if column is None:
        return Facet(request.field, (), 0, int(np.count_nonzero(matching)))
    # As many values as there are by now: no code is above.
    counts = np.bincount(column.codes[matching], minlength=len(column.values) + 1).astype(np.int64)
    found, distinct = column.values.tally(counts, request.limit)
    return Facet(request.field, found, distinct, int(counts[0]))
