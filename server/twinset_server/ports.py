"""The two seams of the service. Each has a fake for tests, and one contract suite that every implementation passes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from twinset.contract import ModelContract
from twinset_server.domain import (
    DEFAULT_TARGET_RECALL,
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
    Int32Array,
    InteractionScores,
    Item,
    ItemRows,
    LikeCounts,
    Search,
    SearchResult,
    Space,
    StoredInteraction,
    StoredPicture,
    StoredVectors,
    UInt8Array,
    User,
    UserData,
    UserTaste,
    WritableItem,
    Written,
)
from twinset_server.errors import TwinsetError


class Embedder(Protocol):
    """Runs one model."""

    @property
    def contract(self) -> ModelContract:
        """What the model promises."""

    @property
    def outputs(self) -> Mapping[str, int]:
        """The model's outputs by name, each with its dimension."""

    @property
    def is_well(self) -> bool:
        """Whether the model has given its known answer, and nothing has spoken against it since."""

    async def embed(
        self,
        pictures: UInt8Array,
        outputs: Sequence[str],
        *,
        timeout_s: float,
        categories: Int32Array | None = None,
    ) -> Mapping[str, Float32Array]:
        """Return the outputs named, one row per picture.

        Args:
            pictures: `[N, H, W, 3]` uint8 RGB, N at least 1 and of any size; H and W from the contract's pipeline.
            outputs: names among `self.outputs`.
            timeout_s: time left of the caller's deadline.
            categories: `[N]`, the pictures' categories as `contract.category_index` numbers them; None means that all
                are unknown. A model that takes none pays no heed to them.
        Returns:
            Per output `[N, D]` float32, finite; unit rows where the output fills a cosine space.
        Raises:
            EmbedderUnavailable: Triton is unreachable, or the model is not healthy.
            DeadlineExceeded: `timeout_s` passed.
        """


class Interactions(Protocol):
    """Scores users' and items' factors by models that were trained on them."""

    async def scores(
        self, factors: str, user: Float32Array, items: Float32Array, *, model: str, timeout_s: float
    ) -> InteractionScores:
        """Return what a model says of one user and each of the items, in one request to it.

        Args:
            factors: the fingerprint of the factors.
            user: `[D]` float32.
            items: `[N, D]` float32, N from 1 to `twinset.interaction_contract.MAX_PAIRS`.
            model: its name; empty for the first, by name, that was trained on these factors.
            timeout_s: time left of the caller's deadline.
        Raises:
            NoInteractionModel: no such model is served.
            InteractionMismatch: only models of other factors are, or the one named is of others.
            InvalidRequest: N is above what the model takes.
            EmbedderUnavailable: Triton is unreachable, or the model doesn't give its known answer; told without delay.
            DeadlineExceeded: `timeout_s` passed.
        """


class Feed(Protocol):
    """All items anew: nothing of it is seen before `commit`, which takes those that it lacks away.

    Where a call raises, the feed has failed, and can't be committed any more.
    """

    async def unchanged(self, digests: Mapping[str, bytes]) -> set[str]:
        """Return the items that are stored with just this digest, and need not be staged.

        All items named are of the feed from now on: those that aren't staged stay as they are at the commit.

        Raises:
            DiskFull, StoreUnavailable: they could not be kept in mind.
        """

    async def stage(self, items: Sequence[WritableItem]) -> list[TwinsetError | None]:
        """Keep items for the commit; per item None, or the error that befell this one alone.

        An item that failed is of the feed all the same: what is stored under its id stays as it is.

        Raises:
            DiskFull, StoreUnavailable: none was kept.
        """

    async def keep(self, item_ids: Sequence[str]) -> None:
        """Let what is stored under these ids stay as it is, whatever was staged for them; others are passed over."""

    async def commit(self) -> FeedSummary:
        """Make the feed the catalogue, in one change as far as any search can tell, once that is durable.

        What others wrote since the feed began goes where the feed lacks or brings the item, and stays otherwise.

        Raises:
            DiskFull, StoreUnavailable: nothing was changed.
        """


