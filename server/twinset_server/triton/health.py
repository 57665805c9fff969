"""Whether a model is well: by its known answer, compared by value.

Triton's own readiness says yes for a model whose process is dead, and for one whose tensors come out corrupted.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from twinset.interaction_contract import SCORE, known_factors
from twinset.known_answer import KnownAnswer, known_categories, known_input
from twinset_server.domain import Float32Array
from twinset_server.triton.connection import Connection
from twinset_server.triton.interaction_model import ServedInteraction
from twinset_server.triton.served_model import ServedModel


class WrongAnswer(Exception):
    """The model answers, but not what its contract says."""


class HealthCheck:
    """Asks a model for its known answer."""

    def __init__(self, model: ServedModel) -> None:
        pipeline, known = model.contract.pipeline, model.contract.known_answer
        self._model = model
        self._known = known
        self._pictures = known_input(known.seed, known.count, pipeline.height, pipeline.width)
        self._categories = known_categories(known.count, model.contract.categories)[:, 0]

    async def verify(self, connection: Connection, *, timeout_s: float) -> None:
        """Return where the whole known answer is right.

        Raises:
            WrongAnswer, BadReply: it isn't.
            TransportError: there is no reply.
        """
        await self._ask(connection, self._known, timeout_s)

    async def probe(self, connection: Connection, *, timeout_s: float) -> None:
        """Return where the answer to the first known picture is right; raises like `verify`, and costs less."""
        first = {name: values[:1] for name, values in self._known.values.items()}
        await self._ask(connection, dataclasses.replace(self._known, count=1, values=first), timeout_s)

    async def _ask(self, connection: Connection, known: KnownAnswer, timeout_s: float) -> None:
        names = list(known.values)
        parts: list[dict[str, Float32Array]] = []
        for start in range(0, known.count, self._model.max_batch_size):
            part = slice(start, min(start + self._model.max_batch_size, known.count))
            pictures, categories = self._pictures[part], self._categories[part]
            parts.append(await connection.infer(self._model, pictures, categories, names, timeout_s=timeout_s))
        answer = {name: np.concatenate([part[name] for part in parts]) for name in names}
        _compare(self._model.name, known, answer)


async def verify_interaction(model: ServedInteraction, connection: Connection, *, timeout_s: float) -> None:
    """Return where an interaction model's whole known answer is right; raises like `HealthCheck.verify`."""
    known = model.contract.known_answer
    users, items = known_factors(known.seed, known.count, model.contract.dimension)
    parts = [
        await connection.score(
            model,
            users[start : start + model.max_batch_size],
            items[start : start + model.max_batch_size],
            timeout_s=timeout_s,
        )
        for start in range(0, known.count, model.max_batch_size)
    ]
    _compare(model.name, known, {SCORE: np.concatenate(parts)[:, np.newaxis]})


def _compare(name: str, known: KnownAnswer, answer: dict[str, Float32Array]) -> None:
    if mismatch := known.mismatch(answer):
        raise WrongAnswer(
            f"model {name} doesn't give its known answer: {mismatch}; its files and its config don't "
            "belong together, or its runtime is broken: export it anew with twinset-exporter"
        )
