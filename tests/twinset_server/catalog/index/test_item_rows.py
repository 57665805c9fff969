from pathlib import Path

import numpy as np
import pytest

from fakes.change_log import DIMENSION, Database, some, unit_vectors
from twinset_server.catalog.index import item_finder
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.index.follower import Follower
from twinset_server.catalog.index.item_rows import keys_of, rows_of
from twinset_server.catalog.index.views import View
from twinset_server.config import StoreSettings


def view_of(database: Database, index: Path) -> View:
    follower = Follower(database.path, index)
    try:
        follower.start()
        return follower.views.spaces["own"]
    finally:
        follower.close()


def fold(database: Database, index: Path) -> None:
    Builder(database.path, index, StoreSettings(path=index.parent, fold_at=50, graph_at=50)).build_now()


@pytest.fixture
def view(database: Database, index: Path) -> View:
    """Two segments and a delta; items in each of them, overwritten ones and deleted ones."""
    database.put("own", some(range(2000)))
    fold(database, index)
    several = unit_vectors(np.random.default_rng(5), 180, DIMENSION).reshape(60, 3, DIMENSION)
    database.put("own", {f"{n + 1980:05d}": [(str(p), v) for p, v in enumerate(several[n])] for n in range(60)})
    fold(database, index)
    database.put("own", {f"{n + 2030:05d}": [("b", several[n, 0]), ("a", several[n, 1])] for n in range(20)})
    database.delete("00007", "01990", "02033")
    found = view_of(database, index)
    assert len(found.segments) == 2
    assert found.delta.length
    return found


def test_rows_are_those_that_live_by_item_in_the_order_in_which_they_were_written(
    view: View, database: Database
) -> None:
    wanted = [f"{n:05d}" for n in np.random.default_rng(0).permutation(2070)]
    rows = rows_of(view, wanted)
    living = database.living["own"]
    expected = [(place, *one) for place, item_id in enumerate(wanted) for one in living.get(item_id, ())]
    assert rows.owners.tolist() == [place for place, _, _ in expected]
    assert list(rows.picture_ids) == [picture for _, picture, _ in expected]
    np.testing.assert_array_equal(rows.values, [vector for _, _, vector in expected])


@pytest.mark.parametrize("item_id", ["00003", "01985", "02031", "00007", "02033", "nothing"])
def test_rows_of_one_item_come_from_the_part_that_it_is_in(view: View, database: Database, item_id: str) -> None:
    rows = rows_of(view, [item_id])
    expected = database.living["own"].get(item_id, [])
    assert rows.picture_ids[:] == [picture for picture, _ in expected]
    np.testing.assert_array_equal(rows.values, np.array([v for _, v in expected], np.float32).reshape(-1, DIMENSION))


def test_texts_of_one_hash_are_told_apart(database: Database, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_finder, "_hashes", lambda texts: np.array([len(text) for text in texts], np.int64))
    database.put("own", some(range(60)))
    fold(database, index)
    rows = rows_of(view_of(database, index), ["00042", "00017", "9"])
    assert rows.owners.tolist() == [0, 1]
    np.testing.assert_array_equal(rows.values, [database.living["own"][item][0][1] for item in ("00042", "00017")])


def test_keys_are_those_of_items_with_a_living_row(view: View) -> None:
    keys = keys_of(view, ["00000", "00007", "00001", "02039"])
    assert keys[1] == 0
    assert 0 < keys[0] < keys[2] < keys[3]