class CatalogState(Protocol):
    """All of the catalogue as it was after one change.

    Nothing here waits, and only memory is read: what may take more than a millisecond, a caller puts on a thread.
    """

    @property
    def sequence(self) -> int:
        """The last change that is in it."""

    @property
    def spaces(self) -> Mapping[str, Space]:
        """The spaces by name."""

    def search(self, search: Search) -> SearchResult:
        """Return what `Catalog.search` does of this state.

        Raises:
            SpaceNotFound: there is no space of this name.
            BadVector: the query doesn't fit the space.
        """

    def search_briefly(self, search: Search) -> SearchResult | None:
        """Return what `search` does, None where that would take more than about two milliseconds; raises like it."""

    def vectors(self, space: str, item_ids: Sequence[str]) -> ItemRows:
        """Return all vectors of these items in a space; thousands of items take a few milliseconds.

        Args:
            space: a name among `self.spaces`.
            item_ids: each once. One that isn't stored has no row.
        Raises:
            SpaceNotFound: there is no space of this name.
        """

    def items(self, space: str, expression: Expression | None) -> list[str]:
        """Return the ids of all items with a vector in a space that match, each once, in no order.

        A million ids take about a second.

        Args:
            space: a name among `self.spaces`.
            expression: as in `Search`.
        Raises:
            SpaceNotFound: there is no space of this name.
        """

    def sample(self, space: str, count: int) -> Float32Array:
        """Return `[S, D]` float32, `count` vectors of a space drawn at random, or all where it has fewer, in no order.

        Each is as likely as any other, and one state gives the same each time.

        Raises:
            SpaceNotFound: there is no space of this name.
        """

    def attributes(self, field: str, item_ids: Sequence[str]) -> list[Attribute | None]:
        """Return what each item has in a field, None where it has nothing.

        Items are known here by their vectors: one that has none in any space has no attributes either.

        Args:
            field: `category`, or `attributes.NAME`.
            item_ids: each once.
        """


