"""Which models that rank a Triton of our own has loaded, as factors are imported and models published."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.interactions import interaction_contract
from fakes.triton import FakeTriton
from twinset.interaction_contract import InteractionContract
from twinset_exporter.interaction import triton_config
from twinset_exporter.targets import Target
from twinset_server.config import TritonSettings
from twinset_server.errors import StartupError
from twinset_server.triton import TritonEmbedder, open_embedder
from twinset_server.triton.ranking_models import RankingModels
from twinset_server.triton.served_model import Servable
from twinset_server.triton.supervisor import State

CONTRACTS = [interaction_contract(letter * 64) for letter in "abc"]
NAMES = [contract.model for contract in CONTRACTS]


class Links:
    """Remembers what it was to show; `broken` are names of what it refuses."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.broken: set[str] = set()

    def link(self, model: Servable) -> None:
        if model.name in self.broken:
            raise StartupError(f"{model.name} is not what was published")
        self.names.append(model.name)


class Kept:
    """The fingerprints of kept factors."""

    def __init__(self) -> None:
        self.factors: set[str] = set()

    async def __call__(self) -> set[str]:
        return self.factors


@pytest.fixture
async def triton() -> AsyncIterator[FakeTriton]:
    async with FakeTriton() as triton:
        triton.loadable = dict(zip(NAMES, CONTRACTS, strict=True))
        yield triton


@pytest.fixture
def links() -> Links:
    return Links()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
async def embedder(triton: FakeTriton) -> AsyncIterator[TritonEmbedder]:
    async with open_embedder(TritonSettings(url=triton.address)) as embedder:
        yield embedder


@pytest.fixture
def models(embedder: TritonEmbedder, links: Links, kept: Kept, tmp_path: Path) -> RankingModels:
    return RankingModels(embedder.supervisor, links, TritonSettings(model_repository=tmp_path), kept, prove_s=0.0)


def publish(repository: Path, contract: InteractionContract, time_s: int) -> None:
    folder = repository / contract.model
    folder.mkdir()
    (folder / "config.pbtxt").write_text(triton_config.render(contract, Target.CPU))
    os.utime(folder / "config.pbtxt", (time_s, time_s))


async def test_models_of_kept_factors_and_the_last_published_are_loaded_and_others_forgotten(
    models: RankingModels, triton: FakeTriton, links: Links, kept: Kept, tmp_path: Path
) -> None:
    await models.look()
    assert triton.interactions == {}
    for number, contract in enumerate(CONTRACTS):
        publish(tmp_path, contract, 1000 + number)
    kept.factors = {CONTRACTS[0].factors}
    await models.look()
    assert set(triton.interactions) == {NAMES[0], NAMES[2]} == set(links.names)
    kept.factors = {CONTRACTS[1].factors, CONTRACTS[2].factors}
    await models.look()
    assert set(triton.interactions) == {NAMES[1], NAMES[2]}


async def test_a_triton_that_came_back_loads_them_again(
    models: RankingModels, embedder: TritonEmbedder, triton: FakeTriton, tmp_path: Path
) -> None:
    publish(tmp_path, CONTRACTS[0], 1000)
    await models.look()
    await triton.stop()
    triton.interactions = {}
    async with asyncio.timeout(10):
        while embedder.state is State.READY:
            await asyncio.sleep(0.01)
        await models.look()  # in vain, and without harm
        await triton.start()
        while not triton.interactions:
            await models.look()
            await asyncio.sleep(0.01)
    assert set(triton.interactions) == {NAMES[0]}


async def test_a_broken_model_keeps_nothing_else_from_being_loaded(
    models: RankingModels,
    triton: FakeTriton,
    links: Links,
    kept: Kept,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number, contract in enumerate(CONTRACTS):
        publish(tmp_path, contract, 1000 + number)
    kept.factors = {contract.factors for contract in CONTRACTS}
    links.broken, triton.loadable = {NAMES[0]}, {NAMES[2]: CONTRACTS[2]}
    await models.look()
    assert set(triton.interactions) == {NAMES[2]}
    assert f"{NAMES[0]} is not what was published" in caplog.text
    assert f"failed to load {NAMES[1]}" in caplog.text


async def test_a_model_that_lost_its_answer_is_loaded_anew(
    models: RankingModels, triton: FakeTriton, tmp_path: Path
) -> None:
    publish(tmp_path, CONTRACTS[0], 1000)
    await models.look()
    triton.spoil_scores = 1.0
    await models.look()
    assert triton.interactions == {}
    triton.spoil_scores = 0.0
    await models.look()
    assert set(triton.interactions) == {NAMES[0]}
