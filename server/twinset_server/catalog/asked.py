"""What a search asks of the catalogue at one moment, and its answers: at once where that is brief, or on a thread."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from twinset_server.catalog import matching
from twinset_server.catalog.columns.codes import Truths
from twinset_server.catalog.columns.table import Columns
from twinset_server.catalog.index.search import scan, search_briefly, search_each, search_each_briefly
from twinset_server.catalog.index.views import View, Views
from twinset_server.catalog.index.walks import Query
from twinset_server.catalog.store.entry import fitted_query
from twinset_server.domain import Float32Array, Search, SearchResult
from twinset_server.errors import SpaceNotFound


def view_of(views: Views, space: str) -> View:
    """Return a space at that moment.

    Raises:
        SpaceNotFound: there is none of this name.
    """
    view = views.spaces.get(space)
    if view is None:
        raise SpaceNotFound(space, views.spaces)
    return view


class Asked(NamedTuple):
    """A search, and what it reads; `values` is the query as the space takes it."""

    search: Search
    values: Float32Array
    view: View
    columns: Columns

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to do but to search."""
        return self.search.expression is None and not self.search.facets

    def answer(self) -> SearchResult:
        """Return the nearest items."""
        (result,) = answer_each([self])
        return result

    def answer_briefly(self) -> SearchResult | None:
        """Return the nearest items; None where that would take more than about two milliseconds."""
        if not matching.is_brief(self.search, self.columns):
            return None
        mask = matching.mask_of(self.search, self.columns)
        result = search_briefly(self.view, self.query(mask))
        return None if result is None else self.completed(result, mask)

    def answer_exactly(self) -> SearchResult:
        """Return what comparing all gives, without facets."""
        return scan(self.view, self.query(matching.mask_of(self.search, self.columns)))

    def query(self, mask: Truths | None) -> Query:
        """Return what to look for among the items that `mask` leaves."""
        asked = self.search
        return Query(self.values, asked.k, asked.exclude, asked.target_recall, mask)

    def completed(self, result: SearchResult, mask: Truths | None) -> SearchResult:
        """Return the result with the facets over the items that `mask` leaves."""
        return matching.with_facets(result, self.search, mask, self.columns)


def asked_of(views: Views, search: Search) -> Asked:
    """Return what a search asks of one moment.

    Raises:
        SpaceNotFound: the catalogue has no space of this name.
        BadVector: the query doesn't fit the space.
    """
    view = view_of(views, search.space)
    return Asked(search, fitted_query(search.query, view.space), view, views.columns)


def answer_briefly(asked: Sequence[Asked]) -> list[SearchResult]:
    """Return the results of the first of `asked`, as many as take about two milliseconds; none where one takes longer.

    On a thread they would take a seventh more: it and the event loop wait for each other.
    """
    first = asked[0]
    if not first.is_plain:
        result = first.answer_briefly()
        return [] if result is None else [result]
    alike = itertools.takewhile(lambda one: one.is_plain and one.view is first.view, asked)
    return search_each_briefly(first.view, [one.query(None) for one in alike])


def answer_each(asked: Sequence[Asked]) -> list[SearchResult]:
    """Return each result, however long that takes; those of one space share what they have in common."""
    masks = [matching.mask_of(one.search, one.columns) for one in asked]
    places: dict[int, list[int]] = defaultdict(list)
    for place, one in enumerate(asked):
        places[id(one.view)].append(place)
    found: dict[int, SearchResult] = {}
    for group in places.values():
        queries = [asked[place].query(masks[place]) for place in group]
        found.update(zip(group, search_each(asked[group[0]].view, queries), strict=True))
    return [one.completed(found[place], masks[place]) for place, one in enumerate(asked)]
