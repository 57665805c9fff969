"""Models switched on a catalogue on disk, with models in this process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.embedder import FakeEmbedder
from fakes.items import put, unit, vectored
from fakes.pictures import BLUE, GREEN, RED, TEXT, png
from twinset.contract import Gate, ModelContract
from twinset_server.catalog import Folder, SqliteCatalog, open_alone
from twinset_server.catalog.lineage import StoredModels
from twinset_server.config import StoreSettings
from twinset_server.domain import ItemDraft, ModelState, PictureDraft, Receipt, WritableItem
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import (
    ModelNotFilled,
    ModelNotFound,
    ModelUnfit,
    NoFormerModel,
    OperationCancelled,
    VectorsLost,
)
from twinset_server.ingest import Ingest
from twinset_server.lineage.seams import Repository
from twinset_server.lineage.switching import ModelSwitches, spaces_of
from twinset_server.maintenance import Work

FIRST, SECOND = FakeEmbedder(name="first"), FakeEmbedder(24, 24, name="second")
COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}


class FakeHost:
    """Models in this process: `ModelHost`. Each call of `reached` waits for `gate`."""

    def __init__(self, *embedders: FakeEmbedder) -> None:
        self.embedders = {one.contract.model: one for one in embedders}
        self.contracts = {name: one.contract for name, one in self.embedders.items()}
        self.problems: Sequence[str] = ()
        self.unfit = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def repository(self) -> Repository:
        return Repository(self.contracts, self.problems)

    def check(self, contract: ModelContract) -> None:
        if contract.model == self.unfit:
            raise ModelUnfit(contract.model, "it lacks an output")

    @asynccontextmanager
    async def embedding(self, model: str) -> AsyncIterator[PictureEmbedder]:
        with contextlib.closing(embedding(self.embedders[model])) as pictures:
            yield pictures

    async def reached(self, model: str) -> None:
        await self.gate.wait()


def embedding(embedder: FakeEmbedder) -> PictureEmbedder:
    return PictureEmbedder(
        embedder, max_batch=4, max_in_flight=1, max_pictures=4, max_waiting_bytes=32 << 20, decode_threads=1
    )


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[SqliteCatalog]:
    async with open_alone(StoreSettings(path=tmp_path), {}, spaces_of(FIRST.contract)) as opened:
        await put_pictures(opened, COLOURS)
        yield opened


@pytest.fixture
def host() -> FakeHost:
    return FakeHost(FIRST, SECOND)


@pytest.fixture
def switches(tmp_path: Path, catalog: SqliteCatalog, host: FakeHost) -> ModelSwitches:
    return ModelSwitches(StoredModels(Folder(tmp_path)), host)


async def put_pictures(catalog: SqliteCatalog, colours: Any, embedder: FakeEmbedder = FIRST) -> None:
    with contextlib.closing(embedding(embedder)) as pictures:
        await catalog.state()  # it has seen the last switch
        ingest = Ingest(catalog, pictures)
        drafts = [ItemDraft(name, pictures=[PictureDraft("main", png(colour))]) for name, colour in colours.items()]
        written = await ingest.commit(WritableItem, list(colours), await ingest.items(drafts, timeout_s=5))
        assert all(isinstance(outcome, Receipt) for outcome in written.outcomes)


async def reembed(switches: ModelSwitches, work: Work | None = None, **more: Any) -> Any:
    given = {"drop": False, "max_per_second": 0.0, **more}
    return await switches.reembed(SECOND.contract.model, work or Work(), **given)


async def vectors(catalog: SqliteCatalog) -> tuple[str, dict[str, Any]]:
    """The fingerprint of `visual`, and what each item has there."""
    state = await catalog.state()
    names = state.items("visual", None)
    rows = state.vectors("visual", names)
    return state.spaces["visual"].fingerprint, {
        names[owner]: rows.values[place] for place, owner in enumerate(rows.owners)
    }


async def test_all_pictures_are_embedded_and_the_former_model_comes_back(
    catalog: SqliteCatalog, switches: ModelSwitches
) -> None:
    before = await vectors(catalog)
    work = Work()
    report = await reembed(switches, work)
    assert (report.items, report.pictures, report.switched.former) == (3, 3, FIRST.contract.model)
    assert (work.progress.stage, report.switched.generation.model) == ("switching", SECOND.contract.model)
    fingerprint, found = await vectors(catalog)
    assert fingerprint == SECOND.contract.fingerprint
    for name, colour in COLOURS.items():
        with contextlib.closing(embedding(SECOND)) as pictures:
            [outputs] = await pictures.embed([png(colour)], ["embedding"], timeout_s=5, urgent=True)
        np.testing.assert_allclose(found[name], outputs["embedding"], atol=1e-6)  # type: ignore[index, call-overload]
    await put_pictures(catalog, {"white": (250, 250, 250)}, SECOND)
    back = await switches.rollback(Work(), drop=False)
    assert (back.items, back.switched.generation.model) == (1, FIRST.contract.model)
    fingerprint, found = await vectors(catalog)
    assert (fingerprint, sorted(found)) == (before[0], ["blue", "green", "red", "white"])
    np.testing.assert_array_equal(found["red"], before[1]["red"])


async def test_a_cancelled_filling_serves_nobody_and_goes_on_at_the_next(
    catalog: SqliteCatalog, switches: ModelSwitches, host: FakeHost
) -> None:
    host.gate.clear()
    work = Work()
    running = asyncio.create_task(reembed(switches, work))
    while work.progress.stage != "waiting until all workers reach the model":
        await asyncio.sleep(0.01)
    await put_pictures(catalog, {f"item {n}": (n, 2 * n, 250 - n) for n in range(30)})
    work.cancel()
    host.gate.set()
    with pytest.raises(OperationCancelled, match="kept to go on with"):
        await running
    assert (await vectors(catalog))[0] == FIRST.contract.fingerprint
    [_, filling] = await switches.list()
    assert (filling.state, filling.pending, list(filling.lacking)) == (ModelState.FILLING, 33, ["visual"])
    report = await reembed(switches)
    assert len((await vectors(catalog))[1]) == 33
    # The first three were embedded by the call before, unless it hadn't come that far: few wait for the switch itself.
    assert report.items == 33


async def test_many_items_are_kept_by_a_filling_that_was_cancelled(
    catalog: SqliteCatalog, switches: ModelSwitches
) -> None:
    await put_pictures(catalog, {f"item {n}": (n, 2 * n, 250 - n) for n in range(40)})
    work = Work()
    running = asyncio.create_task(reembed(switches, work, max_per_second=20.0))
    while work.progress.done < 16:
        await asyncio.sleep(0.01)
    work.cancel()
    with pytest.raises(OperationCancelled):
        await running
    [_, filling] = await switches.list()
    assert 0 < filling.pending <= 43 - 16
    report = await reembed(switches)
    assert report.items == filling.pending
    assert len((await vectors(catalog))[1]) == 43


async def test_items_without_a_kept_picture_are_named_and_dropped_only_on_demand(
    catalog: SqliteCatalog, switches: ModelSwitches
) -> None:
    await put(catalog, [vectored("put", unit(*range(1, 65)))])
    with pytest.raises(VectorsLost, match="'put'"):
        await reembed(switches)
    assert (await vectors(catalog))[0] == FIRST.contract.fingerprint
    report = await reembed(switches, drop=True)
    assert (list(report.switched.lost.item_ids), report.switched.lost.items) == (["put"], 1)
    assert sorted((await vectors(catalog))[1]) == ["blue", "green", "red"]


async def test_a_picture_that_can_t_be_read_any_more_is_named_too(
    tmp_path: Path, catalog: SqliteCatalog, switches: ModelSwitches
) -> None:
    files = [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()]
    sizes = {path: path.read_bytes() for path in files}
    red = next(path for path, content in sizes.items() if content == png(RED))
    red.write_bytes(TEXT)
    with pytest.raises(VectorsLost, match="1 items \\('red'\\)"):
        await reembed(switches)
    red.write_bytes(png(RED))
    assert (await reembed(switches)).switched.lost.items == 0


async def test_activate_takes_only_what_has_its_vectors(
    catalog: SqliteCatalog, switches: ModelSwitches, host: FakeHost
) -> None:
    second = SECOND.contract
    with pytest.raises(ModelNotFilled, match=f"{second.fingerprint}.*{FIRST.contract.fingerprint}.*reembed"):
        await switches.activate(second.model, Work(), drop=False)
    with pytest.raises(NoFormerModel):
        await switches.rollback(Work(), drop=False)
    await reembed(switches)
    await switches.activate(FIRST.contract.fingerprint[:8], Work(), drop=False)
    await switches.activate("first", Work(), drop=False)
    assert (await vectors(catalog))[0] == FIRST.contract.fingerprint
    states = {one.name: one.state for one in await switches.list()}
    assert states == {FIRST.contract.model: ModelState.ACTIVE, second.model: ModelState.KEPT}
    with pytest.raises(ModelNotFound, match="there is no model 'none'"):
        await switches.activate("none", Work(), drop=False)
    host.unfit = second.model
    with pytest.raises(ModelUnfit, match="lacks an output"):
        await switches.activate(second.model, Work(), drop=False)


async def test_an_artifact_serves_without_embedding_where_its_gate_says_so(
    catalog: SqliteCatalog, switches: ModelSwitches, host: FakeHost
) -> None:
    contract = FIRST.contract
    passed = Gate(contract.fingerprint, 500, 0.995, 0.99, serves_reference=True, loss_accepted=False)
    lower = dataclasses.replace(contract, precision="int8", artifact="e" * 64, gate=passed)
    quick = FakeEmbedder(name="first")
    quick._contract = lower
    host.embedders[lower.model], host.contracts[lower.model] = quick, lower
    before = FIRST.embedded, quick.embedded
    report = await switches.activate(lower.model, Work(), drop=False)
    assert (report.pictures, (FIRST.embedded, quick.embedded)) == (0, before)
    assert catalog.spaces()["visual"].model != lower.model  # until it has caught up
    await catalog.state()
    assert catalog.spaces()["visual"].model == lower.model
    failed = dataclasses.replace(lower, artifact="f" * 64, gate=dataclasses.replace(passed, serves_reference=False))
    host.contracts[failed.model] = failed
    with pytest.raises(ModelUnfit, match="gate"):
        await switches.activate(failed.model, Work(), drop=False)


async def test_the_former_model_is_kept_up_with_what_changes(catalog: SqliteCatalog, switches: ModelSwitches) -> None:
    await reembed(switches)
    keeping = asyncio.create_task(switches.keep())
    await put_pictures(catalog, {"white": (250, 250, 250)}, SECOND)
    async with asyncio.timeout(10):
        while (await switches.list())[1].pending:
            await asyncio.sleep(0.05)
    keeping.cancel()
    assert (await switches.rollback(Work(), drop=False)).items == 0
    assert len((await vectors(catalog))[1]) == 4


async def test_a_switch_waits_for_a_feed_and_can_be_cancelled_meanwhile(
    catalog: SqliteCatalog, switches: ModelSwitches
) -> None:
    work = Work()
    async with catalog.feed() as feed:
        running = asyncio.create_task(reembed(switches, work))
        while work.progress.stage != "waiting for feeds to end":
            await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(OperationCancelled):
            await running
        again = asyncio.create_task(reembed(switches))
        await feed.keep(["red", "green"])
        await feed.commit()
    assert (await again).switched.generation.model == SECOND.contract.model
    assert sorted((await vectors(catalog))[1]) == ["green", "red"]
