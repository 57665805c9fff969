"""Models that rank by factors, asked on a Triton in this process that does wrong on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from fakes.interactions import KNOWN_COUNT, interaction_contract, score_locally
from fakes.triton import FakeTriton
from twinset_server.config import TritonSettings
from twinset_server.errors import DeadlineExceeded, EmbedderUnavailable, InteractionMismatch, NoInteractionModel
from twinset_server.triton import TritonEmbedder, open_embedder
from twinset_server.triton.supervisor import State

FACTORS, OTHER = "c" * 64, "d" * 64
CONTRACT = interaction_contract(FACTORS)
RNG = np.random.default_rng(0)
USER = RNG.normal(size=4).astype(np.float32)
ITEMS = RNG.normal(size=(4096, 4)).astype(np.float32)


@pytest.fixture
async def triton() -> AsyncIterator[FakeTriton]:
    async with FakeTriton() as triton:
        triton.interactions = {CONTRACT.model: CONTRACT}
        yield triton


@pytest.fixture(params=["unary", "stream"])
async def embedder(request: pytest.FixtureRequest, triton: FakeTriton) -> AsyncIterator[TritonEmbedder]:
    settings = TritonSettings(url=triton.address, transport=request.param, request_timeout_s=3.0)
    async with open_embedder(settings) as embedder:
        yield embedder


async def ask(embedder: TritonEmbedder, count: int = 5, *, factors: str = FACTORS, timeout_s: float = 5.0) -> str:
    found = await embedder.interactions.scores(factors, USER, ITEMS[:count], model="", timeout_s=timeout_s)
    expected = score_locally(np.broadcast_to(USER, (count, 4)), ITEMS[:count])
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    return found.model


async def test_all_candidates_go_in_one_request_after_one_proof(embedder: TritonEmbedder, triton: FakeTriton) -> None:
    await asyncio.gather(*(ask(embedder, 4096) for _ in range(3)))
    assert triton.pairs == [KNOWN_COUNT, 4096, 4096, 4096]


async def test_a_model_is_found_that_was_loaded_since(embedder: TritonEmbedder, triton: FakeTriton) -> None:
    triton.interactions = {}
    with pytest.raises(NoInteractionModel, match=FACTORS):
        await ask(embedder)
    other = interaction_contract(OTHER)
    triton.interactions = {other.model: other}
    with pytest.raises(InteractionMismatch, match=f"{OTHER}.*{FACTORS}"):
        await ask(embedder)
    triton.interactions[CONTRACT.model] = CONTRACT
    assert await ask(embedder) == CONTRACT.model
    assert await ask(embedder, factors=OTHER) == other.model


async def test_a_model_that_was_unloaded_is_unavailable_once_and_then_missing(
    embedder: TritonEmbedder, triton: FakeTriton
) -> None:
    await ask(embedder)
    triton.interactions = {}
    with pytest.raises(EmbedderUnavailable, match="unknown model"):
        await ask(embedder)
    with pytest.raises(NoInteractionModel):
        await ask(embedder)
    # Whoever embeds never hears of it.
    assert embedder.state is State.READY


async def test_a_model_without_its_known_answer_is_not_asked(embedder: TritonEmbedder, triton: FakeTriton) -> None:
    triton.spoil_scores = 0.5
    with pytest.raises(EmbedderUnavailable, match="known answer"):
        await ask(embedder)
    triton.spoil_scores = 0.0
    await ask(embedder)


async def test_while_triton_is_away_nothing_is_waited_for(embedder: TritonEmbedder, triton: FakeTriton) -> None:
    await ask(embedder)
    await triton.stop()
    with pytest.raises(EmbedderUnavailable) as caught:
        while True:  # until the broken connection is noticed, a call may find that out by itself
            await asyncio.wait_for(ask(embedder, timeout_s=60), timeout=5)
    assert caught.value.retry_after_s > 0
    await triton.start()
    async with asyncio.timeout(10):
        while embedder.state is not State.READY:
            await asyncio.sleep(0.01)
    triton.pairs.clear()
    await ask(embedder)
    # It may be another Triton: the model proves itself again.
    assert triton.pairs[0] == KNOWN_COUNT


async def test_a_deadline_that_passes_is_the_callers(embedder: TritonEmbedder, triton: FakeTriton) -> None:
    await ask(embedder)
    triton.before_reply = asyncio.Event().wait
    with pytest.raises(DeadlineExceeded):
        await ask(embedder, timeout_s=0.1)
    with pytest.raises(DeadlineExceeded):
        await ask(embedder, timeout_s=0.0)
    with pytest.raises(EmbedderUnavailable):
        await ask(embedder, timeout_s=30)
