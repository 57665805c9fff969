"""Keeps the models that rank by factors loaded in a Triton of our own, as imports of factors come and go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from twinset.contract import ContractError
from twinset_server.config import TritonSettings
from twinset_server.errors import StartupError, TwinsetError
from twinset_server.triton.codec import BadReply
from twinset_server.triton.connection import Connection
from twinset_server.triton.embedded import EmbeddedTriton
from twinset_server.triton.health import WrongAnswer, verify_interaction
from twinset_server.triton.interaction_model import ServedInteraction, read_interaction
from twinset_server.triton.served_model import CONFIG, Servable
from twinset_server.triton.supervisor import Supervisor
from twinset_server.triton.transport import TransportError

_LOOK_S = 0.5
_PROVE_S = 5.0
"""A process of its own runs each model, and may end by itself."""
_AGAIN_S = 15.0
"""How long one that could not be loaded is left alone."""


@dataclass(frozen=True, slots=True)
class _Published:
    model: ServedInteraction
    published_ns: int


KeptFactors = Callable[[], Awaitable[Collection[str]]]
"""Returns the fingerprints of factors that serve or can be gone back to."""

_FAILURES = (StartupError, TransportError, BadReply, WrongAnswer)

_log = logging.getLogger(__name__)


class Links(Protocol):
    """Lets a Triton see models of its repository: an `EmbeddedTriton`."""

    def link(self, model: Servable) -> None:
        """Let it see a model; raises StartupError where its files aren't what was published."""


class RankingModels:
    """Lets Triton load those of the repository that rank by kept factors, and the one published last.

    That one's factors are about to be imported: where it is loaded before, no call meets factors without their model.
    Those of factors that can't be gone back to any more are forgotten. None of them keeps the model that embeds from
    serving: one that fails is logged, and tried again.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        triton: Links,
        settings: TritonSettings,
        kept: KeptFactors,
        *,
        prove_s: float = _PROVE_S,
    ) -> None:
        """Look after the models in the repository of `settings`; each is asked for its known answer every `prove_s`."""
        self._supervisor = supervisor
        self._triton = triton
        self._settings = settings
        self._kept = kept
        self._prove_s = prove_s
        self._read: dict[str, _Published | None] = {}
        self._connection: Connection | None = None
        self._loaded: dict[str, float] = {}
        self._failed: dict[str, float] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except TwinsetError as error:
                _log.warning("it can't be told which factors are kept: %s", error)
            except Exception:
                # Models that rank must not end with one defect: what is missing shows in the next look.
                _log.exception("the models that rank could not be looked after")
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Load, prove and forget what is due.

        Raises:
            StoreUnavailable: it can't be told which factors are kept.
        """
        published = await asyncio.to_thread(self._published)
        connection = self._supervisor.connection
        if connection is None or not (published or self._loaded):
            return
        if connection is not self._connection:
            self._connection, self._loaded, self._failed = connection, {}, {}
        kept = await self._kept()
        last = max(published, key=lambda name: published[name].published_ns, default="")
        wanted = {
            name: one.model for name, one in published.items() if name == last or one.model.contract.factors in kept
        }
        for name in self._loaded.keys() - wanted.keys():
            await self._forget(connection, name)
        now_s = asyncio.get_running_loop().time()
        for name, model in wanted.items():
            if name in self._loaded:
                if now_s >= self._loaded[name] + self._prove_s:
                    await self._prove(connection, model)
            elif now_s >= self._failed.get(name, now_s):
                await self._load(connection, model)

    def _published(self) -> dict[str, _Published]:
        """Return the interaction models of the repository by name; what is published never changes."""
        found = {}
        for path in sorted(self._settings.model_repository.glob(f"[!.]*/{CONFIG}")):
            name = path.parent.name
            if name not in self._read:
                self._read[name] = _read(path.parent)
            if (one := self._read[name]) is not None:
                found[name] = one
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


def _read(folder: Path) -> _Published | None:
    try:
        model = read_interaction(folder)
        return None if model is None else _Published(model, (folder / CONFIG).stat().st_mtime_ns)
    except (ContractError, OSError) as error:
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
