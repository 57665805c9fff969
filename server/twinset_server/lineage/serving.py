"""What embeds pictures in a process that answers: one embedder for each model, of which the catalogue names one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from twinset_server.domain import VISUAL, Float32Array, InteractionScores, Space
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import EmbedderUnavailable, TooManyPictures
from twinset_server.ports import Catalog, Interactions

_LOOK_EVERY_S = 0.1
_PROOF_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """What asks one model.

    Attributes:
        pictures: embeds with it.
        interactions: ranks by factors, with other models of the same Triton.
        ready: returns once the model is proved, within a time in seconds, or raises EmbedderUnavailable.
    """

    pictures: PictureEmbedder
    interactions: Interactions
    ready: Callable[[float], Awaitable[None]]


Opening = Callable[[str], AbstractAsyncContextManager[Opened]]
"""Makes the embedder of the model of this name while its context is open, whether Triton answers or not."""

Tell = Callable[[Sequence[str]], None]
"""Told which models can be asked, whenever there is one more."""


class ServedPictures:
    """Implements `Pictures` and `Interactions`. Models are opened when the store names them, so before they serve."""

    def __init__(self, catalog: Catalog, opening: Opening, tell: Tell) -> None:
        self._catalog = catalog
        self._opening = opening
        self._tell = tell
        self._open: dict[str, Opened] = {}
        self._proving: dict[str, asyncio.Task[None]] = {}
        self._proved: list[str] = []
        self._stack = contextlib.AsyncExitStack()

    @property
    def now(self) -> PictureEmbedder:
        """What embeds with the model that serves at this moment; see `Pictures`."""
        return self.of(self._catalog.spaces())

    def of(self, spaces: Mapping[str, Space]) -> PictureEmbedder:
        """Return what embeds into these spaces; see `Pictures`."""
        return self._opened(spaces).pictures

    @property
    def is_well(self) -> bool:
        """Whether the model that serves is reached, and well; see `Pictures`."""
        opened = self._serving(self._catalog.spaces())
        return opened is not None and opened.pictures.is_well

    @property
    def is_full(self) -> bool:
        """Whether a call comes too late; see `Pictures`. Without a model it is refused for that."""
        opened = self._serving(self._catalog.spaces())
        return opened is not None and opened.pictures.is_full

    def refusal(self) -> TooManyPictures:
        """Return what such a call ends in; see `Pictures`."""
        return self.now.refusal()

    async def scores(
        self, factors: str, user: Float32Array, items: Float32Array, *, model: str, timeout_s: float
    ) -> InteractionScores:
        """Return what a model says of one user and each of the items; see `Interactions`."""
        interactions = self._opened(self._catalog.spaces()).interactions
        return await interactions.scores(factors, user, items, model=model, timeout_s=timeout_s)

    async def start(self, *, wait_s: float) -> None:
        """Open the models that the store names, waiting for the one that serves, at most `wait_s`."""
        await self._refresh()
        if models := self._catalog.models():
            await asyncio.wait({self._proving[models[0]]}, timeout=wait_s)

    async def follow(self) -> None:
        """Open the models that the store comes to name, until this is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self._refresh()

    async def close(self) -> None:
        """Close all embedders."""
        for task in self._proving.values():
            task.cancel()
        await self._stack.aclose()

    def _serving(self, spaces: Mapping[str, Space]) -> Opened | None:
        visual = spaces.get(VISUAL)
        return self._open.get(visual.model or "") if visual else None

    def _opened(self, spaces: Mapping[str, Space]) -> Opened:
        opened = self._serving(spaces)
        if opened is None:
            raise EmbedderUnavailable(f"the model of {VISUAL!r} isn't reached so far: try again in a moment")
        return opened

    async def _refresh(self) -> None:
        for model in self._catalog.models():
            if model not in self._open:
                # One that serves no more stays: who asked it last may be waiting.
                self._open[model] = await self._stack.enter_async_context(self._opening(model))
                self._proving[model] = asyncio.create_task(self._prove(model), name=f"prove {model}")

    async def _prove(self, model: str) -> None:
        while True:
            try:
                await self._open[model].ready(_PROOF_S)
            except EmbedderUnavailable as error:
                _log.debug("%s isn't reached so far: %s", model, error)
                continue
            self._proved.append(model)
            self._tell(tuple(self._proved))
            return
