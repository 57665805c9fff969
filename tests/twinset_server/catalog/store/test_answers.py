from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.items import writable
from twinset_server.catalog import Folder, SqliteCatalog, open_alone
from twinset_server.catalog.store.answers import KEPT_US, Request, recall
from twinset_server.catalog.store.pruner import Pruner
from twinset_server.catalog.store.schema import open_reader
from twinset_server.config import StoreSettings

CHANGES = [writable("a")]


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[SqliteCatalog]:
    async with open_alone(StoreSettings(path=tmp_path), {}) as opened:
        yield opened


async def test_an_answer_is_forgotten_after_24_hours(catalog: SqliteCatalog, tmp_path: Path) -> None:
    written = await catalog.write(CHANGES, request_id="r")
    request = Request.of("r", CHANGES)
    folder = Folder(tmp_path)
    connection = open_reader(folder.database)
    (made,) = connection.execute("SELECT made FROM requests").fetchone()
    assert recall(connection, request, made + KEPT_US - 1) == written.outcomes
    assert recall(connection, request, made + KEPT_US) is None
    pruner = Pruner(folder)
    assert pruner.prune_answers(made + KEPT_US - 1) == 0
    assert pruner.prune_answers(made + KEPT_US) == 1
    pruner.close()
    assert recall(connection, request, made) is None
    connection.close()


async def test_a_restart_does_not_forget(tmp_path: Path) -> None:
    async with open_alone(StoreSettings(path=tmp_path), {}) as catalog:
        first = await catalog.write(CHANGES, request_id="r")
    async with open_alone(StoreSettings(path=tmp_path), {}) as catalog:
        assert (await catalog.write(CHANGES, request_id="r")).outcomes == first.outcomes
        assert (await catalog.status()).sequence == 1
