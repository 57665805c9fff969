"""Category and attributes of every item, as searches read them: an array of codes for each field, by item place.

An item's place is the rank of its key, which it keeps when it is overwritten. A filter is evaluated on the distinct
values of a field first; then `Column.truth` says of every item what it says of its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog.columns.codes import Codes, Codes32, Truths, take
from twinset_server.catalog.columns.values import Values
from twinset_server.domain import CATEGORY

Int64Array = NDArray[np.int64]
Places32 = NDArray[np.int32]

_MANY_SHARE = 8
_WIDEST = 8
"""A table of ranks is made for more than this part of the items, where at least one key of so many is in use."""


@dataclass(frozen=True, slots=True)
class Column:
    """One field of all items.

    Attributes:
        stored: a code for each item; 0 where it has no value.
        values: the values by code; more may be added, of codes that `stored` doesn't have.
    """

    stored: Codes
    values: Values

    @property
    def codes(self) -> Codes32:
        """The codes `[N]`, not to be written to. Where only truths are needed, `truth` costs less."""
        return self.stored.array

    def truth(self, table: Truths) -> Truths:
        """Return `table[codes]`, `[N]`.

        Args:
            table: `[V + 1]` truths by code, of all values that there are.
        """
        return self.stored.truth(table)


@dataclass(frozen=True, slots=True)
class Columns:
    """All items as they were after change `sequence`, and places of some that were deleted.

    Attributes:
        sequence: the last change that it knows.
        length: how many places there are, N.
        keys: `[N]` int64, the items' keys, rising.
        fields: by name: `category`, and `attributes.NAME` for each name that any item has used.
        living: a code for each place: 1, or 0 where the item was deleted.
        layout: another number where items have other places than before.
    """

    sequence: int
    length: int
    keys: Int64Array
    fields: Mapping[str, Column]
    living: Codes
    layout: int

    @classmethod
    def empty(cls) -> Columns:
        """Return no items."""
        none = np.empty(0, np.int32)
        codes = Codes(none, none, none, none)
        return cls(0, 0, np.empty(0, np.int64), {CATEGORY: Column(codes, Values())}, codes, 0)

    @property
    def alive(self) -> Truths:
        """Which items exist, `[N]`; a deleted one still has its codes."""
        return self.living.truth(np.array([False, True]))

    def places(self, keys: Int64Array) -> Places32:
        """Return `[M]` int32, where the items of `keys` stand.

        One that isn't here has ended: for its key any place is returned.
        """
        if not self.length:
            return np.zeros(len(keys), np.int32)
        first, last = int(self.keys[0]), int(self.keys[-1])
        if self.length < _MANY_SHARE * len(keys) and last - first < _WIDEST * self.length:
            # To look a million random keys up in a million takes 230 ms, by a table of ranks a tenth of it.
            ranks = np.full(last - first + 1, -1, np.int32)
            ranks[self.keys - first] = np.arange(self.length, dtype=np.int32)
            found: Places32 = ranks[np.clip(keys, first, last) - first]
            return np.maximum(found, 0)
        return np.minimum(np.searchsorted(self.keys, keys), self.length - 1).astype(np.int32)


@dataclass(frozen=True, slots=True)
class RowPlaces:
    """Where the items of rows stand.

    Attributes:
        places: `[rows]` int32; a slice where they stand side by side, in the order of the rows.
    """

    places: Places32 | slice

    @classmethod
    def of(cls, columns: Columns, owners: Int64Array) -> RowPlaces:
        """Return the places of the items with the keys `owners`, one for each row."""
        first = int(np.searchsorted(columns.keys, owners[0])) if len(owners) else 0
        side_by_side = columns.keys[first : first + len(owners)]
        if np.array_equal(side_by_side, owners):
            return cls(slice(first, first + len(owners)))
        return cls(columns.places(owners))

    def truth(self, mask: Truths) -> Truths:
        """Return for each row what `mask`, `[N]` by item place, says of its item; rows of ended items get anything."""
        # Without items all rows have ended, and place 0 isn't there.
        if not len(mask):
            return np.zeros(len(self), np.bool_)
        if isinstance(self.places, slice):
            return mask[self.places]
        found = np.empty(len(self.places), np.bool_)
        take(mask, self.places, found)
        return found

    def __len__(self) -> int:
        return self.places.stop - self.places.start if isinstance(self.places, slice) else len(self.places)
