"""Vectors of one space in memory, append-only, with the sequence at which each was overwritten or deleted.

One thread appends and buries; any thread reads. A `Rows` is the view of a length: what stands below it never changes
but for `died`, and a reader that searches at sequence S takes no notice of what died after S. So a search sees one
state from beginning to end, without a lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinset_server.domain import Float32Array

ALIVE = np.iinfo(np.int64).max
"""`died` of a row that is neither overwritten nor deleted."""

Int64Array = NDArray[np.int64]
Label = tuple[str, str]
"""The ids of a row's item and picture."""


class Row(NamedTuple):
    """One vector: its key, above all keys before it, and `values` of shape `[D]` float32."""

    key: int
    label: Label
    values: Float32Array


@dataclass(frozen=True, slots=True)
class Rows:
    """The first `length` rows of arrays that may be longer.

    Attributes:
        keys: `[C]` int64, rising.
        vectors: `[C, D]` float32.
        squares: `[C]` float32, the squared L2 norm of each vector; infinite where float32 can't hold it.
        died: `[C]` int64, the sequence of the change that ended the row, or `ALIVE`.
        labels: at least `length` of them.
    """

    length: int
    keys: Int64Array
    vectors: Float32Array
    squares: Float32Array
    died: Int64Array
    labels: list[Label]

    @classmethod
    def empty(cls, dimension: int) -> Rows:
        """Return no rows."""
        return cls.of(np.empty(0, np.int64), np.empty((0, dimension), np.float32), [])

    @classmethod
    def of(cls, keys: Int64Array, vectors: Float32Array, labels: list[Label]) -> Rows:
        """Return live rows of these columns, which it keeps."""
        with np.errstate(over="ignore"):
            squares = np.einsum("nd,nd->n", vectors, vectors)
        return cls(len(keys), keys, vectors, squares, np.full(len(keys), ALIVE, np.int64), labels)

    def plus(self, added: Sequence[Row]) -> Rows:
        """Return these rows followed by `added`. Only the newest view may grow: the arrays are shared."""
        if not added:
            return self
        keys = np.fromiter((row.key for row in added), np.int64, len(added))
        return self.joined(Rows.of(keys, np.stack([row.values for row in added]), [row.label for row in added]))

    def joined(self, later: Rows) -> Rows:
        """Return these rows followed by those of `later`. Only the newest view may grow: the arrays are shared."""
        length = self.length + later.length
        grown = self if length <= len(self.keys) else self._with_room(length)
        span = slice(self.length, length)
        grown.keys[span] = later.keys[: later.length]
        grown.vectors[span] = later.vectors[: later.length]
        grown.squares[span] = later.squares[: later.length]
        grown.died[span] = later.died[: later.length]
        grown.labels.extend(later.labels[: later.length])
        # The length comes last: no reader looks beyond the one it holds.
        return replace(grown, length=length)

    def tail(self, start: int) -> Rows:
        """Return a copy of the rows from `start` on."""
        span = slice(start, self.length)
        return Rows(
            self.length - start,
            self.keys[span].copy(),
            self.vectors[span].copy(),
            self.squares[span].copy(),
            self.died[span].copy(),
            self.labels[span],
        )

    def bury(self, keys: Int64Array, sequence: int) -> int:
        """Mark those rows of `keys` that are here as ended by change `sequence`; return how many are here."""
        places = self.places(keys)
        self.died[places] = sequence
        return len(places)

    def places(self, keys: Int64Array) -> NDArray[np.intp]:
        """Return where those of `keys` that are here stand."""
        places = np.searchsorted(self.keys[: self.length], keys)
        inside = places < self.length
        found: NDArray[np.intp] = places[inside][self.keys[places[inside]] == keys[inside]]
        return found

    def alive(self, sequence: int) -> NDArray[np.bool_]:
        """Return `[length]` truths: whether each row lives at `sequence`."""
        return self.died[: self.length] > sequence

    def _with_room(self, length: int) -> Rows:
        capacity = max(64, 1 << (length - 1).bit_length())

        def roomy(column: NDArray[np.generic]) -> NDArray[np.generic]:
            wide = np.empty((capacity, *column.shape[1:]), column.dtype)
            wide[: self.length] = column[: self.length]
            return wide

        return Rows(
            self.length,
            roomy(self.keys),  # type: ignore[arg-type]
            roomy(self.vectors),  # type: ignore[arg-type]
            roomy(self.squares),  # type: ignore[arg-type]
            roomy(self.died),  # type: ignore[arg-type]
            self.labels[: self.length],
        )
