"""A catalogue in memory, exact in every search: the same promises as the one on disk, but for the disk."""

from __future__ import annotations

import copy
import datetime
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np

from fakes import filters
from fakes.factors import FakeFactors
from twinset.contract import Metric
from twinset_server.domain import (
    DEFAULT_TARGET_RECALL,
    TASTE,
    Act,
    Attribute,
    CatalogStatus,
    Change,
    Expression,
    FacetRequest,
    FactorGeneration,
    FactorRows,
    FactorsHeader,
    FeedSummary,
    Float32Array,
    FoldInRows,
    Interaction,
    Item,
    ItemDeletion,
    ItemRows,
    ItemUpdate,
    ItemVector,
    LikeCounts,
    Neighbour,
    NewPicture,
    Receipt,
    Refused,
    Search,
    SearchResult,
    Space,
    SpaceStatus,
    StoredInteraction,
    StoredPicture,
    StoredVectors,
    User,
    UserData,
    UserDeletion,
    UserTaste,
    WritableItem,
    WritableUser,
    Written,
)
from twinset_server.errors import (
    BadVector,
    FactorsConflict,
    ImportedSpace,
    IndexBehind,
    ItemChanged,
    ItemNotFound,
    ModelSwitched,
    NoVector,
    PictureNotFound,
    PictureNotStored,
    RequestIdReused,
    SpaceNotFound,
    StaleEtag,
    StartupError,
    TwinsetError,
    UserNotFound,
)


