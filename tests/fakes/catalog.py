"""A catalogue in memory, exact in every search: the same promises as the one on disk, but for the disk."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from twinset.contract import Metric
from twinset_server.domain import (
    CatalogStatus,
    Float32Array,
    Item,
    Neighbour,
    Receipt,
    SearchResult,
    Space,
    SpaceStatus,
    StoredPicture,
    WritableItem,
)
from twinset_server.errors import (
    BadVector,
    ItemNotFound,
    NoVector,
    PictureNotFound,
    PictureNotStored,
    SpaceNotFound,
    StartupError,
    TwinsetError,
)


class FakeCatalog:
    """Implements the port `Catalog`."""

    def __init__(self, spaces: Iterable[Space] = (), *, keep_pictures: bool = True) -> None:
        self._spaces = {space.name: space for space in spaces}
        self._keep_pictures = keep_pictures
        self._items: dict[str, Item] = {}
        self._contents: dict[str, bytes] = {}
        self._sequence = 0

    async def add_space(self, space: Space) -> None:
        present = self._spaces.get(space.name, space)
        if replace(present, model=space.model) != space:
            raise StartupError(
                f"space {space.name!r} has fingerprint {present.fingerprint}, the server {space.fingerprint}"
            )
        self._spaces[space.name] = space

    def spaces(self) -> Mapping[str, Space]:
        return dict(sorted(self._spaces.items()))

    async def put(self, items: Sequence[WritableItem]) -> list[Receipt | TwinsetError]:
        return [self._put(item) for item in items]

    async def delete(self, item_id: str) -> int:
        self._item(item_id)
        del self._items[item_id]
        self._sequence += 1
        return self._sequence

    async def get(self, item_ids: Sequence[str], *, vectors: bool) -> list[Item | None]:
        found = [self._items.get(item_id) for item_id in item_ids]
        return [item and _seen(item, vectors) for item in found]

    async def page(self, *, after: str, limit: int, vectors: bool) -> list[Item]:
        ids = sorted((item_id for item_id in self._items if item_id.encode() > after.encode()), key=str.encode)
        return [_seen(self._items[item_id], vectors) for item_id in ids[:limit]]

    async def picture(self, item_id: str, picture_id: str) -> StoredPicture:
        for picture in self._item(item_id).pictures:
            if picture_id in ("", picture.id):
                if not picture.stored:
                    raise PictureNotStored(f"{item_id}/{picture.id}", "contents are not kept")
                return StoredPicture(picture, self._contents[picture.sha256])
        raise PictureNotFound(picture_id)

    async def vector_of(self, item_id: str, space: str) -> Float32Array:
        item = self._item(item_id)
        self._space(space)
        by_picture = {vector.picture_id: vector.values for vector in item.vectors or () if vector.space == space}
        main = [picture.id for picture in item.pictures[:1]]
        for picture_id in ["", *main]:
            if picture_id in by_picture:
                return by_picture[picture_id]
        raise NoVector(item_id, f"item {item_id!r} has no vector in space {space!r}")

    async def search(
        self, space: str, query: Float32Array, k: int, *, exclude: frozenset[str] = frozenset()
    ) -> SearchResult:
        found = self._space(space)
        _check(query, found, "query")
        vectors = [
            (item.id, vector) for item in self._items.values() for vector in item.vectors or () if vector.space == space
        ]
        best: dict[str, Neighbour] = {}
        for neighbour in sorted(
            (
                Neighbour(item_id, vector.picture_id, distance(query, vector.values, found.metric))
                for item_id, vector in vectors
                if item_id not in exclude
            ),
            key=lambda one: (one.distance, one.item_id.encode()),
        ):
            best.setdefault(neighbour.item_id, neighbour)
        return SearchResult(list(best.values())[:k], exact=True, examined=len(vectors), sequence=self._sequence)

    async def status(self) -> CatalogStatus:
        items = list(self._items.values())
        vectors = [vector.space for item in items for vector in item.vectors or ()]
        return CatalogStatus(
            items=len(items),
            pictures=sum(len(item.pictures) for item in items),
            spaces=tuple(
                SpaceStatus(space, vectors.count(name), 0, vectors.count(name)) for name, space in self.spaces().items()
            ),
            sequence=self._sequence,
        )

    def _put(self, item: WritableItem) -> Receipt | TwinsetError:
        try:
            for place, vector in enumerate(item.vectors):
                _check(vector.values, self._space(vector.space), f"vectors[{place}]")
        except TwinsetError as error:
            return error
        self._sequence += 1
        now = datetime.datetime.now(datetime.UTC)
        before = self._items.get(item.id)
        self._contents |= {new.picture.sha256: new.content for new in item.pictures if self._keep_pictures}
        self._items[item.id] = Item(
            id=item.id,
            title=item.title,
            uri=item.uri,
            category=item.category,
            attributes=dict(item.attributes),
            pictures=tuple(replace(new.picture, stored=self._keep_pictures) for new in item.pictures),
            vectors=tuple(replace(vector, values=vector.values.copy()) for vector in item.vectors),
            etag=f"{self._sequence:x}",
            sequence=self._sequence,
            created=before.created if before else now,
            updated=now,
        )
        return Receipt(f"{self._sequence:x}", self._sequence)

    def _item(self, item_id: str) -> Item:
        if item_id not in self._items:
            raise ItemNotFound(item_id)
        return self._items[item_id]

    def _space(self, name: str) -> Space:
        if name not in self._spaces:
            raise SpaceNotFound(name)
        return self._spaces[name]


def distance(query: Float32Array, vector: Float32Array, metric: Metric) -> float:
    """Return the distance as the protos define it, in float64."""
    a, b = query.astype(np.float64), vector.astype(np.float64)
    match metric:
        case Metric.COSINE:
            return float(np.clip(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), 0, 2))
        case Metric.EUCLIDEAN:
            return float(((a - b) ** 2).sum())
        case Metric.INNER_PRODUCT:
            return -float(a @ b)


def _check(values: Float32Array, space: Space, field: str) -> None:
    if values.shape != (space.dimension,):
        raise BadVector(field, f"space {space.name!r} has dimension {space.dimension}")
    if not np.isfinite(values).all():
        raise BadVector(field, "has a component that is not finite")
    if space.metric is Metric.COSINE and abs(float(np.linalg.norm(values)) - 1) > 1e-3:
        raise BadVector(field, "is not of unit length")


def _seen(item: Item, vectors: bool) -> Item:
    return item if vectors else replace(item, vectors=None)
