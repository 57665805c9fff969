from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from fakes.items import delete, put, unit, vectored, writable
from twinset.contract import Metric
from twinset_server.catalog import Folder, SqliteCatalog, open_alone
from twinset_server.catalog.store.log import ChangeLog, Position
from twinset_server.catalog.store.pruner import Pruner
from twinset_server.config import StoreSettings
from twinset_server.domain import ItemUpdate, ItemVector, Space

VISUAL = Space("visual", 3, Metric.COSINE, "a" * 64)
SHAPE = Space("shape", 2, Metric.EUCLIDEAN, "b" * 64)


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[SqliteCatalog]:
    async with open_alone(StoreSettings(path=tmp_path), {}, [VISUAL, SHAPE]) as opened:
        yield opened


@pytest.fixture
def log(catalog: SqliteCatalog, tmp_path: Path) -> ChangeLog:
    return ChangeLog(Folder(tmp_path).database)


def both(item_id: str, x: float) -> ItemVector:
    return ItemVector("shape", item_id, np.array([x, 0], np.float32))


async def test_a_log_tells_what_was_added_after_a_key_in_the_order_of_keys(
    catalog: SqliteCatalog, log: ChangeLog
) -> None:
    vectors = [ItemVector("visual", "0", unit(1, 0, 0)), ItemVector("shape", "1", np.array([1, 2], np.float32))]
    await put(catalog, [writable("a", vectors), vectored("b", unit(0, 1, 0)), vectored("c", unit(0, 0, 1))])
    with log.snapshot() as snapshot:
        assert snapshot.position == Position(3, 4)
        chunks = list(snapshot.added(0, None, 100))
        assert {chunk.space: (chunk.keys.tolist(), chunk.owners.tolist(), chunk.labels) for chunk in chunks} == {
            "visual": ([1, 3, 4], [1, 2, 3], [("a", "0"), ("b", ""), ("c", "")]),
            "shape": ([2], [1], [("a", "1")]),
        }
        [later] = snapshot.added(3, "visual", 100)
        assert (later.keys.tolist(), later.keys.dtype, later.vectors.dtype) == ([4], np.int64, np.float32)
        np.testing.assert_array_equal(later.vectors, [unit(0, 0, 1)])
        assert [chunk.keys.tolist() for chunk in snapshot.added(0, "visual", 2)] == [[1, 3], [4]]
        assert (snapshot.live("visual"), snapshot.live("shape")) == (3, 1)
        assert [snapshot.count_added(key, "visual") for key in (0, 1, 3, 4)] == [3, 2, 1, 0]
    log.close()


async def test_a_log_tells_which_keys_died_after_a_change(catalog: SqliteCatalog, log: ChangeLog) -> None:
    shape = np.array([1, 2], np.float32)
    await put(
        catalog, [vectored("a", unit(1, 0, 0)), vectored("b", shape, space="shape"), vectored("c", unit(1, 0, 0))]
    )
    [overwritten] = await put(catalog, [vectored("a", unit(0, 1, 0))])
    await catalog.write([ItemUpdate("c", changed_attributes={"price": 1})])
    await catalog.write([ItemUpdate("c", vectors=[ItemVector("visual", "", unit(0, 0, 1))])])
    await delete(catalog, "b")
    with log.snapshot() as snapshot:
        assert {space: keys.tolist() for space, keys in snapshot.dead(0).items()} == {"visual": [1, 3], "shape": [2]}
        assert {space: keys.tolist() for space, keys in snapshot.dead(overwritten.sequence).items()} == {
            "visual": [3],
            "shape": [2],
        }
        # The key of what was deleted stays given.
        assert snapshot.position.key == 5
        assert [chunk.keys.tolist() for chunk in snapshot.added(0, None, 9)] == [[4, 5]]
    log.close()


async def test_an_update_of_attributes_touches_neither_vectors_nor_pictures_nor_keys(
    catalog: SqliteCatalog, log: ChangeLog
) -> None:
    await put(catalog, [vectored("a", unit(1, 0, 0))])
    with log.snapshot() as snapshot:
        before = snapshot.position
    [receipt] = (await catalog.write([ItemUpdate("a", title="b", changed_attributes={"price": 1})])).outcomes
    with log.snapshot() as snapshot:
        assert snapshot.position == Position(receipt.sequence, before.key)
        assert list(snapshot.added(before.key, None, 9)) == []
        assert snapshot.dead(before.sequence) == {}
    log.close()


async def test_a_snapshot_sees_one_state_and_the_log_that_it_changed(catalog: SqliteCatalog, log: ChangeLog) -> None:
    assert log.changed()
    with log.snapshot():
        pass
    assert not log.changed()
    with log.snapshot() as snapshot:
        await put(catalog, [vectored("a", unit(1, 0, 0))])
        assert snapshot.position.sequence == 0
        assert list(snapshot.added(0, None, 9)) == []
    assert log.changed()
    with log.snapshot() as snapshot:
        assert snapshot.position.sequence == 1
    assert not log.changed()
    log.close()


def test_spaces_come_with_their_keys(log: ChangeLog) -> None:
    assert log.spaces() == {"shape": (2, SHAPE), "visual": (1, VISUAL)}
    log.close()


async def test_the_log_is_pruned_up_to_a_change(catalog: SqliteCatalog, log: ChangeLog, tmp_path: Path) -> None:
    await put(catalog, [vectored(name, unit(1, 0, 0)) for name in "abc"])
    first = await delete(catalog, "a")
    second = await delete(catalog, "b")
    pruner = Pruner(Folder(tmp_path))
    assert pruner.prune_log(first - 1) == 0
    assert pruner.prune_log(first) == 1
    with log.snapshot() as snapshot:
        assert {space: keys.tolist() for space, keys in snapshot.dead(0).items()} == {"visual": [2]}
    assert pruner.prune_log(second) == 1
    pruner.close()
    log.close()


async def test_deletions_of_items_are_told_until_they_are_long_ago(
    catalog: SqliteCatalog, log: ChangeLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(catalog, [vectored(item_id, unit(1, 0, 0)) for item_id in "abc"])
    await delete(catalog, "b")
    await delete(catalog, "a")
    await put(catalog, [vectored("b", unit(1, 0, 0))])
    with log.snapshot() as snapshot:
        assert (snapshot.items, snapshot.item_keys(0).tolist(), snapshot.item_keys(3).tolist()) == (2, [3, 4], [4])
        assert [snapshot.deleted_items(known).tolist() for known in (0, 3, 4, 5)] == [[1, 2], [1, 2], [1], []]
        assert [snapshot.count_item_changes(known) for known in (0, 4, 6)] == [4, 2, 0]
    pruner = Pruner(Folder(tmp_path))
    monkeypatch.setattr("twinset_server.catalog.store.pruner._KEPT_DELETED", 2)
    assert pruner.prune_deleted() == 1
    pruner.close()
    with log.snapshot() as snapshot:
        assert snapshot.deleted_items(0).tolist() == [1]
    log.close()
