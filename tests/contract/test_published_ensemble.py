"""An ensemble as the exporter writes it, in the real tritonserver: loaded with its parts, one pass of the backbone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from tritonclient import grpc as triton

from fakes.ensembles import CATEGORY, KIND, publish_tiny_ensemble
from fakes.models import some_pictures, tiny_contract
from twinset_exporter.heads.chain import open_runtime
from twinset_exporter.proving import prove
from twinset_exporter.repository import MODEL, PublishedModel, Repository
from twinset_server.config import TritonSettings
from twinset_server.errors import StartupError
from twinset_server.triton import open_embedder
from twinset_server.triton.embedded import EmbeddedTriton
from twinset_server.triton.embedder import TritonEmbedder
from twinset_server.triton.served_model import read_model


@pytest.fixture
def published(tmp_path: Path) -> PublishedModel:
    return publish_tiny_ensemble(Repository(tmp_path / "models"))


@pytest.fixture
async def host(published: PublishedModel) -> AsyncIterator[EmbeddedTriton]:
    host = EmbeddedTriton(read_model(published.path), published.path.parent, startup_timeout_s=60)
    try:
        await host.start()
        yield host
    finally:
        await host.stop()
        host.close()


@pytest.fixture
async def embedder(published: PublishedModel) -> AsyncIterator[TritonEmbedder]:
    async with open_embedder(TritonSettings(model_repository=published.path.parent)) as opened:
        yield opened


async def executions(client: triton.InferenceServerClient, asked: int) -> dict[str, int]:
    """Return how often each model ran, by its name without the fingerprint, once `asked` requests are counted."""
    while True:
        told = client.get_inference_statistics().model_stats
        counts = {one.name.partition("-")[0]: one.inference_stats.success.count for one in told}
        # Triton counts a request after it has answered it.
        if counts["both"] == asked:
            return counts
        await asyncio.sleep(0.01)


async def test_it_is_loaded_with_its_components_and_proved_through_triton(
    published: PublishedModel, host: EmbeddedTriton
) -> None:
    checks = list(prove(published, lambda: nullcontext(host.address), None))
    assert [check.title for check in checks if not check.passed] == []
    titles = {check.title for check in checks}
    for batch in (1, 8, 32):
        for output in ("features", "embedding", "category", "kind"):
            assert f"Triton and ONNX Runtime, batch {batch}: {output}" in titles
    client = triton.InferenceServerClient(host.address)
    ready = {model.name for model in client.get_model_repository_index().models if model.state == "READY"}
    assert ready == {published.path.name, *published.contract.components}


async def test_a_request_runs_the_backbone_once_and_only_the_heads_that_it_needs(
    published: PublishedModel, host: EmbeddedTriton
) -> None:
    client = triton.InferenceServerClient(host.address)
    pixels = triton.InferInput("pictures", [2, 32, 32, 3], "UINT8")
    pixels.set_data_from_numpy(some_pictures(2))
    before = await executions(client, 0)
    wanted: list[tuple[Sequence[str], set[str]]] = [
        (["embedding"], set()),
        (["category"], {"category"}),
        (["features"], {"features"}),
        (["kind", "embedding"], {"kind"}),
        (["embedding", "features", "category", "kind"], {"category", "features", "kind"}),
    ]
    for asked, (outputs, ran) in enumerate(wanted, 1):
        client.infer(published.path.name, [pixels], outputs=[triton.InferRequestedOutput(output) for output in outputs])
        after = await executions(client, asked)
        assert after["tiny"] - before["tiny"] == 1, outputs
        assert {name for name in ("category", "features", "kind") if after[name] > before[name]} == ran, outputs
        before = after


async def test_any_outputs_can_be_asked_for(published: PublishedModel, embedder: TritonEmbedder) -> None:
    pictures = some_pictures(40)
    expected = open_runtime(published).run(pictures)
    some = (
        ["embedding"],
        ["features"],
        ["category"],
        ["kind"],
        ["kind", "features"],
        ["embedding", "category", "kind"],
    )
    for outputs in some:
        rows = await embedder.embed(pictures, outputs, timeout_s=30)
        assert rows.keys() == set(outputs)
        for name in outputs:
            np.testing.assert_allclose(rows[name], expected[name], atol=1e-5)


async def test_many_requests_at_a_time_get_each_their_own_rows(
    published: PublishedModel, embedder: TritonEmbedder
) -> None:
    pictures = some_pictures(60)
    expected = open_runtime(published).run(pictures)["category"]
    parts = await asyncio.gather(
        *(embedder.embed(pictures[n : n + 3], ["category"], timeout_s=30) for n in range(0, 60, 3))
    )
    np.testing.assert_allclose(np.concatenate([part["category"] for part in parts]), expected, atol=1e-5)


async def test_without_a_name_the_ensemble_is_chosen_and_not_its_parts(
    published: PublishedModel, embedder: TritonEmbedder
) -> None:
    assert embedder.contract.model == published.path.name
    assert dict(embedder.outputs) == {"features": 16, "embedding": 16, "category": CATEGORY, "kind": KIND}


async def test_on_a_triton_of_others_it_is_chosen_too(published: PublishedModel, host: EmbeddedTriton) -> None:
    async with open_embedder(TritonSettings(url=host.address)) as opened:
        assert opened.contract.model == published.path.name
        assert opened.contract.outputs["kind"].classes == ("boot", "sandal")


async def test_it_serves_where_its_backbone_filled_the_space_visual(published: PublishedModel) -> None:
    settings = TritonSettings(model_repository=published.path.parent, model=published.path.name)
    async with open_embedder(settings, expected_fingerprint=tiny_contract().fingerprint) as opened:
        assert opened.contract.fingerprint != tiny_contract().fingerprint
    with pytest.raises(StartupError, match=published.contract.fingerprint):
        async with open_embedder(settings, expected_fingerprint=published.contract.fingerprint):
            pass


@pytest.mark.parametrize("component", range(4))
async def test_a_tampered_component_is_refused_before_triton_starts(published: PublishedModel, component: int) -> None:
    name = published.contract.components[component]
    (published.path.parent / name / MODEL).write_bytes(b"other")
    with pytest.raises(StartupError, match=f"{name}/1/model.onnx: SHA-256 is"):
        async with open_embedder(TritonSettings(model_repository=published.path.parent, model=published.path.name)):
            pass


async def test_a_head_is_no_model_to_serve(published: PublishedModel) -> None:
    head = published.contract.components[2]
    with pytest.raises(StartupError, match=f"holds no model '{head}'"):
        async with open_embedder(TritonSettings(model_repository=published.path.parent, model=head)):
            pass
