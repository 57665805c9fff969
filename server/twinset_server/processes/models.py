"""The models of one server, on the Triton that all of its processes ask."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from twinset.contract import ModelContract
from twinset_server.config import Settings, TritonSettings
from twinset_server.domain import Space
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import EmbedderUnavailable, ModelUnfit, NoClasses, StartupError
from twinset_server.lineage.seams import Repository
from twinset_server.predictions import classes_of
from twinset_server.triton import TritonEmbedder, list_repository, load_remotely, open_embedder
from twinset_server.triton.ranking_models import KeptFactors, keeping_loaded
from twinset_server.triton.supervisor import State

Reached = Callable[[str], Awaitable[None]]
"""Returns once all workers embed with a model; raises EmbedderUnavailable where one doesn't for a long while."""

_log = logging.getLogger(__name__)


class TritonModels:
    """The embedded Triton, which lives in this process, or one elsewhere. Implements the port `ModelHost` of `lineage`.

    Beside the model that serves, others run for as long as the server does once they were asked for.
    """

    def __init__(self, settings: Settings, workers: int, reached: Reached, kept_factors: KeptFactors) -> None:
        """Prepare the models of `workers` workers; `kept_factors` tells which models that rank are of use."""
        self._triton = settings.triton
        self._kept_factors = kept_factors
        self._fill_category = settings.catalog.fill_category
        self._decode_threads = settings.server.decode_threads
        self._waiting_bytes = settings.server.max_waiting_bytes
        self._sharers = workers + 1
        self._reached = reached
        self._embedder: TritonEmbedder | None = None
        self._proven = False
        self._others: dict[str, PictureEmbedder] = {}
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()

    @property
    def address(self) -> str | None:
        """Where workers find the embedded Triton; None where it is elsewhere, and the settings say."""
        return None if self._embedder is None or self._triton.url is not None else self._embedder.address

    @property
    def is_ready(self) -> bool:
        """Whether the model was well when this process last looked."""
        return self._proven if self._embedder is None else self._embedder.state is State.READY

    @asynccontextmanager
    async def opened(self, visual: Space | None, ever: Iterable[str]) -> AsyncIterator[ModelContract | None]:
        """Run the embedded Triton while the context is open; give the contract of a model that the catalogue is new to.

        The store says which model serves. Another that the settings name may stand in where it fills `visual` alike,
        and may fill more spaces; one that served before was replaced since. A filled catalogue serves without its own
        model what needs no embedding, so that is not waited for.
        """
        triton = _chosen(self._triton, visual, ever)
        is_new = visual is None or triton.model not in (None, visual.model)
        async with self._stack, AsyncExitStack() as stack:
            if triton.url is not None and not is_new:
                yield None
                return
            embedder = await stack.enter_async_context(
                open_embedder(
                    triton,
                    expected_model=visual.model if visual else None,
                    expected_fingerprint=visual.fingerprint if visual else None,
                    wait=is_new,
                    sharers=self._sharers,
                )
            )
            if triton.url is None:
                self._embedder = embedder
                _check_classes(self._fill_category, embedder.contract)
                loaded = keeping_loaded(embedder.supervisor, self._triton, self._kept_factors)
                await stack.enter_async_context(loaded)
                yield embedder.contract if is_new else None
                return
            contract = embedder.contract
            _check_classes(self._fill_category, contract)
            self._proven = True
            # A Triton elsewhere is the workers' own to watch.
            await stack.aclose()
            yield contract

    async def repository(self) -> Repository:
        """Return the models that embed pictures; see the port."""
        contracts, problems = await list_repository(self._triton)
        return Repository(contracts, problems)

    def check(self, contract: ModelContract) -> None:
        """Let a model through that does what the settings ask of it; see the port."""
        try:
            _check_classes(self._fill_category, contract)
        except StartupError as error:
            raise ModelUnfit(contract.model, str(error)) from error

    @asynccontextmanager
    async def embedding(self, model: str) -> AsyncIterator[PictureEmbedder]:
        """Return a context in which a model runs and is proved; see the port."""
        async with self._opening:
            if model not in self._others:
                await self.load(model)
                self._others[model] = await self._stack.enter_async_context(self._embedding(model))
        yield self._others[model]

    async def load(self, model: str) -> None:
        """Have Triton serve a model.

        Raises:
            ModelUnfit: it can't be loaded, or its files aren't what was published.
            EmbedderUnavailable: Triton is away.
        """
        try:
            if self._embedder is not None:
                await self._embedder.load(model)
            else:
                await load_remotely(self._triton, model)
        except StartupError as error:
            raise ModelUnfit(model, str(error)) from error

    async def reached(self, model: str) -> None:
        """Return once all workers embed with a model; see the port."""
        await self._reached(model)

    @asynccontextmanager
    async def _embedding(self, model: str) -> AsyncIterator[PictureEmbedder]:
        settings = self._triton.model_copy(update={"url": self.address or self._triton.url, "model": model})
        async with AsyncExitStack() as stack:
            try:
                embedder = await stack.enter_async_context(open_embedder(settings, sharers=self._sharers))
            except StartupError as error:
                raise EmbedderUnavailable(f"{model} can't be asked: {error}") from error
            pictures = PictureEmbedder(
                embedder,
                max_batch=self._triton.max_batch,
                max_in_flight=1,
                max_pictures=self._triton.max_batch,
                max_waiting_bytes=self._waiting_bytes,
                decode_threads=self._decode_threads,
            )
            stack.callback(pictures.close)
            yield pictures


def _chosen(triton: TritonSettings, visual: Space | None, ever: Iterable[str]) -> TritonSettings:
    """Return the settings with the model that serves, where they name one that served once and was replaced since."""
    if visual is None or triton.model in (None, visual.model) or triton.model not in ever:
        return triton
    _log.warning(
        "%s serves: the setting triton.model names %s, which it replaced",
        visual.model,
        triton.model,
    )
    return triton.model_copy(update={"model": visual.model})


def _check_classes(fill_category: str | None, contract: ModelContract) -> None:
    """Let a setting through that names an output with classes.

    Raises:
        StartupError: the model has no such output.
    """
    if fill_category is None:
        return
    try:
        classes_of(contract, fill_category)
    except NoClasses as error:
        raise StartupError(f"{error.message}; choose another with --fill-category, or leave it out") from error
