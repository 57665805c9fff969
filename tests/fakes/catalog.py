"""A catalogue in memory, exact in every search: the same promises as the one on disk, but for the disk."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from twinset.contract import Metric
from twinset_server.domain import (
    CatalogStatus,
    Change,
    FeedSummary,
    Float32Array,
    Interaction,
    Item,
    ItemDeletion,
    ItemUpdate,
    ItemVector,
    Neighbour,
    NewPicture,
    Picture,
    Receipt,
    SearchResult,
    Space,
    SpaceStatus,
    StoredInteraction,
    StoredPicture,
    User,
    WritableItem,
    WritableUser,
    Written,
)
from twinset_server.errors import (
    BadVector,
    ItemNotFound,
    NoVector,
    PictureNotFound,
    PictureNotStored,
    RequestIdReused,
    SpaceNotFound,
    StaleEtag,
    TwinsetError,
    UserNotFound,
)


class FakeCatalog:
    """Implements the port `Catalog`."""

    def __init__(self, spaces: Iterable[Space] = (), *, keep_pictures: bool = True) -> None:
        self._spaces = {space.name: space for space in spaces}
        self._keep_pictures = keep_pictures
        self._items: dict[str, Item] = {}
        self._digests: dict[str, bytes] = {}
        self._contents: dict[str, bytes] = {}
        self._users: dict[str, User] = {}
        self._interactions: list[StoredInteraction] = []
        self._answers: dict[str, tuple[list[object], list[Receipt | TwinsetError]]] = {}
        self._sequence = 0

    def spaces(self) -> Mapping[str, Space]:
        return dict(sorted(self._spaces.items()))

    async def write(self, changes: Sequence[Change], *, request_id: str = "") -> Written:
        names: list[object] = [_name(change) for change in changes]
        known, before = self._answers.get(request_id, (names, [])) if request_id else (names, [])
        if known != names:
            raise RequestIdReused("request_id", f"{request_id!r} was used for other changes")
        outcomes: list[Receipt | TwinsetError] = []
        for place, change in enumerate(changes):
            given = before[place] if before else None
            outcomes.append(given if isinstance(given, Receipt) else self._outcome(change))
        if request_id:
            self._answers[request_id] = names, outcomes
        return Written(outcomes)

    @contextlib.asynccontextmanager
    async def feed(self) -> AsyncIterator[FakeFeed]:
        yield FakeFeed(self)

    async def user(self, user_id: str) -> User:
        if user_id not in self._users:
            raise UserNotFound(user_id)
        return self._users[user_id]

    async def interactions(self, *, after: int, limit: int) -> list[StoredInteraction]:
        return [one for one in self._interactions if one.sequence > after][:limit]

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
            users=len(self._users),
            interactions=len(self._interactions),
        )

    def check_item(self, item: WritableItem) -> TwinsetError | None:
        """Return why `item` can't be stored."""
        try:
            self._check_vectors(item.vectors)
        except TwinsetError as error:
            return error
        return None

    def has(self, item_id: str, digest: bytes) -> bool:
        """Return whether the stored item was made from just this."""
        return bool(digest) and self._digests.get(item_id) == digest

    def replace_all(self, noted: set[str], staged: Mapping[str, WritableItem]) -> FeedSummary:
        """Make a feed the catalogue."""
        lacking = [item_id for item_id in self._items if item_id not in noted]
        changed = [item for item in staged.values() if not self.has(item.id, item.digest)]
        created = sum(item.id not in self._items for item in changed)
        for change in [*changed, *(ItemDeletion(item_id) for item_id in lacking)]:
            self._apply(change)
        unchanged = len(self._items) - len(changed)
        return FeedSummary(created, len(changed) - created, unchanged, len(lacking), self._sequence)

    def _outcome(self, change: Change) -> Receipt | TwinsetError:
        try:
            return self._apply(change)
        except TwinsetError as error:
            return error

    def _apply(self, change: Change) -> Receipt:
        now = datetime.datetime.now(datetime.UTC)
        sequence = self._sequence + 1
        etag = f"{sequence:x}"
        match change:
            case WritableItem():
                self._put(change, etag, sequence, now)
            case ItemUpdate():
                self._update(change, etag, sequence, now)
            case ItemDeletion():
                _check_etag("item", change.id, change.etag, self._item(change.id).etag)
                del self._items[change.id]
                self._digests.pop(change.id, None)
                etag = ""
            case WritableUser():
                self._put_user(change, etag, sequence, now)
            case Interaction():
                self._interactions.append(StoredInteraction(change, sequence))
                etag = ""
        self._sequence = sequence
        return Receipt(etag, sequence)

    def _put(self, item: WritableItem, etag: str, sequence: int, now: datetime.datetime) -> None:
        self._check_vectors(item.vectors)
        before = self._items.get(item.id)
        _check_etag("item", item.id, item.etag, before.etag if before else "")
        self._digests[item.id] = item.digest
        self._items[item.id] = Item(
            id=item.id,
            title=item.title,
            uri=item.uri,
            category=item.category,
            attributes=dict(item.attributes),
            pictures=self._kept(item.pictures),
            vectors=_copied(item.vectors),
            etag=etag,
            sequence=sequence,
            created=before.created if before else now,
            updated=now,
        )

    def _update(self, update: ItemUpdate, etag: str, sequence: int, now: datetime.datetime) -> None:
        self._check_vectors(update.vectors or ())
        item = self._item(update.id)
        _check_etag("item", update.id, update.etag, item.etag)
        attributes = dict(item.attributes if update.attributes is None else update.attributes)
        for name, value in update.changed_attributes.items():
            attributes.pop(name, None)
            if value is not None:
                attributes[name] = value
        new_vectors = _copied(update.vectors or ())
        spaces = {vector.space for vector in new_vectors}
        vectors = [vector for vector in item.vectors or () if vector.space not in spaces]
        if update.pictures is not None:
            vectors = [vector for vector in vectors if not vector.picture_id]
        self._digests.pop(update.id, None)
        self._items[update.id] = replace(
            item,
            title=item.title if update.title is None else update.title,
            uri=item.uri if update.uri is None else update.uri,
            category=item.category if update.category is None else update.category,
            attributes=attributes,
            pictures=item.pictures if update.pictures is None else self._kept(update.pictures),
            vectors=(*vectors, *new_vectors),
            etag=etag,
            sequence=sequence,
            updated=now,
        )

    def _put_user(self, user: WritableUser, etag: str, sequence: int, now: datetime.datetime) -> None:
        self._check_vectors(user.vectors)
        before = self._users.get(user.id)
        _check_etag("user", user.id, user.etag, before.etag if before else "")
        created = before.created if before else now
        vectors = tuple(sorted(_copied(user.vectors), key=lambda vector: vector.space))
        self._users[user.id] = User(user.id, dict(user.attributes), vectors, etag, sequence, created, now)

    def _kept(self, pictures: Sequence[NewPicture]) -> tuple[Picture, ...]:
        self._contents |= {new.picture.sha256: new.content for new in pictures if self._keep_pictures}
        return tuple(replace(new.picture, stored=self._keep_pictures) for new in pictures)

    def _check_vectors(self, vectors: Sequence[ItemVector]) -> None:
        for place, vector in enumerate(vectors):
            _check(vector.values, self._space(vector.space), f"vectors[{place}]")

    def _item(self, item_id: str) -> Item:
        if item_id not in self._items:
            raise ItemNotFound(item_id)
        return self._items[item_id]

    def _space(self, name: str) -> Space:
        if name not in self._spaces:
            raise SpaceNotFound(name)
        return self._spaces[name]


