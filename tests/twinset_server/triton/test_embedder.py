"""The embedder against a Triton in this process, which does wrong on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from fakes.models import run_locally, some_pictures, tiny_contract, write_tiny_model
from fakes.triton import FakeTriton, Refusal
from twinset_server.config import TritonSettings
from twinset_server.errors import DeadlineExceeded, EmbedderUnavailable, StartupError
from twinset_server.triton import TritonEmbedder, open_embedder
from twinset_server.triton.supervisor import State

from .test_codec import WRONGS

TRANSPORTS = ["unary", "stream"]


@pytest.fixture
async def triton() -> AsyncIterator[FakeTriton]:
    async with FakeTriton() as triton:
        yield triton


@pytest.fixture(params=TRANSPORTS)
async def embedder(request: pytest.FixtureRequest, triton: FakeTriton) -> AsyncIterator[TritonEmbedder]:
    settings = TritonSettings(
        url=triton.address, transport=request.param, max_batch=4, max_in_flight=2, request_timeout_s=0.8
    )
    async with open_embedder(settings) as embedder:
        yield embedder


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def never() -> None:
    await asyncio.Event().wait()


async def test_pictures_travel_in_requests_of_at_most_max_batch(embedder: TritonEmbedder, triton: FakeTriton) -> None:
    await embedder.embed(some_pictures(11), ["features"], timeout_s=5)
    assert sorted(triton.batch_sizes) == [3, 4, 4]


async def test_a_request_keeps_to_the_models_max_batch_size(triton: FakeTriton) -> None:
    async with open_embedder(TritonSettings(url=triton.address, max_batch=100)) as embedder:
        await embedder.embed(some_pictures(40), ["features"], timeout_s=5)
    assert sorted(triton.batch_sizes) == [8, 32]


async def test_max_in_flight_requests_are_under_way_over_all_calls(
    embedder: TritonEmbedder, triton: FakeTriton
) -> None:
    triton.before_reply = lambda: asyncio.sleep(0.02)
    pictures = some_pictures(16)
    await asyncio.gather(*(embedder.embed(pictures, ["features"], timeout_s=5) for _ in range(3)))
    assert triton.most_at_once == 2


async def test_replies_in_any_order_find_their_requests(embedder: TritonEmbedder, triton: FakeTriton) -> None:
    delays = iter([0.06, 0.0, 0.03, 0.0, 0.01])
    triton.before_reply = lambda: asyncio.sleep(next(delays))
    pictures = some_pictures(20)
    rows = await embedder.embed(pictures, ["features"], timeout_s=5)
    np.testing.assert_allclose(rows["features"], run_locally(pictures)["features"], atol=1e-5)


@pytest.mark.parametrize("spoil", WRONGS, ids=lambda spoil: spoil.__name__)
async def test_the_embedder_is_unavailable_while_replies(
    spoil: Callable[[Any], None], embedder: TritonEmbedder, triton: FakeTriton
) -> None:
    triton.spoil = spoil
    with pytest.raises(EmbedderUnavailable, match=r"output '(embedding|features)'") as caught:
        await embedder.embed(some_pictures(6), ["features", "embedding"], timeout_s=5)
    assert caught.value.retry_after_s > 0


async def test_one_wrong_reply_leads_to_a_check_and_a_second_request(
    embedder: TritonEmbedder, triton: FakeTriton
) -> None:
    proofs = triton.proofs

    def spoil_once(reply: Any) -> None:
        triton.spoil = None
        reply.outputs[0].datatype = "INT8"

    triton.spoil = spoil_once
    pictures = some_pictures(3)
    rows = await embedder.embed(pictures, ["features"], timeout_s=5)
    np.testing.assert_allclose(rows["features"], run_locally(pictures)["features"], atol=1e-5)
    assert triton.proofs == proofs + 1


async def test_an_error_of_triton_is_told_to_the_caller(embedder: TritonEmbedder, triton: FakeTriton) -> None:
    async def refuse() -> None:
        raise Refusal("the moon is full")

    triton.before_reply = refuse
    with pytest.raises(EmbedderUnavailable, match="the moon is full"):
        await embedder.embed(some_pictures(1), ["features"], timeout_s=5)


async def test_a_deadline_that_passes_says_nothing_against_triton(embedder: TritonEmbedder, triton: FakeTriton) -> None:
    triton.before_reply = never
    with pytest.raises(DeadlineExceeded):
        await embedder.embed(some_pictures(9), ["features"], timeout_s=0.2)
    assert embedder.state is State.READY


async def test_a_call_that_waits_for_its_turn_keeps_its_deadline(embedder: TritonEmbedder, triton: FakeTriton) -> None:
    triton.before_reply = never
    long = asyncio.create_task(embedder.embed(some_pictures(8), ["features"], timeout_s=60))
    await wait_until(lambda: triton.most_at_once == 2)
    with pytest.raises(DeadlineExceeded, match="waited for Triton"):
        await embedder.embed(some_pictures(1), ["features"], timeout_s=0.1)
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long


async def test_a_request_without_a_reply_is_given_up_after_its_time(
    embedder: TritonEmbedder, triton: FakeTriton
) -> None:
    triton.before_reply = never
    with pytest.raises(EmbedderUnavailable):
        await embedder.embed(some_pictures(1), ["features"], timeout_s=30)


async def test_a_triton_that_comes_back_is_proven_before_it_is_used(
    embedder: TritonEmbedder, triton: FakeTriton
) -> None:
    proofs = triton.proofs
    await triton.stop()
    await wait_until(lambda: embedder.state is not State.READY)
    await triton.start()
    pictures = some_pictures(5)
    rows = await embedder.embed(pictures, ["features"], timeout_s=5)
    np.testing.assert_allclose(rows["features"], run_locally(pictures)["features"], atol=1e-5)
    assert triton.proofs > proofs


async def test_a_triton_that_comes_back_with_another_model_is_not_used(
    embedder: TritonEmbedder, triton: FakeTriton
) -> None:
    await triton.stop()
    await wait_until(lambda: embedder.state is not State.READY)
    triton.seed = 1  # under the same name, and with the same contract
    await triton.start()
    await wait_until(lambda: triton.proofs > 1)
    with pytest.raises(EmbedderUnavailable, match="known answer"):
        await embedder.embed(some_pictures(5), ["features"], timeout_s=1)


async def test_a_triton_that_goes_wrong_between_calls_is_found_by_a_probe(
    embedder: TritonEmbedder, triton: FakeTriton
) -> None:
    triton.seed = 1
    await wait_until(lambda: embedder.state is State.DOWN)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_calls_under_way_when_the_embedder_closes_are_unavailable(
    transport: Literal["unary", "stream"], triton: FakeTriton
) -> None:
    triton.before_reply = never
    async with open_embedder(TritonSettings(url=triton.address, transport=transport)) as embedder:
        calls = [asyncio.create_task(embedder.embed(some_pictures(99), ["features"], timeout_s=30)) for _ in range(3)]
        await wait_until(lambda: triton.most_at_once == 3)
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in ends] == [EmbedderUnavailable] * 3


async def test_without_waiting_the_embedder_opens_while_triton_is_away() -> None:
    contract = tiny_contract()
    triton = FakeTriton()
    await triton.start()
    await triton.stop()
    async with open_embedder(
        TritonSettings(url=triton.address),
        expected_model=contract.model,
        expected_fingerprint=contract.fingerprint,
        wait=False,
    ) as embedder:
        with pytest.raises(EmbedderUnavailable, match="not ready"):
            _ = embedder.contract
        with pytest.raises(EmbedderUnavailable, match="not ready"):
            await embedder.embed(some_pictures(1), ["features"], timeout_s=0.3)
        await triton.start()
        await wait_until(lambda: embedder.state is State.READY)
        assert embedder.contract.fingerprint == contract.fingerprint
        await embedder.embed(some_pictures(1), ["features"], timeout_s=5)
    await triton.stop()


async def test_a_triton_that_is_away_fails_the_start() -> None:
    triton = FakeTriton()
    await triton.start()
    await triton.stop()
    settings = TritonSettings(url=triton.address, startup_timeout_s=0.5)
    with pytest.raises(StartupError, match=rf"correct triton.url = {triton.address}"):
        async with open_embedder(settings):
            pass


async def test_another_fingerprint_fails_the_start_and_both_are_named(triton: FakeTriton) -> None:
    with pytest.raises(StartupError, match=tiny_contract().fingerprint) as caught:
        async with open_embedder(TritonSettings(url=triton.address), expected_fingerprint="f" * 64):
            pass
    assert "f" * 64 in str(caught.value)


async def test_a_wrong_known_answer_fails_the_start() -> None:
    async with FakeTriton(seed=0) as triton:
        triton.seed = 1
        with pytest.raises(StartupError, match="doesn't give its known answer"):
            async with open_embedder(TritonSettings(url=triton.address)):
                pass


async def test_other_weights_under_the_same_name_are_found_though_traffic_goes_on(
    embedder: TritonEmbedder, triton: FakeTriton
) -> None:
    pictures = some_pictures(1)
    await embedder.embed(pictures, ["features"], timeout_s=5)
    triton.seed = 1
    with pytest.raises(EmbedderUnavailable):
        async with asyncio.timeout(10):
            while True:
                await embedder.embed(pictures, ["features"], timeout_s=1)
                await asyncio.sleep(0.05)


async def test_of_several_models_elsewhere_one_must_be_named() -> None:
    first, second = tiny_contract(0), tiny_contract(1)
    async with FakeTriton(first, second) as triton:
        with pytest.raises(StartupError, match="--model NAME") as caught:
            async with open_embedder(TritonSettings(url=triton.address)):
                pass
        assert first.model in str(caught.value)
        assert second.model in str(caught.value)
        async with open_embedder(TritonSettings(url=triton.address, model=first.model)) as embedder:
            assert embedder.contract.model == first.model


async def test_a_model_that_is_not_loaded_elsewhere_is_an_error_that_names_those_that_are(triton: FakeTriton) -> None:
    with pytest.raises(StartupError, match=tiny_contract().model):
        async with open_embedder(TritonSettings(url=triton.address, model="absent-01234567")):
            pass


async def test_without_any_model_the_error_tells_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="twinset-exporter export efficientnet_lite0 --repository"):
        async with open_embedder(TritonSettings(model_repository=tmp_path)):
            pass


async def test_of_several_local_models_one_must_be_named(tmp_path: Path) -> None:
    names = [write_tiny_model(tmp_path, seed) for seed in (0, 1)]
    settings = TritonSettings(model_repository=tmp_path)
    with pytest.raises(StartupError, match="--model NAME") as caught:
        async with open_embedder(settings):
            pass
    assert all(name in str(caught.value) for name in names)


async def test_a_named_model_that_is_broken_is_an_error_that_says_why(tmp_path: Path) -> None:
    name = write_tiny_model(tmp_path)
    (tmp_path / name / "config.pbtxt").write_text(f'name: "{name}"')
    with pytest.raises(StartupError, match=r"no parameter twinset\.contract") as caught:
        async with open_embedder(TritonSettings(model_repository=tmp_path), expected_model=name):
            pass
    assert str(tmp_path / name / "config.pbtxt") in str(caught.value)


async def test_late_in_an_outage_a_call_fails_without_waiting(embedder: TritonEmbedder, triton: FakeTriton) -> None:
    await triton.stop()
    # The first one waits for a Triton that may just restart.
    with pytest.raises(EmbedderUnavailable):
        await embedder.embed(some_pictures(1), ["features"], timeout_s=60)
    assert not embedder.is_well
    for _ in range(3):
        with pytest.raises(EmbedderUnavailable):
            await asyncio.wait_for(embedder.embed(some_pictures(1), ["features"], timeout_s=60), 2)
    await triton.start()
    await wait_until(lambda: embedder.is_well)
    await embedder.embed(some_pictures(1), ["features"], timeout_s=5)
