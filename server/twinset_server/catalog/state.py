"""The catalogue at one moment, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from twinset_server.catalog.asked import asked_of, view_of
from twinset_server.catalog.index.item_rows import keys_of, rows_of
from twinset_server.catalog.index.population import items_of, sample_of
from twinset_server.catalog.index.views import Views
from twinset_server.domain import Attribute, Expression, Float32Array, ItemRows, Search, SearchResult, Space
from twinset_server.filters.evaluate import evaluate


class ViewsState:
    """What views hold. Implements the port `CatalogState`."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._spaces = {name: view.space for name, view in views.spaces.items()}

    @property
    def sequence(self) -> int:
        """The last change that is in it."""
        return self._views.sequence

    @property
    def spaces(self) -> Mapping[str, Space]:
        """The spaces by name."""
        return self._spaces

    def search(self, search: Search) -> SearchResult:
        """Return the nearest items; see the port."""
        return asked_of(self._views, search).answer()

    def search_briefly(self, search: Search) -> SearchResult | None:
        """Return the nearest items where that is brief; see the port."""
        return asked_of(self._views, search).answer_briefly()

    def vectors(self, space: str, item_ids: Sequence[str]) -> ItemRows:
        """Return all vectors of these items; see the port."""
        return rows_of(view_of(self._views, space), item_ids)

    def items(self, space: str, expression: Expression | None) -> list[str]:
        """Return the ids of all items with a vector in a space; see the port."""
        mask = None if expression is None else evaluate(expression, self._views.columns)
        return items_of(view_of(self._views, space), mask)

    def sample(self, space: str, count: int) -> Float32Array:
        """Return vectors of a space drawn at random; see the port."""
        return sample_of(view_of(self._views, space), count)

    def attributes(self, field: str, item_ids: Sequence[str]) -> list[Attribute | None]:
        """Return what each item has in a field; see the port."""
        columns = self._views.columns
        column = columns.fields.get(field)
        if column is None or not columns.length:
            return [None] * len(item_ids)
        keys = np.zeros(len(item_ids), np.int64)
        for view in self._views.spaces.values():
            unknown = np.flatnonzero(keys == 0)
            if not len(unknown):
                break
            keys[unknown] = keys_of(view, [item_ids[place] for place in unknown.tolist()])
        places = columns.places(keys)
        codes = np.where(columns.keys[places] == keys, column.codes[places], 0).tolist()
        values = {code: column.values.value(code) for code in set(codes) if code}
        return [values.get(code) for code in codes]
