"""What the exporter publishes, in the real tritonserver: its config as it stands, its warm-up, and its proof."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import onnx
import pytest

from fakes.models import DIMENSION, tiny_contract, tiny_onnx
from twinset_exporter import triton_config
from twinset_exporter.card import with_card
from twinset_exporter.proving import Check, prove
from twinset_exporter.repository import CONFIG, MODEL, PublishedModel, Repository
from twinset_exporter.targets import Target
from twinset_server.triton.embedded import EmbeddedTriton
from twinset_server.triton.installation import find_installation
from twinset_server.triton.served_model import read_model

RECORD = """

_answer = Model.answer

def answer(self, requests):
    with open({file!r}, "a") as file:
        file.write(f"{{sum(len(read_tensor(request, 'pictures')) for request in requests)}}\\n")
    return _answer(self, requests)

Model.answer = answer
"""


@pytest.fixture
def published(tmp_path: Path) -> PublishedModel:
    """The tiny model, with the config and card that the exporter writes."""
    repository = Repository(tmp_path / "models")
    repository.make()
    contract = tiny_contract()
    config = triton_config.render(contract, {"features": DIMENSION, "embedding": DIMENSION}, {})
    repository.publish(contract, with_card(contract, {CONFIG: config.encode(), MODEL: tiny_onnx()}))
    model = repository.model(contract.model)
    assert isinstance(model, PublishedModel)
    return model


@asynccontextmanager
async def serving(model: PublishedModel, backend: Path | None = None) -> AsyncIterator[EmbeddedTriton]:
    installation = find_installation()
    if backend is not None:
        installation = dataclasses.replace(installation, backend=backend)
    host = EmbeddedTriton(read_model(model.path), model.path.parent, startup_timeout_s=60, installation=installation)
    try:
        await host.start()
        yield host
    finally:
        await host.stop()
        host.close()


async def test_it_is_loaded_as_it_is_and_proved_through_triton(published: PublishedModel) -> None:
    async with serving(published) as host:
        checks = list(prove(published, lambda: nullcontext(host.address), None))
    assert [check.title for check in checks if not check.passed] == []
    for batch in (1, 8, 32):
        for output in ("features", "embedding"):
            told = _told(checks, f"Triton and ONNX Runtime, batch {batch}: {output}")
            assert re.search(r"smallest cosine 1\.0000000|smallest cosine 0\.99999", told)


async def test_triton_warms_up_every_preferred_batch_size(published: PublishedModel, tmp_path: Path) -> None:
    record = tmp_path / "batches"
    backend = tmp_path / "model.py"
    backend.write_text(find_installation().backend.read_text() + RECORD.format(file=str(record)))
    async with serving(published, backend):
        assert [int(line) for line in record.read_text().split()] == [1, 8, 16]


async def test_a_triton_that_serves_other_weights_is_found_out(published: PublishedModel, tmp_path: Path) -> None:
    other = Repository(tmp_path / "other")
    other.make()
    content = tiny_onnx(seed=1)
    config = (published.path / CONFIG).read_bytes()
    # Published under the same contract, as somebody would who also writes a new card.
    other.publish(published.contract, with_card(published.contract, {CONFIG: config, MODEL: content}))
    there = other.model(published.path.name)
    assert isinstance(there, PublishedModel)
    async with serving(there) as host:
        checks = list(prove(published, lambda: nullcontext(host.address), None))
    failed = {check.title for check in checks if not check.passed}
    assert "Triton: known answer" in failed
    assert "Triton and ONNX Runtime, batch 8: embedding" in failed


def test_a_frozen_batch_axis_is_found_out(published: PublishedModel, tmp_path: Path) -> None:
    frozen = onnx.load_from_string(tiny_onnx())
    for tensor in (*frozen.graph.input, *frozen.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    other = Repository(tmp_path / "other")
    other.make()
    files = {CONFIG: (published.path / CONFIG).read_bytes(), MODEL: frozen.SerializeToString()}
    other.publish(published.contract, with_card(published.contract, files))
    there = other.model(published.path.name)
    assert isinstance(there, PublishedModel)
    assert [check.passed for check in prove(there, None, None)] == [True, False]


def test_a_model_for_a_gpu_is_read_by_the_server_as_one_for_a_cpu(published: PublishedModel, tmp_path: Path) -> None:
    contract = published.contract
    folder = tmp_path / contract.model
    folder.mkdir()
    dimensions = {"features": DIMENSION, "embedding": DIMENSION}
    (folder / CONFIG).write_text(triton_config.render(contract, dimensions, {}, Target.GPU))
    model = read_model(folder)
    assert (model.contract.fingerprint, model.outputs) == (contract.fingerprint, dimensions)


def _told(checks: list[Check], title: str) -> str:
    return next(check.told for check in checks if check.title == title)
