"""The two seams of the service. Each has a fake for tests, and one contract suite that every implementation passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twinset.contract import ModelContract
from twinset_server.domain import (
    CatalogStatus,
    Float32Array,
    Item,
    Receipt,
    SearchResult,
    Space,
    StoredPicture,
    UInt8Array,
    WritableItem,
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

    async def embed(
        self, pictures: UInt8Array, outputs: Sequence[str], *, timeout_s: float
    ) -> Mapping[str, Float32Array]:
        """Return the outputs named, one row per picture.

        Args:
            pictures: `[N, H, W, 3]` uint8 RGB, N at least 1 and of any size; H and W from the contract's pipeline.
            outputs: names among `self.outputs`.
            timeout_s: time left of the caller's deadline.
        Returns:
            Per output `[N, D]` float32, finite; unit rows where the output fills a cosine space.
        Raises:
            EmbedderUnavailable: Triton is unreachable, or the model is not healthy.
            DeadlineExceeded: `timeout_s` passed.
        """


class Catalog(Protocol):
    """Keeps items durably and finds neighbours."""

    def spaces(self) -> Mapping[str, Space]:
        """The spaces by name."""

    async def put(self, items: Sequence[WritableItem]) -> list[Receipt | TwinsetError]:
        """Create or replace items; each result is durable, and seen by every search that begins afterwards.

        Within one call a later item of the same id wins; of two calls, the one made later.
        Returns:
            One receipt or error per item, in order. An item with an error left no trace.
        Raises:
            StoreUnavailable: the store is closed.
        """

    async def delete(self, item_id: str) -> int:
        """Delete an item and return the change's sequence once that is durable.

        Raises:
            ItemNotFound: no item has this id.
        """

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

    async def vector_of(self, item_id: str, space: str) -> Float32Array:
        """Return the item's vector in `space`, `[D]` float32: the caller's own, else the main picture's.

        Raises:
            ItemNotFound: no item has this id.
            NoVector: the item has none in this space.
        """

    async def search(
        self, space: str, query: Float32Array, k: int, *, exclude: frozenset[str] = frozenset()
    ) -> SearchResult:
        """Return the `k` items nearest to `query`, each once, by its best vector.

        Args:
            space: a name among `self.spaces()`.
            query: `[D]` float32, of unit length where the space's metric is cosine.
            k: 1 or more; fewer come back only where fewer may be returned.
            exclude: ids never to return.
        """

    async def status(self) -> CatalogStatus:
        """Return counts, spaces and the last durable sequence."""
