"""Generations of factors in memory, and folders of them on disk."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from twinset.contract import Metric
from twinset.factors import FoldIn, Manifest
from twinset_exporter.training.taste import factor_files
from twinset_server.domain import (
    TASTE,
    FactorGeneration,
    FactorItems,
    FactorRows,
    FactorsHeader,
    FactorUsers,
    Float32Array,
    FoldInRows,
    ItemVector,
    Space,
)
from twinset_server.errors import GenerationNotFound, InvalidRequest


class FakeFactors:
    """Two generations at most: the active one, and the one before."""

    def __init__(self) -> None:
        self._kept: list[FactorGeneration] = []
        self._headers: dict[int, FactorsHeader] = {}
        self._items: dict[int, dict[str, tuple[Float32Array, Float32Array, Float32Array]]] = {}
        self.users: dict[int, dict[str, Float32Array]] = {}
        self.switched = 0

    @property
    def active(self) -> int | None:
        return self._kept[0].number if self._kept else None

    @property
    def space(self) -> Space | None:
        if not self._kept:
            return None
        one = self._kept[0]
        return Space(TASTE, one.dimension, Metric.INNER_PRODUCT, one.fingerprint, None, one.number)

    def add(self, header: FactorsHeader, parts: Sequence[FactorRows]) -> FactorGeneration:
        items: dict[str, tuple[Float32Array, Float32Array, Float32Array]] = {}
        users: dict[str, Float32Array] = {}
        for part in parts:
            known = users if isinstance(part, FactorUsers) else items
            if known.keys() & set(part.ids):
                raise InvalidRequest("ids", "holds an id that came before")
            if isinstance(part, FactorItems):
                items |= zip(part.ids, zip(part.factors, part.liked, part.known, strict=True), strict=True)
            else:
                users |= zip(part.ids, part.factors, strict=True)
        if (len(items), len(users)) != (header.items, header.users):
            raise InvalidRequest("header.item_count", f"{len(items)} items and {len(users)} users came")
        number = max(self._headers, default=0) + 1
        self._headers[number], self._items[number], self.users[number] = header, items, users
        now = datetime.datetime.now(datetime.UTC)
        generation = FactorGeneration(
            number,
            header.fingerprint,
            header.dimension,
            header.items,
            header.users,
            header.liked_from,
            header.interactions_through,
            now,
            active=True,
        )
        self.switched += 1
        self._kept = [generation, *(replace(one, active=False) for one in self._kept)][:2]
        return generation

    def listed(self) -> list[FactorGeneration]:
        return list(self._kept)

    def activate(self, number: int) -> FactorGeneration:
        wanted = number or next((one.number for one in self._kept[1:]), 0)
        if wanted not in [one.number for one in self._kept]:
            raise GenerationNotFound(str(number or ""), [one.number for one in self._kept])
        self.switched += 1
        self._kept.sort(key=lambda one: one.number != wanted)
        self._kept = [replace(one, active=one.number == wanted) for one in self._kept]
        return self._kept[0]

    def vectors(self, item_id: str) -> list[ItemVector]:
        if self.active is None or item_id not in self._items[self.active]:
            return []
        return [ItemVector(TASTE, "", self._items[self.active][item_id][0])]

    def fold_in(self, generation: int, item_ids: Sequence[str]) -> FoldInRows:
        header = self._headers[generation]
        found = {
            item_id: self._items[generation][item_id] for item_id in item_ids if item_id in self._items[generation]
        }
        shape = (-1, header.dimension - 1)
        liked, known = (np.array([one[place] for one in found.values()], np.float32).reshape(shape) for place in (1, 2))
        fold_in = FoldIn(liked, known, header.start, header.temperature)
        places = {item_id: place for place, item_id in enumerate(found)}
        return FoldInRows(fold_in, places, header.liked_from, header.interactions_through)


def factors(
    items: int = 6,
    users: int = 4,
    *,
    seed: int = 0,
    dimension: int = 4,
    liked_from: float | None = None,
    through: int = 0,
) -> tuple[FactorsHeader, FactorItems, FactorUsers]:
    """Return factors of items `i0`, `i1`, ... and users `u0`, `u1`, ..., of a fingerprint that tells the seed."""
    rng = np.random.default_rng(seed)

    def rows(count: int, width: int) -> Float32Array:
        return rng.normal(size=(count, width)).astype(np.float32)

    header = FactorsHeader(f"{seed:064x}", dimension, items, users, 0.5, rows(1, dimension - 1)[0], liked_from, through)
    of_users = rows(users, dimension)
    of_users[:, -1] = 1
    return (
        header,
        FactorItems(
            [f"i{place}" for place in range(items)],
            rows(items, dimension),
            rows(items, dimension - 1),
            rows(items, dimension - 1),
        ),
        FactorUsers([f"u{place}" for place in range(users)], of_users),
    )


async def each(*parts: FactorRows) -> AsyncIterator[FactorRows]:
    """Yield the parts."""
    for part in parts:
        yield part


def written(folder: Path, seed: int = 0, items: int = 6, users: int = 4, liked_from: float | None = None) -> Manifest:
    """Write `factors` as a training does, and return their manifest."""
    header, of_items, of_users = factors(items, users, seed=seed, liked_from=liked_from)
    return factor_files.write(
        folder,
        item_ids=of_items.ids,
        items=of_items.factors,
        user_ids=of_users.ids,
        users=[of_users.factors],
        fold_in=FoldIn(of_items.liked, of_items.known, header.start, header.temperature),
        liked_from=liked_from,
    )
