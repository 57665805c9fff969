"""Puts a folder of vectors, with pictures or without, and keeps account of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.cli.account import Account
from twinset.cli.attributes import Facts
from twinset.cli.delivery import Delivery, UnreadablePicture, item_of, read_picture
from twinset.cli.problem import Problem
from twinset.client import Client
from twinset.contract import Metric
from twinset.items import Item, Space, Vector
from twinset.vectors import Row, VectorFolder

_MOST_AT_ONCE = 100
_BYTES_AT_ONCE = 2**20
"""Of vectors that are compared and put together: an answer with 100 items or less than 4 MiB holds those stored."""

_SAME = 1e-5
"""Largest difference between equal components: the server scales vectors of a cosine space in its own arithmetic."""


def space_for(client: Client, vectors: VectorFolder, name: str, fingerprint: str | None) -> tuple[Space, str]:
    """Return the space that the vectors go into, and the fingerprint that they carry there.

    Raises:
        Problem: there is no such space, or the vectors are not of its fingerprint, or of none that is known.
    """
    spaces = {space.name: space for space in client.catalog().spaces}
    space = spaces.get(name)
    if space is None:
        raise Problem(f"the server has no space {name!r}: choose --space among {', '.join(sorted(spaces)) or 'none'}")
    known = vectors.fingerprint
    if known and fingerprint and known != fingerprint:
        raise Problem(f"the vectors in {vectors.path} are of {known}, not of {fingerprint}: leave --fingerprint away")
    if not space.model:
        # An external space takes what clients bring: its fingerprint names no model that vectors could be of.
        return space, fingerprint or ""
    made_by = fingerprint or known
    if made_by is None:
        raise Problem(
            f"nothing in {vectors.path} tells which model made the vectors: say so with --fingerprint; the space "
            f"{name!r} takes those of {space.fingerprint}"
        )
    if made_by != space.fingerprint:
        raise Problem(
            f"the vectors in {vectors.path} are of {made_by}, the space {name!r} takes those of {space.fingerprint}: "
            "embed the pictures with the model that the server runs, or choose another --space"
        )
    return space, made_by


class VectorPut:
    """One run of `twinset put --vectors`."""

    def __init__(
        self,
        client: Client,
        vectors: VectorFolder,
        space: Space,
        fingerprint: str,
        pictures: Mapping[str, Path] | None,
        facts: Mapping[str, Facts],
        *,
        progress: Callable[[Account], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare to put.

        Args:
            client: where to.
            vectors: what to put.
            space: where they belong.
            fingerprint: what made them, as `space_for` returned it.
            pictures: picture files by item id, to put together with their vectors; None to put vectors alone.
            facts: what is known of the items, by id.
            progress: called whenever `account` changes.
            sleep: waits some seconds.
        """
        self.account = Account(vectors.count)
        self.seen: set[str] = set()
        self.without_picture = 0
        self._client = client
        self._vectors = vectors
        self._space = space
        self._fingerprint = fingerprint
        self._pictures = pictures
        self._facts = facts
        self._delivery = Delivery(client, self.account, progress=progress, sleep=sleep)

    def run(self) -> None:
        """Put every vector whose item isn't in the catalogue as it is here.

        A bad row is noted in the account, and the rest go on. With pictures, a vector whose item has none is passed
        over.

        Raises:
            TwinsetError: the connection failed; `account` tells what was done until then.
            VectorsError: the files end early.
        """
        rows = self._good(self._vectors.rows())
        size = max(1, min(_MOST_AT_ONCE, _BYTES_AT_ONCE // (4 * self._space.dimension)))
        while group := list(itertools.islice(rows, size)):
            by_id = {row.id: row for row in group}
            places = {row.id: _place(row) for row in group}
            self._delivery.put(list(by_id), partial(self._changed, by_id), places.__getitem__)

    def _good(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Return the rows that can be put, and note the reason of each other one."""
        for row in rows:
            if reason := self._reason(row):
                self._fail(row, reason)
                continue
            self.seen.add(row.id)
            if self._pictures is not None and row.id not in self._pictures:
                self.without_picture += 1
                self.account.total -= 1
                continue
            yield row

    def _reason(self, row: Row) -> str:
        if row.reason:
            return row.reason
        if not row.id:
            return "has no id"
        if row.id in self.seen:
            return "an earlier row has the same id"
        if len(row.values) != self._space.dimension:
            return f"has {len(row.values):,} components, the space {self._space.name!r} takes {self._space.dimension:,}"
        if self._space.metric is Metric.COSINE and not row.values.any():
            return f"is zero, and has no direction; the space {self._space.name!r} compares directions"
        return ""

    def _changed(self, rows: Mapping[str, Row], ids: Sequence[str]) -> Iterator[Item]:
        stored = self._client.get_items(ids, view="full")
        for item_id in ids:
            row, there = rows[item_id], stored.get(item_id)
            if self._pictures is None and there is not None and there.pictures:
                # A put replaces an item as a whole, and the pictures are not at hand.
                self._fail(row, "the item has pictures, which would be lost: give their folder too")
                continue
            path = None if self._pictures is None else self._pictures[item_id]
            try:
                content = None if path is None else read_picture(path)
            except UnreadablePicture as error:
                self._fail(row, f"{path}: {error}")
                continue
            vector = Vector(row.values, self._space.name, self._fingerprint)
            item = item_of(item_id, content, self._facts.get(item_id, Facts()), (vector,))
            same = there is not None and self._has(there, row.values)
            if self._delivery.is_news(item, there, same_vectors=same):
                yield item

    def _has(self, stored: Item, values: NDArray[np.float32]) -> bool:
        wanted = values.astype(np.float64)
        if self._space.metric is Metric.COSINE:
            wanted /= np.linalg.norm(wanted)
        bound = _SAME * float(np.abs(wanted).max())
        brought = [vector.values for vector in stored.vectors if vector.space == self._space.name]
        return len(brought) == 1 and bool(np.abs(brought[0] - wanted).max() <= bound)

    def _fail(self, row: Row, reason: str) -> None:
        self._delivery.fail(_place(row), reason)


def _place(row: Row) -> str:
    """Return where a row comes from, for the account."""
    return f"{row.place} ({row.id})" if row.id else row.place
