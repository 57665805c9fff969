"""Keeps the models that rank by factors loaded in a Triton of our own, as imports of factors come and go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path

from twinset.contract import ContractError
from twinset_server.config import TritonSettings
from twinset_server.errors import StartupError, TwinsetError
from twinset_server.triton.codec import BadReply
from twinset_server.triton.connection import Connection
from twinset_server.triton.embedded import EmbeddedTriton
from twinset_server.triton.health import WrongAnswer, verify_interaction
from twinset_server.triton.interaction_model import ServedInteraction, read_interaction
from twinset_server.triton.served_model import CONFIG
from twinset_server.triton.supervisor import Supervisor
from twinset_server.triton.transport import TransportError

_LOOK_S = 0.5
_PROVE_S = 5.0
"""How often each is asked for its known answer: a process of its own runs it, and may end by itself."""
_AGAIN_S = 15.0
"""How long one that could not be loaded is left alone."""

KeptFactors = Callable[[], Awaitable[Collection[str]]]
"""Returns the fingerprints of factors that serve or can be gone back to."""

_FAILURES = (StartupError, TransportError, BadReply, WrongAnswer)

_log = logging.getLogger(__name__)


class RankingModels:
    """Lets Triton load those of the repository that rank by kept factors, and forget those that no longer do.

    None of them keeps the model that embeds from serving: one that fails is logged, and tried again.
    """

    def __init__(
        self, supervisor: Supervisor, triton: EmbeddedTriton, settings: TritonSettings, kept: KeptFactors
    ) -> None:
        self._supervisor = supervisor
        self._triton = triton
        self._settings = settings
        self._kept = kept
        self._read: dict[str, ServedInteraction | None] = {}
        self._connection: Connection | None = None
        self._loaded: dict[str, float] = {}
        self._failed: dict[str, float] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self._look()
            except TwinsetError as error:
                _log.warning("it can't be told which factors are kept: %s", error)
            except Exception:
                # Models that rank must not end with one defect: what is missing shows in the next look.
                _log.exception("the models that rank could not be looked after")
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        published = await asyncio.to_thread(self._published)
        connection = self._supervisor.connection
        if connection is None or not (published or self._loaded):
            return
        if connection is not self._connection:
            self._connection, self._loaded, self._failed = connection, {}, {}
        kept = await self._kept()
        wanted = {name: model for name, model in published.items() if model.contract.factors in kept}
        for name in self._loaded.keys() - wanted.keys():
            await self._forget(connection, name)
        now_s = asyncio.get_running_loop().time()
        for name, model in wanted.items():
            if name in self._loaded:
                if now_s >= self._loaded[name] + _PROVE_S:
                    await self._prove(connection, model)
            elif now_s >= self._failed.get(name, now_s):
                await self._load(connection, model)

    def _published(self) -> dict[str, ServedInteraction]:
        """Return the interaction models of the repository by name; what is published never changes."""
        found = {}
        for path in sorted(self._settings.model_repository.glob(f"[!.]*/{CONFIG}")):
            name = path.parent.name
            if name not in self._read:
                self._read[name] = _read(path.parent)
            if (model := self._read[name]) is not None:
                found[name] = model
        return found

    async def _load(self, connection: Connection, model: ServedInteraction) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._triton.link(model)
            await connection.load(model.name, timeout_s=self._settings.startup_timeout_s)
            await verify_interaction(model, connection, timeout_s=self._settings.request_timeout_s)
        except _FAILURES as error:
            self._failed[model.name] = loop.time() + _AGAIN_S
            _log.warning("model %s, which ranks by factors, could not be loaded: %s", model.name, error)
            return
        self._loaded[model.name] = loop.time()
        _log.info("model %s ranks by factors %s", model.name, model.contract.factors[:8])

    async def _prove(self, connection: Connection, model: ServedInteraction) -> None:
        try:
            await verify_interaction(model, connection, timeout_s=self._settings.request_timeout_s)
        except _FAILURES as error:
            _log.warning("model %s, which ranks by factors, is loaded anew: %s", model.name, error)
            await self._forget(connection, model.name)
        else:
            self._loaded[model.name] = asyncio.get_running_loop().time()

    async def _forget(self, connection: Connection, name: str) -> None:
        del self._loaded[name]
        with contextlib.suppress(TransportError):
            await connection.unload(name, timeout_s=self._settings.request_timeout_s)


def _read(folder: Path) -> ServedInteraction | None:
    try:
        return read_interaction(folder)
    except ContractError as error:
        _log.warning("%s", error)
        return None


@contextlib.asynccontextmanager
async def keeping_loaded(supervisor: Supervisor, settings: TritonSettings, kept: KeptFactors) -> AsyncIterator[None]:
    """Keep the models that rank by kept factors loaded while the context is open; a Triton of others sees to itself."""
    if not isinstance(supervisor.host, EmbeddedTriton):
        yield
        return
    task = asyncio.create_task(RankingModels(supervisor, supervisor.host, settings, kept).run(), name="ranking-models")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
