"""Items seen together: the furniture of a room, the clothes of an outfit, a basket."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.datasets.errors import DataError, shown
from twinset_exporter.datasets.ids import Numbering, is_id
from twinset_exporter.datasets.lines import read_columns
from twinset_exporter.datasets.pairs import Pairs


@dataclass(frozen=True, slots=True)
class Groups:
    """One row for each item of each group.

    Attributes:
        groups: `[N]` int32, places in `group_ids`.
        items: `[N]` int32, places in `item_ids`.
        group_ids: the groups, each once.
        item_ids: the items, each once; some may be in no group.
    """

    groups: NDArray[np.int32]
    items: NDArray[np.int32]
    group_ids: tuple[str, ...]
    item_ids: tuple[str, ...]

    def of(self, groups: NDArray[Any]) -> Groups:
        """Return the rows of some groups, given by their places; groups and items keep their numbers."""
        kept = np.isin(self.groups, groups)
        return Groups(self.groups[kept], self.items[kept], self.group_ids, self.item_ids)

    def pairs(self) -> Pairs:
        """Return which two items are in one group, each two once: `left` is the one with the smaller number."""
        order = np.argsort(self.groups, kind="stable")
        ends = np.flatnonzero(np.diff(self.groups[order])) + 1
        found = [np.empty((2, 0), np.int32)]
        for members in np.split(self.items[order], ends):
            first, second = np.triu_indices(len(members), 1)
            ordered = np.sort(members)
            found.append(np.stack((ordered[first], ordered[second])))
        left, right = np.concatenate(found, axis=1)
        return Pairs(left, right, self.item_ids).distinct()


def read_groups(
    path: Path,
    *,
    group_column: str = "room_id",
    item_column: str = "item_id",
    delimiter: str = ",",
    item_ids: Sequence[str] | None = None,
) -> Groups:
    """Return the groups of a table with one row for each item of each group; an item is in a group once.

    Args:
        path: delimited text whose first row names its columns, `.gz` or not.
        group_column: of the groups' ids.
        item_column: of the items' ids.
        delimiter: between the fields.
        item_ids: all items there may be, in the order of their numbers; None numbers them as they come.

    Raises:
        DataError: a line is broken, or names an item that isn't known.
    """
    numbering, named = Numbering(item_ids or (), closed=item_ids is not None), Numbering()
    groups, items = array("i"), array("i")
    for number, fields in read_columns(path, (group_column, item_column), delimiter=delimiter):
        for text, what in zip(fields, ("a group", "an item"), strict=True):
            if not is_id(text):
                raise DataError(path, f"the id of {what}", found=shown(text), line=number)
        try:
            items.append(numbering[fields[1]])
        except KeyError:
            raise DataError(path, "the id of an item that is known", found=shown(fields[1]), line=number) from None
        groups.append(named[fields[0]])
    rows = np.array((groups, items), np.int32)
    _, first = np.unique(rows, axis=1, return_index=True)
    first.sort()
    return Groups(rows[0, first], rows[1, first], named.ids(), numbering.ids())