class FakeFeed:
    """Implements the port `Feed`."""

    def __init__(self, catalog: FakeCatalog) -> None:
        self._catalog = catalog
        self._noted: set[str] = set()
        self._staged: dict[str, WritableItem] = {}

    async def unchanged(self, digests: Mapping[str, bytes]) -> set[str]:
        self._noted |= set(digests)
        return {item_id for item_id, digest in digests.items() if self._catalog.has(item_id, digest)}

    async def stage(self, items: Sequence[WritableItem]) -> list[TwinsetError | None]:
        errors = [self._catalog.check_item(item) for item in items]
        self._noted |= {item.id for item in items}
        self._staged |= {item.id: item for item, error in zip(items, errors, strict=True) if error is None}
        return errors

    async def commit(self) -> FeedSummary:
        return self._catalog.replace_all(self._noted, self._staged)


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


def _name(change: Change) -> object:
    return change if isinstance(change, Interaction) else (type(change), change.id)


def _check_etag(kind: str, name: str, given: str, stored: str) -> None:
    if given and given != stored:
        raise StaleEtag(kind, name, given=given, stored=stored)


def _check(values: Float32Array, space: Space, field: str) -> None:
    if values.shape != (space.dimension,):
        raise BadVector(field, f"space {space.name!r} has dimension {space.dimension}")
    if not np.isfinite(values).all():
        raise BadVector(field, "has a component that is not finite")
    if space.metric is Metric.COSINE and abs(float(np.linalg.norm(values)) - 1) > 1e-3:
        raise BadVector(field, "is not of unit length")


def _copied(vectors: Sequence[ItemVector]) -> tuple[ItemVector, ...]:
    return tuple(replace(vector, values=vector.values.copy()) for vector in vectors)


def _seen(item: Item, vectors: bool) -> Item:
    return item if vectors else replace(item, vectors=None)