class FakeCatalog:
    """Implements the port `Catalog`."""

    def __init__(self, spaces: Iterable[Space] = (), *, keep_pictures: bool = True) -> None:
        self._spaces = {space.name: space for space in spaces}
        self._keep_pictures = keep_pictures
        self._items: dict[str, Item] = {}
        self._contents: dict[str, bytes] = {}
        self._digests: dict[str, bytes] = {}
        self._users: dict[str, User] = {}
        self._interactions: list[StoredInteraction] = []
        self._requests: dict[str, tuple[tuple[bytes, list[tuple[type, str]]], list[Receipt | None]]] = {}
        self._sequence = 0
        self.slowed_s = 0.0
        # So many items with vectors are refused before the index has caught up.
        self.behind = 0
        self.feeds_open = 0
        self._factors = FakeFactors()
        self._switched = 0

    async def add_space(self, space: Space) -> None:
        present = self._spaces.get(space.name, space)
        if replace(present, model=space.model) != space:
            raise StartupError(
                f"space {space.name!r} has fingerprint {present.fingerprint}, the server {space.fingerprint}"
            )
        self._spaces[space.name] = space

    def spaces(self) -> Mapping[str, Space]:
        taste = self._factors.space
        return dict(sorted({**self._spaces, **({taste.name: taste} if taste else {})}.items()))

    def models(self) -> Sequence[str]:
        return [space.model for space in self._spaces.values() if space.model][:1]

    def switch(self, space: Space) -> None:
        """Let another model fill a space; what was there is gone."""
        self._switched += 1
        self._spaces[space.name] = space
        for item in self._items.values():
            self._items[item.id] = replace(item, vectors=[one for one in item.vectors or () if one.space != space.name])

    def switched(self) -> int:
        return max(self._switched, self._factors.switched)

    async def write(self, changes: Sequence[Change], *, request_id: str = "", digest: bytes = b"") -> Written:
        named = [(change.kind if isinstance(change, Refused) else type(change), change.id) for change in changes]
        made = digest, named
        before, answered = self._requests.get(request_id, (made, [None] * len(changes)))
        if before != made:
            raise RequestIdReused("request_id", f"{request_id!r} was used for other changes within 24 hours")
        outcomes = [receipt or self._apply(change) for receipt, change in zip(answered, changes, strict=True)]
        if request_id:
            receipts = [outcome if isinstance(outcome, Receipt) else None for outcome in outcomes]
            self._requests[request_id] = made, receipts
        return Written(outcomes, self.slowed_s)

    @asynccontextmanager
    async def feed(self) -> AsyncIterator[FakeFeed]:
        self.feeds_open += 1
        try:
            yield FakeFeed(self)
        finally:
            self.feeds_open -= 1

    async def import_factors(self, header: FactorsHeader, rows: AsyncIterable[FactorRows]) -> FactorGeneration:
        if (stored := self._spaces.get(TASTE)) is not None:
            raise FactorsConflict(TASTE, given=header.fingerprint, stored=stored.fingerprint, filled_by="callers")
        generation = self._factors.add(header, [part async for part in rows])
        self._sequence += 1
        return generation

    async def factor_generations(self) -> list[FactorGeneration]:
        return self._factors.listed()

    async def activate_factors(self, number: int) -> FactorGeneration:
        generation = self._factors.activate(number)
        self._sequence += 1
        return generation

    async def taste(self, user_id: str, generation: int | None) -> UserTaste:
        acts = [
            Act(one.interaction.item_id, one.interaction.kind, one.interaction.weight, one.sequence)
            for one in self._interactions
            if one.interaction.user_id == user_id
        ]
        if generation is None:
            return UserTaste(None, acts, None)
        rows = self._factors.fold_in(generation, list({act.item_id for act in acts}))
        return UserTaste(self._factors.users[generation].get(user_id), acts, rows)

    async def fold_in(self, generation: int, item_ids: Sequence[str]) -> FoldInRows:
        return self._factors.fold_in(generation, item_ids)

    async def likes(self, *, after: int, liked_from: float | None) -> LikeCounts:
        acts = [
            (one.interaction.item_id, Act("", one.interaction.kind, one.interaction.weight))
            for one in self._interactions
            if one.sequence > after
        ]
        return LikeCounts(Counter(item_id for item_id, act in acts if act.is_like(liked_from)), self._sequence)

    async def user(self, user_id: str) -> User:
        if user_id not in self._users:
            raise UserNotFound(user_id)
        return self._users[user_id]

    async def user_data(self, user_id: str) -> UserData:
        acts = sum(stored.interaction.user_id == user_id for stored in self._interactions)
        states = [number == self._factors.active for number, of in self._factors.users.items() if user_id in of]
        if user_id not in self._users and not acts and not states:
            raise UserNotFound(user_id)
        return UserData(self._users.get(user_id), acts, has_factors=True in states)

    async def interactions(self, *, after: int, limit: int) -> list[StoredInteraction]:
        return [stored for stored in self._interactions if stored.sequence > after][:limit]

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

    async def matching(self, item_ids: Sequence[str], expression: Expression | None) -> list[str]:
        stored = [item_id for item_id in item_ids if item_id in self._items]
        return [
            item_id
            for item_id in stored
            if not expression or filters.matches(filters.fields_of(self._items[item_id]), expression)
        ]

    async def vector_of(self, item_id: str, space: str) -> Float32Array:
        item = self._item(item_id)
        self._space(space)
        by_picture = {vector.picture_id: vector.values for vector in self._vectors(item) if vector.space == space}
        main = [picture.id for picture in item.pictures[:1]]
        for picture_id in ["", *main]:
            if picture_id in by_picture:
                return by_picture[picture_id]
        raise NoVector(item_id, f"item {item_id!r} has no vector in space {space!r}")

    async def picture_vectors(self, wanted: Mapping[str, Collection[str]]) -> Mapping[str, StoredVectors]:
        found: dict[str, dict[str, dict[str, Float32Array]]] = {}
        for item_id in wanted.keys() & self._items.keys():
            item = self._items[item_id]
            digests = {picture.id: picture.sha256 for picture in item.pictures}
            for vector in item.vectors or ():
                sha256 = digests.get(vector.picture_id)
                if sha256 in wanted[item_id]:
                    found.setdefault(item_id, {}).setdefault(sha256, {})[vector.space] = vector.values
        fingerprints = {name: space.fingerprint for name, space in self._spaces.items()}
        return {
            item_id: StoredVectors(self._items[item_id].own_category, pictures, fingerprints)
            for item_id, pictures in found.items()
        }

    async def search(
        self,
        space: str,
        query: Float32Array,
        k: int,
        *,
        exclude: frozenset[str] = frozenset(),
        target_recall: float = DEFAULT_TARGET_RECALL,
        expression: Expression | None = None,
        facets: Sequence[FacetRequest] = (),
    ) -> SearchResult:
        return self._search(Search(space, query, k, exclude, target_recall, expression, facets))

    async def search_many(self, searches: Sequence[Search]) -> list[SearchResult]:
        return [self._search(one) for one in searches]

    def _search(self, asked: Search) -> SearchResult:
        found = self._space(asked.space)
        _check(asked.query, found, "query")
        fields = {item.id: filters.fields_of(item) for item in self._items.values()}
        matching = {
            item_id
            for item_id, of_item in fields.items()
            if not asked.expression or filters.matches(of_item, asked.expression)
        }
        vectors = [
            (item.id, vector)
            for item in self._items.values()
            for vector in self._vectors(item)
            if vector.space == asked.space
        ]
        best: dict[str, Neighbour] = {}
        for neighbour in sorted(
            (
                Neighbour(item_id, vector.picture_id, distance(asked.query, vector.values, found.metric))
                for item_id, vector in vectors
                if item_id not in asked.exclude and item_id in matching
            ),
            key=lambda one: (one.distance, one.item_id.encode()),
        ):
            best.setdefault(neighbour.item_id, neighbour)
        return SearchResult(
            list(best.values())[: asked.k],
            exact=True,
            examined=len(vectors),
            sequence=self._sequence,
            facets=filters.facets(asked.facets, [fields[item_id] for item_id in matching]),
            matching=len(matching) if asked.facets else None,
        )

    async def state(self) -> FakeState:
        return FakeState(self)

    async def status(self) -> CatalogStatus:
        items = list(self._items.values())
        vectors = [vector.space for item in items for vector in self._vectors(item)]
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

    def _apply(self, change: Change) -> Receipt | TwinsetError:
        try:
            match change:
                case Refused():
                    return change.error
                case WritableItem():
                    return self._put(change)
                case ItemUpdate():
                    return self._update(change)
                case ItemDeletion():
                    return self._delete(change)
                case WritableUser():
                    return self._put_user(change)
                case UserDeletion():
                    return self._delete_user(change.id)
                case Interaction():
                    self._sequence += 1
                    self._interactions.append(StoredInteraction(change, self._sequence))
                    return Receipt("", self._sequence)
        except TwinsetError as error:
            return error

    def _update(self, update: ItemUpdate) -> Receipt:
        item = self._item(update.id)
        _check_etag("item", item.id, update.etag, item.etag)
        if (made_for := update.made_for) is not None:
            if made_for.category not in (None, item.own_category):
                raise ItemChanged(f"{item.id} got another category")
            if made_for.pictures not in (None, tuple((picture.id, picture.sha256) for picture in item.pictures)):
                raise ItemChanged(f"{item.id} got other pictures")
        category, probability = item.category, item.category_probability
        if update.category is not None:
            category, probability = update.category, None
        if update.pictures is not None and (not category or probability is not None):
            new = update.prediction
            category, probability = (new.class_name, new.probability) if new else ("", None)
        self._check_vectors(update.vectors or ())
        attributes = dict(item.attributes if update.attributes is None else update.attributes)
        for name, value in update.changed_attributes.items():
            if value is None:
                attributes.pop(name, None)
            else:
                attributes[name] = value
        vectors = list(item.vectors or ())
        if update.pictures is not None:
            vectors = [vector for vector in vectors if not vector.picture_id]
        if update.vectors is not None:
            anew = {vector.space for vector in update.vectors}
            vectors = [vector for vector in vectors if vector.space not in anew] + list(update.vectors)
        return self._store(
            WritableItem(
                id=item.id,
                title=item.title if update.title is None else update.title,
                uri=item.uri if update.uri is None else update.uri,
                category=category,
                attributes=attributes,
                pictures=[NewPicture(picture, b"") for picture in item.pictures]
                if update.pictures is None
                else update.pictures,
                vectors=vectors,
                category_probability=probability,
            )
        )

    def _delete(self, deletion: ItemDeletion) -> Receipt:
        _check_etag("item", deletion.id, deletion.etag, self._item(deletion.id).etag)
        del self._items[deletion.id]
        self._sequence += 1
        return Receipt("", self._sequence)

    def _put_user(self, user: WritableUser) -> Receipt:
        before = self._users.get(user.id)
        _check_etag("user", user.id, user.etag, before.etag if before else "")
        self._check_vectors(user.vectors)
        self._sequence += 1
        now = datetime.datetime.now(datetime.UTC)
        etag = f"{self._sequence:x}"
        self._users[user.id] = User(
            user.id, user.attributes, user.vectors, etag, self._sequence, before.created if before else now, now
        )
        return Receipt(etag, self._sequence)

    def _delete_user(self, user_id: str) -> Receipt:
        kept = [stored for stored in self._interactions if stored.interaction.user_id != user_id]
        factors = [of.pop(user_id, None) for of in self._factors.users.values()]
        if (
            user_id not in self._users
            and len(kept) == len(self._interactions)
            and not any(f is not None for f in factors)
        ):
            raise UserNotFound(user_id)
        self._users.pop(user_id, None)
        self._interactions = kept
        self._sequence += 1
        return Receipt("", self._sequence)

    def _put(self, item: WritableItem) -> Receipt:
        _check_etag("item", item.id, item.etag, self._items[item.id].etag if item.id in self._items else "")
        self._check_vectors(item.vectors)
        if item.vectors and self.behind:
            self.behind -= 1
            raise IndexBehind("the index is behind", retry_after_s=0.001)
        return self._store(item)

    def _check_vectors(self, vectors: Sequence[ItemVector]) -> None:
        for place, vector in enumerate(vectors):
            space = self._space(vector.space)
            if vector.fingerprint not in ("", space.fingerprint):
                raise ModelSwitched(space.name, given=vector.fingerprint, expected=space.fingerprint)
            if space.generation is not None:
                raise ImportedSpace("vectors", f"the space {space.name!r} holds imported factors")
            _check(vector.values, space, f"vectors[{place}]")

    def _store(self, item: WritableItem) -> Receipt:
        self._sequence += 1
        now = datetime.datetime.now(datetime.UTC)
        before = self._items.get(item.id)
        self._contents |= {p.picture.sha256: p.content for p in item.pictures if self._keep_pictures and p.content}
        self._digests[item.id] = item.digest
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
            category_probability=item.category_probability,
        )
        return Receipt(f"{self._sequence:x}", self._sequence)

    def _vectors(self, item: Item) -> list[ItemVector]:
        return [*(item.vectors or ()), *self._factors.vectors(item.id)]

    def _item(self, item_id: str) -> Item:
        if item_id not in self._items:
            raise ItemNotFound(item_id)
        return self._items[item_id]

    def _space(self, name: str) -> Space:
        spaces = self.spaces()
        if name not in spaces:
            raise SpaceNotFound(name, spaces)
        return spaces[name]


