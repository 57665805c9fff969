"""Pairs of items that go together."""

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


@dataclass(frozen=True, slots=True)
class Pairs:
    """Directed pairs: `left` is the source, `right` the target.

    Attributes:
        left: `[N]` int32, places in `item_ids`.
        right: `[N]` int32, places in `item_ids`.
        item_ids: the items, each once; some may be in no pair.
    """

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    item_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.left)

    def rows(self, chosen: NDArray[Any]) -> Pairs:
        """Return the pairs of a mask or of places; items keep their numbers."""
        return Pairs(self.left[chosen], self.right[chosen], self.item_ids)

    def keys(self) -> NDArray[np.int64]:
        """Return one number for each pair, `[N]`: left times the number of items, plus right."""
        return self.left.astype(np.int64) * len(self.item_ids) + self.right

    def distinct(self) -> Pairs:
        """Return each pair once, where it came first, and no item paired with itself."""
        _, first = np.unique(self.keys(), return_index=True)
        first.sort()
        return self.rows(first[self.left[first] != self.right[first]])

    def among(self, item_ids: Sequence[str]) -> Pairs:
        """Return the pairs whose items are both in `item_ids`, numbered by their places there."""
        places = {name: place for place, name in enumerate(item_ids)}
        table = np.array([places.get(name, -1) for name in self.item_ids], np.int32)
        known = (table[self.left] >= 0) & (table[self.right] >= 0)
        return Pairs(table[self.left[known]], table[self.right[known]], tuple(item_ids))


def read_pairs(
    path: Path,
    *,
    columns: tuple[str, str] | tuple[int, int] = (0, 1),
    delimiter: str = ",",
    item_ids: Sequence[str] | None = None,
) -> Pairs:
    """Return the pairs of a file, each once.

    Args:
        path: delimited text, `.gz` or not.
        columns: of the source and the target: their names, or, in a file without a row of names, their places.
        delimiter: between the fields.
        item_ids: all items there may be, in the order of their numbers; None numbers them as they come.

    Raises:
        DataError: a line is broken, names an item that isn't known, or pairs an item with itself.
    """
    numbering = Numbering(item_ids or (), closed=item_ids is not None)
    left, right = array("i"), array("i")
    for number, fields in read_columns(path, columns, delimiter=delimiter):
        if fields[0] == fields[1]:
            raise DataError(path, "two different items", found=shown(fields[0]), line=number)
        for side, text in zip((left, right), fields, strict=True):
            if not is_id(text):
                raise DataError(path, "the id of an item", found=shown(text), line=number)
            try:
                side.append(numbering[text])
            except KeyError:
                raise DataError(path, "the id of an item that is known", found=shown(text), line=number) from None
    return Pairs(np.array(left, np.int32), np.array(right, np.int32), numbering.ids()).distinct()
