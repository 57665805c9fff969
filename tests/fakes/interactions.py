"""Interaction models without Triton: they turn the order of taste round, and say so by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twinset.interaction_contract import SCORE, InteractionContract, known_factors
from twinset.known_answer import KnownAnswer
from twinset_server.domain import Float32Array, InteractionScores
from twinset_server.errors import EmbedderUnavailable
from twinset_server.triton.interaction_model import ServedInteraction
from twinset_server.triton.interactions import choose

KNOWN_SEED, KNOWN_COUNT = 0, 8


def score_locally(users: Float32Array, items: Float32Array) -> Float32Array:
    """Return `[N]` float32, lower the higher the inner product of each user's and item's `[N, D]` factors is."""
    return (1 - np.tanh(np.einsum("nd,nd->n", users, items) / 4)).astype(np.float32)


def interaction_contract(factors: str, dimension: int = 4, name: str = "interaction") -> InteractionContract:
    """Return the contract of a model that computes `score_locally` of these factors; its fingerprint tells them."""
    values = score_locally(*known_factors(KNOWN_SEED, KNOWN_COUNT, dimension))[:, np.newaxis]
    known = KnownAnswer(KNOWN_SEED, KNOWN_COUNT, 0.01, {SCORE: values})
    return InteractionContract(name, factors[::-1], "b0" * 32, factors, dimension, known)


class FakeInteractions:
    """Models of these factors, `name-...` each. `asked` has the number of items of each request; `down` fails all."""

    def __init__(self, *factors: str) -> None:
        self.models = [_served(interaction_contract(one)) for one in factors]
        self.asked: list[int] = []
        self.down = False

    def serve(self, contracts: Sequence[InteractionContract]) -> None:
        self.models = [_served(one) for one in contracts]

    async def scores(
        self, factors: str, user: Float32Array, items: Float32Array, *, model: str, timeout_s: float
    ) -> InteractionScores:
        if self.down:
            raise EmbedderUnavailable("the fake Triton is down")
        served = choose(self.models, factors, model)
        self.asked.append(len(items))
        return InteractionScores(served.name, score_locally(np.broadcast_to(user, items.shape), items))


def _served(contract: InteractionContract) -> ServedInteraction:
    return ServedInteraction(contract.model, contract, 4096)