class FakeState:
    """Implements the port `CatalogState`: a copy of the catalogue."""

    def __init__(self, catalog: FakeCatalog) -> None:
        self._catalog = FakeCatalog(catalog._spaces.values())
        self._catalog._items = dict(catalog._items)
        self._catalog._sequence = catalog._sequence
        self._catalog._factors = copy.copy(catalog._factors)

    @property
    def sequence(self) -> int:
        return self._catalog._sequence

    @property
    def spaces(self) -> Mapping[str, Space]:
        return self._catalog.spaces()

    def search(self, search: Search) -> SearchResult:
        return self._catalog._search(search)

    def search_briefly(self, search: Search) -> SearchResult | None:
        return self._catalog._search(search)

    def vectors(self, space: str, item_ids: Sequence[str]) -> ItemRows:
        dimension = self._catalog._space(space).dimension
        rows = [
            (place, vector)
            for place, item_id in enumerate(item_ids)
            for vector in self._vectors_of(item_id)
            if vector.space == space
        ]
        return ItemRows(
            np.array([vector.values for _, vector in rows], np.float32).reshape(-1, dimension),
            np.array([place for place, _ in rows], np.intp),
            [vector.picture_id for _, vector in rows],
        )

    def items(self, space: str, expression: Expression | None) -> list[str]:
        self._catalog._space(space)
        return [
            item.id
            for item in self._catalog._items.values()
            if any(vector.space == space for vector in item.vectors or ())
            and (expression is None or filters.matches(filters.fields_of(item), expression))
        ]

    def sample(self, space: str, count: int) -> Float32Array:
        everything = self.vectors(space, list(self._catalog._items)).values
        return everything[np.random.default_rng(0).permutation(len(everything))[:count]]

    def attributes(self, field: str, item_ids: Sequence[str]) -> list[Attribute | None]:
        return [
            filters.fields_of(self._catalog._items[item_id]).get(field) if self._vectors_of(item_id) else None
            for item_id in item_ids
        ]

    def _vectors_of(self, item_id: str) -> Sequence[ItemVector]:
        item = self._catalog._items.get(item_id)
        return self._catalog._vectors(item) if item else ()