class Catalog(Protocol):
    """Keeps items durably and finds neighbours."""

    def spaces(self) -> Mapping[str, Space]:
        """The spaces by name."""

    def models(self) -> Sequence[str]:
        """The models of all generations, that of the one that serves first; none where no model fills a space."""

    def switched(self) -> int:
        """The change by which a model or factors came to serve last, 0 where none ever did.

        An answer that is put together while it stays as it is compares vectors of one model only.
        """

    async def write(self, changes: Sequence[Change], *, request_id: str = "", digest: bytes = b"") -> Written:
        """Apply changes; each outcome is durable, and seen by every search that begins afterwards, in every worker.

        Within one call later changes follow earlier ones; of two calls, the one made later follows.

        Args:
            changes: what to change. The outcome of a `Refused` is its error, or the receipt of a call before.
            request_id: where it is not empty, a change of a call of the same id within the last 24 hours is not made
                again if it was made then: its receipt is given again.
            digest: of the contents as the caller sent them. Two calls of one id bring the same changes where the kinds
                and ids of their changes and this digest are the same, whatever became of the contents meanwhile.
        Raises:
            RequestIdReused: the id was used for other changes.
            StoreUnavailable: the store is closed.
        Outcomes may be, besides receipts:
            ItemNotFound: an update or a deletion of an item that isn't there.
            UserNotFound: a deletion of a user of whom nothing is stored.
            StaleEtag: the change names another etag than the stored one.
            ItemChanged: the item isn't any more what the change's vectors were made for.
            ModelSwitched: another model fills a space by now than the one that made the change's vectors.
            IndexBehind: it brings vectors, and far too many stand outside the index.
            DiskFull, StoreUnavailable: it could not be written.
        """

    def feed(self) -> AbstractAsyncContextManager[Feed]:
        """Return a session that replaces all items at once; leaving it without `commit` leaves no trace.

        Entering it raises DiskFull or StoreUnavailable where there is no place to gather items.
        """

    async def import_factors(self, header: FactorsHeader, rows: AsyncIterable[FactorRows]) -> FactorGeneration:
        """Fill the space `taste` with factors of users and items, and return their generation.

        Nothing is seen of them before all are there; then every search sees all at once. The generation that served
        before is kept, for `activate_factors`. Items get their vectors by their ids, also those put later.

        Raises:
            FactorsConflict: callers or a model fill a space called `taste`.
            ImportUnderWay: another import hasn't ended.
            InvalidRequest: an id came twice, or other numbers of users and items came than the header tells.
            IndexBehind, DiskFull, StoreUnavailable: they could not be written; what served does still.
        """

    async def factor_generations(self) -> list[FactorGeneration]:
        """Return the generations of factors that are kept, the active one first."""

    async def activate_factors(self, number: int) -> FactorGeneration:
        """Let a kept generation serve from now on, for 0 the one that did before, and return it.

        Raises:
            GenerationNotFound: it isn't kept.
        """

    async def taste(self, user_id: str, generation: int | None) -> UserTaste:
        """Return what is stored of a user's taste, their factors those of a generation; nothing of an unknown user."""

    async def fold_in(self, generation: int, item_ids: Sequence[str]) -> FoldInRows:
        """Return what makes a user's factors of acts on these items; those without factors are left out.

        Raises:
            GenerationNotFound: the generation isn't kept any more.
        """

    async def likes(self, *, after: int, liked_from: float | None) -> LikeCounts:
        """Return how many likes each item got by changes above `after`; see `Act.is_like`."""

    async def user(self, user_id: str) -> User:
        """Return a user.

        Raises:
            UserNotFound: no user has this id.
        """

    async def user_data(self, user_id: str) -> UserData:
        """Return what is stored of a user, whether they were put or only did something.

        Raises:
            UserNotFound: nothing is.
        """

    async def interactions(self, *, after: int, limit: int) -> list[StoredInteraction]:
        """Return up to `limit` interactions stored by changes above `after`, in the order of their changes."""

    async def get(self, item_ids: Sequence[str], *, vectors: bool) -> list[Item | None]:
        """Return the items in the order asked for, None for each that isn't there."""

    async def page(self, *, after: str, limit: int, vectors: bool) -> list[Item]:
        """Return up to `limit` items with ids above `after`, in the byte order of their UTF-8 ids."""

    async def picture(self, item_id: str, picture_id: str) -> StoredPicture:
        """Return a picture's content; an empty `picture_id` means the main one.

        Raises:
            ItemNotFound, PictureNotFound: no such item, or it has no such picture.
            PictureNotStored: the store keeps no contents.
        """

    async def matching(self, item_ids: Sequence[str], expression: Expression | None) -> list[str]:
        """Return those of the items that are stored and match, in the order given; None matches all.

        Args:
            item_ids: each once.
            expression: as in `search`.
        """

    async def vector_of(self, item_id: str, space: str) -> Float32Array:
        """Return the item's vector in `space`, `[D]` float32: the caller's own, else the main picture's.

        Raises:
            ItemNotFound: no item has this id.
            NoVector: the item has none in this space.
        """

    async def picture_vectors(self, wanted: Mapping[str, Collection[str]]) -> Mapping[str, StoredVectors]:
        """Return by item what is stored of vectors that were made from its pictures.

        A space holds vectors of one fingerprint, so these are what the same pictures would be embedded into again, with
        the same category where the model takes one. One that is damaged is left out.

        Args:
            wanted: by item the SHA-256 of pictures.
        Raises:
            StoreUnavailable: the store can't be read.
        """

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
        """Return the `k` items nearest to `query`, each once, by its best vector.

        Args:
            space: a name among `self.spaces()`.
            query: `[D]` float32, of unit length where the space's metric is cosine.
            k: 1 or more; fewer come back only where fewer may be returned.
            exclude: ids never to return.
            target_recall: the share of the true nearest wanted, above 0 and at most 1, which means that all is
                compared. More than asked for is never wrong.
            expression: which items may be returned; None for all.
            facets: fields to count the values of, over all items that match `expression`: without a vector in the space
                or excluded, they count too.
        """

    async def state(self) -> CatalogState:
        """Return the catalogue with all in it that any process has committed, to be read without waiting."""

    async def search_many(self, searches: Sequence[Search]) -> list[SearchResult]:
        """Return the result of each search, in order, all of one state of the catalogue; see `search`."""

    async def status(self) -> CatalogStatus:
        """Return counts, spaces and the last durable sequence."""
