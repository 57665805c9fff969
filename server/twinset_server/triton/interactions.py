"""Asks the models on Triton that rank by factors."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import numpy as np

from twinset.contract import ContractError
from twinset_server.config import TritonSettings
from twinset_server.domain import Float32Array, InteractionScores
from twinset_server.errors import (
    DeadlineExceeded,
    EmbedderUnavailable,
    InteractionMismatch,
    InvalidRequest,
    NoInteractionModel,
)
from twinset_server.triton.codec import BadReply
from twinset_server.triton.connection import Connection
from twinset_server.triton.health import WrongAnswer, verify_interaction
from twinset_server.triton.interaction_model import ServedInteraction, described_interaction
from twinset_server.triton.supervisor import RETRY_AFTER_S
from twinset_server.triton.transport import Refused, TimedOut, TransportError, Unreachable

_FIELD = "rerank.model"

_log = logging.getLogger(__name__)


class Triton(Protocol):
    """Who may be asked over which connection: a `Supervisor`."""

    @property
    def losses(self) -> int:
        """How often a connection was lost so far: behind the next one may be another Triton."""

    def connected(self) -> Connection:
        """Return the connection; raises EmbedderUnavailable where there is none now."""

    def doubt(self, connection: Connection, reason: str) -> None:
        """Take note that a request over `connection` failed."""


class TritonInteractions:
    """Scores pairs of factors with whichever models Triton has loaded; see `ports.Interactions`.

    A model is asked once it has given its known answer since the connection was last lost. Nothing is waited for that
    isn't there: whoever ranks can do without.
    """

    def __init__(self, triton: Triton, settings: TritonSettings) -> None:
        self._triton = triton
        self._longest_s = settings.request_timeout_s
        self._choosing = asyncio.Lock()
        self._seen: tuple[Connection, int] | None = None
        self._read: dict[str, ServedInteraction | None] = {}
        self._proven: dict[tuple[str, str], ServedInteraction] = {}

    async def scores(
        self, factors: str, user: Float32Array, items: Float32Array, *, model: str, timeout_s: float
    ) -> InteractionScores:
        """Return what a model says of one user and each of the items, in one request to it.

        Args:
            factors: the fingerprint of the factors.
            user: `[D]` float32.
            items: `[N, D]` float32, N from 1 to the model's `max_batch_size`.
            model: its name; empty for the first, by name, that was trained on these factors.
            timeout_s: time left of the caller's deadline.
        Raises:
            NoInteractionModel: no such model is served.
            InteractionMismatch: only models of other factors are, or the one named is of others.
            InvalidRequest: N is above what the model takes.
            EmbedderUnavailable: Triton is unreachable, or the model doesn't give its known answer; told without delay.
            DeadlineExceeded: `timeout_s` passed.
        """
        if timeout_s <= 0:
            raise _too_late()
        connection = self._triton.connected()
        asked_s = min(timeout_s, self._longest_s)
        try:
            async with asyncio.timeout(asked_s):
                served = await self._chosen(connection, factors, model)
                _check_count(served, len(items))
                users = np.broadcast_to(user, items.shape)
                losses = self._triton.losses
                values = await connection.score(served, users, items, timeout_s=asked_s)
                if self._triton.losses != losses:
                    raise Unreachable("the connection was lost meanwhile, so another Triton may have answered")
        except (TransportError, BadReply, WrongAnswer, TimeoutError) as error:
            # Whatever became of it, it proves itself again before anybody relies on it.
            self._proven.clear()
            if isinstance(error, TimeoutError | TimedOut) and timeout_s <= self._longest_s:
                raise _too_late() from error
            if isinstance(error, TransportError) and not isinstance(error, Refused):
                self._triton.doubt(connection, str(error))
            raise EmbedderUnavailable(
                f"the model that ranks by factors gave no answer ({error}): try again in a moment, or ask without "
                "rerank",
                RETRY_AFTER_S,
            ) from error
        return InteractionScores(served.name, values)

    async def _chosen(self, connection: Connection, factors: str, name: str) -> ServedInteraction:
        """Return the model to ask, which has given its known answer over `connection`."""
        if (seen := (connection, self._triton.losses)) != self._seen:
            self._seen, self._read, self._proven = seen, {}, {}
        # By this name: a proof that ends after the connection was lost says nothing of the next one.
        proven = self._proven
        if (known := proven.get((factors, name))) is not None:
            return known
        # One proof serves all callers that wait for it.
        async with self._choosing:
            if (known := proven.get((factors, name))) is not None:
                return known
            served = choose(await self._loaded(connection), factors, name)
            await verify_interaction(served, connection, timeout_s=self._longest_s)
            proven[factors, name] = served
            _log.info("model %s ranks by factors %s", served.name, factors[:8])
            return served

    async def _loaded(self, connection: Connection) -> list[ServedInteraction]:
        """Return the interaction models that Triton has loaded."""
        names = await connection.model_names(timeout_s=self._longest_s)
        for name in names:
            # A name stands for one model for ever, so what it is needs reading once.
            if name not in self._read:
                config = await connection.model_config(name, timeout_s=self._longest_s)
                try:
                    self._read[name] = described_interaction(config)
                except ContractError as error:
                    _log.warning("model %s is passed over: %s", name, error)
                    self._read[name] = None
        return [found for name in names if (found := self._read[name]) is not None]


def choose(models: list[ServedInteraction], factors: str, name: str) -> ServedInteraction:
    """Return the model called `name`, or where that is empty the first of `models` that was trained on `factors`.

    Raises:
        NoInteractionModel, InteractionMismatch: see `Interactions.scores`.
    """
    if name:
        named = next((one for one in models if one.name == name), None)
        if named is None:
            served = ", ".join(one.name for one in models) or "none"
            raise NoInteractionModel(
                _FIELD, f"{_FIELD}: Triton serves no model {name!r} that ranks by factors: {served}"
            )
        if named.contract.factors != factors:
            raise InteractionMismatch(_FIELD, model=name, given=named.contract.factors, expected=factors)
        return named
    for one in models:
        if one.contract.factors == factors:
            return one
    if models:
        other = models[-1]
        raise InteractionMismatch(_FIELD, model=other.name, given=other.contract.factors, expected=factors)
    raise NoInteractionModel(
        _FIELD,
        f"{_FIELD}: Triton serves no model that ranks by the factors of {factors}: publish one that was trained on "
        "them with `twinset-exporter publish-interaction`, and let Triton load it",
    )


def _check_count(served: ServedInteraction, count: int) -> None:
    if count > served.max_batch_size:
        raise InvalidRequest(
            "rerank.candidates",
            f"{count} candidates are to be scored, and the model {served.name} takes {served.max_batch_size} at once",
        )


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline passed before candidates were scored again: give more time, or rerank fewer")
