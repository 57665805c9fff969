"""The items of a space, and samples of its vectors, over segments and delta."""

from pathlib import Path

import numpy as np
import pytest

from fakes.change_log import Database, some
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.index.follower import Follower
from twinset_server.catalog.index.population import items_of, sample_of
from twinset_server.catalog.index.views import View
from twinset_server.config import StoreSettings


@pytest.fixture
def view(database: Database, index: Path) -> View:
    """A segment of 200 items and a delta of 40, of which 20 were in it; two were deleted."""
    database.put("own", some(range(200)))
    Builder(database.path, index, StoreSettings(path=index.parent, fold_at=50, graph_at=1000)).build_now()
    database.put("own", some(range(180, 220)))
    database.delete("00007", "00219")
    follower = Follower(database.path, index)
    try:
        follower.start()
        found = follower.views.spaces["own"]
    finally:
        follower.close()
    assert found.segments
    assert found.delta.length
    return found


def test_items_are_all_that_live_each_once(view: View, database: Database) -> None:
    assert sorted(items_of(view, None)) == sorted(database.living["own"])


def test_a_sample_is_of_living_vectors_from_everywhere(view: View, database: Database) -> None:
    living = {vector.tobytes() for rows in database.living["own"].values() for _, vector in rows}
    everything = {row.tobytes() for row in sample_of(view, 1000)}
    assert everything == living
    part = {row.tobytes() for row in sample_of(view, 100)}
    assert len(part) == 100
    assert part < living
    # A tenth of the rows is in the delta: of 100 drawn, none from it would be a wonder.
    newest = {view.delta.vectors[place].tobytes() for place in range(view.delta.length)}
    assert part & newest
    np.testing.assert_array_equal(sample_of(view, 100), sample_of(view, 100))
