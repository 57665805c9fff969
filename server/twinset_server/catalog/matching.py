"""What a search's filter leaves of all items, and the facets over that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from twinset_server.catalog.columns.codes import Truths
from twinset_server.catalog.columns.table import Columns
from twinset_server.domain import Compare, Expression, Operator, Search, SearchResult
from twinset_server.filters import facets
from twinset_server.filters.bounds import comparisons
from twinset_server.filters.evaluate import evaluate

_BRIEF_LOOKS = 1_000_000
"""At so many items a comparison takes .1 ms with one of a few values, and 2 with a range of a million."""

_TEXT_LOOKS = 20
"""To order a text takes as long as to look at so many items."""

_BY_INDEX = (Operator.EQUAL, Operator.NOT_EQUAL, Operator.HAS)
"""Operators that look an operand up instead."""

_FACET_LOOKS = 8
"""To count a field's values takes as long as so many comparisons."""


def is_brief(search: Search, columns: Columns) -> bool:
    """Return whether filter and facets take less than about two milliseconds."""
    looks = _FACET_LOOKS * len(search.facets) * columns.length
    if search.expression is None:
        return looks <= _BRIEF_LOOKS
    for part in comparisons(search.expression):
        looks += columns.length
        column = columns.fields.get(part.field)
        if column is not None and isinstance(part, Compare) and isinstance(part.operand, str):
            looks += 0 if part.operator in _BY_INDEX else _TEXT_LOOKS * len(column.values)
    return looks <= _BRIEF_LOOKS


def mask_of(search: Search, columns: Columns) -> Truths | None:
    """Return `[N]` by place which items the filter leaves, of deleted ones either; None without a filter."""
    return None if search.expression is None else evaluate(search.expression, columns)


def matching_among(
    item_ids: Sequence[str], keys: Mapping[str, int], expression: Expression, columns: Columns
) -> list[str]:
    """Return those of the items that match; `keys` are those of stored ones by id."""
    known = [item_id for item_id in item_ids if item_id in keys]
    if not known or not columns.length:
        return []
    of_known = np.array([keys[item_id] for item_id in known], np.int64)
    places = columns.places(of_known)
    # One that was deleted since, or put, stands nowhere.
    matches = evaluate(expression, columns)[places] & (columns.keys[places] == of_known)
    return [item_id for item_id, matched in zip(known, matches.tolist(), strict=True) if matched]


def with_facets(result: SearchResult, search: Search, mask: Truths | None, columns: Columns) -> SearchResult:
    """Return the result with the facets that are asked for; `mask` is that of `mask_of`."""
    if not search.facets:
        return result
    matching = columns.alive if mask is None else columns.alive & mask
    counted = facets.count(search.facets, matching, columns)
    return result._replace(facets=counted, matching=int(np.count_nonzero(matching)))
