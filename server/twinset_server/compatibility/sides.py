"""The sides of pairs: what a caller names, and its vectors in the spaces of a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset_server.domain import Float32Array, ItemRows, Vector
from twinset_server.errors import TwinsetError
from twinset_server.pair_model import PairModel
from twinset_server.ports import CatalogState

Numbers = NDArray[np.intp]
"""Which sides are meant, each by its number."""


@dataclass(frozen=True, slots=True)
class ItemSide:
    """A stored item."""

    item_id: str


@dataclass(frozen=True, slots=True)
class PictureSide:
    """An encoded picture, and the category of what it shows; empty where that isn't known."""

    content: bytes
    category: str = ""


@dataclass(frozen=True, slots=True)
class VectorSide:
    """A caller's vector, and the category that it was made with; empty where that isn't known."""

    vector: Vector
    category: str = ""


Side = ItemSide | PictureSide | VectorSide
OtherSide = PictureSide | VectorSide


@dataclass(frozen=True, slots=True)
class Sides:
    """Sides by number: those of items first, then the others.

    Attributes:
        item_ids: each once.
        others: pictures and vectors.
        fields: what a caller calls each side in a request: items', then others'; None for `item_ids[N]`, `sides[N]`.
    """

    item_ids: Sequence[str]
    others: Sequence[OtherSide] = ()
    fields: Sequence[str] | None = None

    @classmethod
    def of(cls, named: Mapping[str, Side]) -> tuple[Sides, Numbers]:
        """Return sides that are given by the names of their fields, and the number of each."""
        items: dict[str, str] = {}
        others: dict[str, OtherSide] = {}
        for field, side in named.items():
            if isinstance(side, ItemSide):
                items.setdefault(side.item_id, field)
            else:
                others[field] = side
        known = {item_id: number for number, item_id in enumerate(items)}
        rest = {field: len(items) + number for number, field in enumerate(others)}
        numbers = [known[side.item_id] if isinstance(side, ItemSide) else rest[field] for field, side in named.items()]
        return cls(list(items), list(others.values()), [*items.values(), *others]), np.array(numbers, np.intp)

    def field(self, number: int) -> str:
        """Return what a caller calls the side."""
        if self.fields is not None:
            return self.fields[number]
        items = len(self.item_ids)
        return f"item_ids[{number}]" if number < items else f"sides[{number - items}]"

    def __len__(self) -> int:
        return len(self.item_ids) + len(self.others)


@dataclass(frozen=True, slots=True)
class SideVectors:
    """The vectors of sides in one space: of side n the rows from `starts[n]` to `starts[n + 1]`.

    Attributes:
        values: `[R, D]` float32.
        starts: `[S + 1]`.
        picture_ids: `[R]`; empty for what isn't an item's picture.
    """

    values: Float32Array
    starts: Numbers
    picture_ids: Sequence[str]

    @classmethod
    def of_items(cls, rows: ItemRows, count: int) -> SideVectors:
        """Return the vectors of `count` items."""
        return cls(rows.values, np.searchsorted(rows.owners, np.arange(count + 1)), rows.picture_ids)

    @classmethod
    def none(cls, dimension: int, count: int) -> SideVectors:
        """Return no vectors of `count` sides."""
        return cls(np.empty((0, dimension), np.float32), np.zeros(count + 1, np.intp), ())

    def taken(self, numbers: Numbers) -> SideVectors:
        """Return the vectors of these sides, which are numbered anew, in this order."""
        counts = self.counts[numbers]
        starts = np.concatenate([[0], np.cumsum(counts)])
        rows = np.repeat(self.starts[numbers] - starts[:-1], counts) + np.arange(starts[-1])
        return SideVectors(self.values[rows], starts, [self.picture_ids[row] for row in rows.tolist()])

    def with_others(self, vectors: Sequence[Float32Array | None]) -> SideVectors:
        """Return these followed by one vector for each other side, None where it has none."""
        if not vectors:
            return self
        present = [values for values in vectors if values is not None]
        counts = np.cumsum([values is not None for values in vectors])
        return SideVectors(
            np.concatenate([self.values, *(values[None] for values in present)]),
            np.concatenate([self.starts, self.starts[-1] + counts]),
            [*self.picture_ids, *("" for _ in present)],
        )

    @property
    def counts(self) -> Numbers:
        """`[S]`, how many vectors each side has."""
        return np.diff(self.starts)


@dataclass(frozen=True, slots=True)
class ReadSides:
    """Sides as one state of the catalogue has them.

    Attributes:
        model: what compares them.
        state: the catalogue.
        source: their vectors as the first of a pair; none for a side that isn't.
        target: their vectors as the second.
        failed: why a side has none where it is needed, by number.
        unknown: numbers of pictures and vectors whose category the model doesn't know, rising.
    """

    model: PairModel
    state: CatalogState
    source: SideVectors
    target: SideVectors
    failed: Mapping[int, TwinsetError]
    unknown: Sequence[int]

    def check(self) -> None:
        """Raise the first error that befell a side."""
        for number in sorted(self.failed):
            raise self.failed[number]
