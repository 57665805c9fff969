"""Vectors of one space in memory, append-only, with the sequence at which each was overwritten or deleted.

One thread appends and buries; any thread reads. A `Rows` is the view of a length: what stands below it never changes
but for `died`, and a reader that searches at sequence S takes no notice of what died after S. So a search sees one
state from beginning to end, without a lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog.index.coarse import Coarse, coarse_of
from twinset_server.catalog.index.labels import Label, Labels, Places
from twinset_server.domain import Float32Array

ALIVE = np.iinfo(np.int64).max
"""`died` of a row that is neither overwritten nor deleted."""

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]

_ROOM_BYTES = 1 << 25
"""What a delta's vectors may grow to before they are copied; the kernel gives the memory as it is used."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The first `length` rows of arrays that may be longer.

    Attributes:
        keys: `[C]` int64, rising.
        vectors: `[C, D]` float32.
        squares: `[C]` float32, the squared L2 norm of each vector; infinite where float32 can't hold it.
        coarse: `[C]`, the vectors as bytes.
        died: `[C]` int64, the sequence of the change that ended the row, or `ALIVE`.
        first_death: `[1]` int64, no row died in a change before this one.
        owners: `[C]` int64, the key of each row's item.
        labels: at least `length` of them.
    """

    length: int
    keys: Int64Array
    vectors: Float32Array
    squares: Float32Array
    coarse: Coarse
    died: Int64Array
    first_death: Int64Array
    owners: Int64Array
    labels: Labels

    def bury(self, keys: Int64Array, sequence: int) -> int:
        """Mark those rows of `keys` that live here as ended by change `sequence`; return how many they are.

        A row that is dead already keeps its sequence: a later one would bring it back for older views.
        """
        places = self.places(keys)
        places = places[self.died[places] == ALIVE]
        if len(places):
            self.died[places] = sequence
            self.first_death[0] = min(int(self.first_death[0]), sequence)
        return len(places)

    def places(self, keys: Int64Array) -> Places:
        """Return where those of `keys` that are here stand."""
        places = np.searchsorted(self.keys[: self.length], keys)
        found: Places = places[self.holds(keys)]
        return found

    def holds(self, keys: Int64Array) -> NDArray[np.bool_]:
        """Return for each of `keys` whether its row is here."""
        if not self.length:
            return np.zeros(len(keys), np.bool_)
        places = np.minimum(np.searchsorted(self.keys[: self.length], keys), self.length - 1)
        found: NDArray[np.bool_] = self.keys[places] == keys
        return found

    def alive(self, sequence: int) -> NDArray[np.bool_]:
        """Return `[length]` truths: whether each row lives at `sequence`."""
        return self.died[: self.length] > sequence

    def all_alive(self, sequence: int) -> bool:
        """Return whether every row lives at `sequence`, as far as that is known without a look at each."""
        return bool(self.first_death[0] > sequence)


@dataclass(frozen=True, slots=True)
class Delta(Rows):
    """Rows that may be followed by more; its labels are a list.

    Attributes:
        item_places: `[C]` int32, where each row's item stands in the table of columns.
    """

    labels: list[Label]
    item_places: Int32Array

    @classmethod
    def empty(cls, dimension: int) -> Delta:
        """Return no rows."""
        keys = np.empty(0, np.int64)
        return cls.of(keys, np.empty((0, dimension), np.float32), keys, [], np.empty(0, np.int32))

    @classmethod
    def of(
        cls,
        keys: Int64Array,
        vectors: Float32Array,
        owners: Int64Array,
        labels: Sequence[Label],
        item_places: Int32Array,
    ) -> Delta:
        """Return live rows of these columns."""
        died = np.full(len(keys), ALIVE, np.int64)
        coarse = coarse_of(vectors)
        squared, living = squares(vectors), nobody_died()
        return cls(len(keys), keys, vectors, squared, coarse, died, living, owners, list(labels), item_places)

    def plus(
        self,
        keys: Int64Array,
        vectors: Float32Array,
        owners: Int64Array,
        labels: Sequence[Label],
        item_places: Int32Array,
    ) -> Delta:
        """Return these rows followed by live rows of these columns. Only the newest may grow: the arrays are shared."""
        length = self.length + len(keys)
        grown = self if length <= len(self.keys) else self._with_room(length)
        span = slice(self.length, length)
        grown.keys[span] = keys
        grown.vectors[span] = vectors
        grown.squares[span] = squares(vectors)
        added = coarse_of(vectors)
        grown.coarse.values[span] = added.values
        grown.coarse.scales[span] = added.scales
        grown.died[span] = ALIVE
        grown.owners[span] = owners
        grown.item_places[span] = item_places
        grown.labels.extend(labels)
        # The length comes last: no reader looks beyond the one it holds.
        return replace(
            grown,
            length=length,
            coarse=replace(
                grown.coarse,
                length=max(grown.coarse.length, added.length),
                rounded=max(grown.coarse.rounded, added.rounded),
            ),
        )

    def after(self, key: int) -> Delta:
        """Return the rows with keys above `key`, dead ones too. Nothing is copied while half of the room is left."""
        start = int(np.searchsorted(self.keys[: self.length], key, side="right"))
        rest = Delta(
            self.length - start,
            self.keys[start:],
            self.vectors[start:],
            self.squares[start:],
            self._coarse_at(slice(start, None)),
            self.died[start:],
            self.first_death,
            self.owners[start:],
            self.labels[start : self.length],
            self.item_places[start:],
        )
        return rest if 2 * len(rest.keys) >= _room(self.vectors.shape[1]) else rest._with_room(rest.length)

    def alive_above(self, key: int, sequence: int) -> Delta:
        """Return a copy of the rows with keys above `key` that live at `sequence`."""
        places = np.flatnonzero(self.alive(sequence) & (self.keys[: self.length] > key))
        return Delta(
            len(places),
            self.keys[places],
            self.vectors[places],
            self.squares[places],
            self._coarse_at(places),
            self.died[places],
            np.full(1, self.died[places].min(initial=ALIVE)),
            self.owners[places],
            [self.labels[place] for place in places.tolist()],
            self.item_places[places],
        )

    def placed(self, item_places: Int32Array) -> Delta:
        """Return the same rows with their items at other places."""
        wide = np.empty(len(self.keys), np.int32)
        wide[: self.length] = item_places
        return replace(self, item_places=wide)

    def _coarse_at(self, places: Places | slice) -> Coarse:
        return replace(self.coarse, values=self.coarse.values[places], scales=self.coarse.scales[places])

    def _with_room(self, length: int) -> Delta:
        # A copy of thousands of rows takes tens of milliseconds under load, in which searches wait: it is made rarely.
        capacity = max(_room(self.vectors.shape[1]), 2 * length)

        def roomy(column: NDArray[np.generic]) -> NDArray[np.generic]:
            wide = np.empty((capacity, *column.shape[1:]), column.dtype)
            wide[: self.length] = column[: self.length]
            return wide

        return Delta(
            self.length,
            roomy(self.keys),  # type: ignore[arg-type]
            roomy(self.vectors),  # type: ignore[arg-type]
            roomy(self.squares),  # type: ignore[arg-type]
            replace(
                self.coarse,
                values=roomy(self.coarse.values),  # type: ignore[arg-type]
                scales=roomy(self.coarse.scales),  # type: ignore[arg-type]
            ),
            roomy(self.died),  # type: ignore[arg-type]
            self.first_death,
            roomy(self.owners),  # type: ignore[arg-type]
            self.labels[: self.length],
            roomy(self.item_places),  # type: ignore[arg-type]
        )


def _room(dimension: int) -> int:
    return _ROOM_BYTES // (4 * dimension)


def nobody_died() -> Int64Array:
    """Return `first_death` of rows that all live."""
    return np.full(1, ALIVE)


def squares(vectors: Float32Array) -> Float32Array:
    """Return the squared L2 norm of each row."""
    with np.errstate(over="ignore"):
        found: Float32Array = np.einsum("nd,nd->n", vectors, vectors)
    return found
