"""The rows of items in one view of a space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from twinset_server.catalog.index.item_finder import WantedItems
from twinset_server.catalog.index.labels import Places, labels_at
from twinset_server.catalog.index.rows import Int64Array, Rows
from twinset_server.catalog.index.views import View
from twinset_server.domain import ItemRows


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of a segment or of the delta, and which of the wanted items each belongs to."""

    rows: Rows
    places: Places
    owners: Places


def rows_of(view: View, item_ids: Sequence[str]) -> ItemRows:
    """Return the live rows of these items, each named once: by item, then in the order in which they were written."""
    parts = _parts(view, WantedItems(item_ids))
    if len(parts) == 1:
        (part,) = parts
        order = np.arange(len(part.places))
        return ItemRows(part.rows.vectors[part.places], part.owners, _PictureIds(parts, order))
    owners = np.concatenate([np.empty(0, np.intp), *(part.owners for part in parts)])
    # Parts follow each other in the order of their keys, so a stable sort keeps that of an item's rows.
    order = np.argsort(owners, kind="stable")
    stacked = [np.empty((0, view.space.dimension), np.float32), *(part.rows.vectors[part.places] for part in parts)]
    return ItemRows(np.concatenate(stacked)[order], owners[order], _PictureIds(parts, order))


def keys_of(view: View, item_ids: Sequence[str]) -> Int64Array:
    """Return `[M]` the keys of these items, each named once; 0 for one without a live row here."""
    keys = np.zeros(len(item_ids), np.int64)
    for part in _parts(view, WantedItems(item_ids)):
        keys[part.owners] = part.rows.owners[part.places]
    return keys


def _parts(view: View, wanted: WantedItems) -> list[_Part]:
    """Return the live rows of the wanted items, in each part by item, then by key; parts without any are left out."""
    found: list[tuple[Rows, Places, Places]] = [
        (segment.rows, *segment.items.find(wanted)) for segment in view.segments
    ]
    if view.delta.length:
        known = wanted.places
        labels = labels_at(view.delta.labels, np.arange(view.delta.length))
        owners = np.array([known.get(item_id, -1) for item_id, _ in labels], np.intp)
        places = np.flatnonzero(owners >= 0)
        found.append((view.delta, places, owners[places]))
    parts = []
    for rows, places, owners in found:
        alive = rows.died[places] > view.sequence
        order = np.lexsort((places[alive], owners[alive]))
        if len(order):
            parts.append(_Part(rows, places[alive][order], owners[alive][order]))
    return parts


class _PictureIds(Sequence[str]):
    """The pictures of rows, read where one is asked for: few ever are."""

    def __init__(self, parts: Sequence[_Part], order: Places) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part.places) for part in parts])
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        row = int(self._order[place])
        number = int(np.searchsorted(self._ends, row, "right"))
        part = self._parts[number]
        within = row - (int(self._ends[number]) - len(part.places))
        return part.rows.labels[int(part.places[within])][1]
