"""The two seams of a change of models: what is stored, and where models run. The composition root brings both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from twinset.contract import ModelContract
from twinset_server.domain import Lost, ModelGeneration, PendingItem, Recomputed, Space, StoredPicture, Switched
from twinset_server.embedding import PictureEmbedder

Recompute = Callable[[Sequence[PendingItem]], Awaitable[Sequence[Recomputed]]]
"""Makes the vectors of items."""


class ModelStore(Protocol):
    """The catalogue, as far as models are concerned.

    Every call may raise DiskFull or StoreUnavailable; then nothing was changed.
    """

    async def generations(self) -> list[ModelGeneration]:
        """Return the generations: the active one, those to go back to, those that are being filled."""

    async def begin(self, model: str, spaces: Sequence[Space]) -> ModelGeneration:
        """Return the generation of a model that is to serve: one that is there, or a new one."""

    async def to_fill(self, number: int) -> list[str]:
        """Return the spaces of a generation that the active one doesn't fill as well."""

    async def pending(self, number: int, limit: int) -> list[PendingItem]:
        """Return the first items that changed since a generation's vectors were made, in the order of changes."""

    async def picture(self, item_id: str, picture_id: str) -> StoredPicture:
        """Return a picture's content.

        Raises:
            ItemNotFound, PictureNotFound, PictureNotStored: it isn't there, or no more.
        """

    async def add(self, number: int, made: Sequence[Recomputed]) -> None:
        """Store vectors of items, all that `pending` gave, in its order."""

    async def lost(self, number: int) -> Lost:
        """Return what no picture gives a vector of a generation."""

    async def switch(self, number: int, recompute: Recompute, *, drop: bool) -> Switched:
        """Let a generation serve, after what is still pending was made while writers wait. All of it or nothing.

        Raises:
            VectorsLost: something would have no vector any more, and `drop` isn't set.
        """

    def without_feeds(self) -> AbstractAsyncContextManager[None]:
        """Return a context in which no feed is under way; entering waits for those that are."""

    async def tidy(self, filling: int | None = None) -> None:
        """Delete generations that nobody will go back to, but the one that is being filled."""


@dataclass(frozen=True, slots=True)
class Repository:
    """The models that there are by name, and what is wrong with others by what tells of it."""

    contracts: Mapping[str, ModelContract]
    problems: Sequence[str] = field(default=())


class ModelHost(Protocol):
    """Where models run."""

    async def repository(self) -> Repository:
        """Return the models that embed pictures, those apart that are a part of another.

        Raises:
            EmbedderUnavailable: they are on a Triton that can't be reached.
        """

    def check(self, contract: ModelContract) -> None:
        """Let a model through that does what the settings ask of it.

        Raises:
            ModelUnfit: it doesn't.
        """

    def embedding(self, model: str) -> AbstractAsyncContextManager[PictureEmbedder]:
        """Return a context in which a model runs and is proved; it may be one that serves.

        Raises:
            ModelUnfit: its files aren't what was published.
            EmbedderUnavailable: it can't be loaded, or doesn't give its known answer.
        """

    async def reached(self, model: str) -> None:
        """Return once all workers embed with a model that the store names.

        Raises:
            EmbedderUnavailable: one of them doesn't for a long while.
        """