class FakeFeed:
    """Implements the port `Feed`: a dict of what is to come, None for what stays."""

    def __init__(self, catalog: FakeCatalog) -> None:
        self._catalog = catalog
        self._staged: dict[str, WritableItem | None] = {}

    async def unchanged(self, digests: Mapping[str, bytes]) -> set[str]:
        stored = self._catalog._items.keys()
        for item_id in digests:
            self._staged.setdefault(item_id, None)
        return {i for i, digest in digests.items() if digest and i in stored and self._catalog._digests[i] == digest}

    async def stage(self, items: Sequence[WritableItem]) -> list[TwinsetError | None]:
        errors: list[TwinsetError | None] = []
        for item in items:
            try:
                self._catalog._check_vectors(item.vectors)
            except TwinsetError as error:
                self._staged.setdefault(item.id, None)
                errors.append(error)
            else:
                self._staged[item.id] = item
                errors.append(None)
        return errors

    async def keep(self, item_ids: Sequence[str]) -> None:
        self._staged.update(dict.fromkeys(item_ids))

    async def commit(self) -> FeedSummary:
        catalog = self._catalog
        before = catalog._items.keys() & self._staged.keys()
        deleted = catalog._items.keys() - self._staged.keys()
        fresh = [item for item in self._staged.values() if item is not None]
        created = [item for item in fresh if item.id not in before]
        for item_id in deleted:
            catalog._delete(ItemDeletion(item_id))
        for item in fresh:
            catalog._store(item)
        replaced = len(fresh) - len(created)
        return FeedSummary(len(created), replaced, len(before) - replaced, len(deleted), catalog._sequence)


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


def _check_etag(kind: str, name: str, given: str, stored: str) -> None:
    if given and given != stored:
        raise StaleEtag(kind, name, given=given, stored=stored)


def _seen(item: Item, vectors: bool) -> Item:
    return item if vectors else replace(item, vectors=None)
