from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from twinset_exporter.datasets.groups import Groups
from twinset_exporter.training.compatibility import crossfit
from twinset_exporter.training.compatibility.examples import Items, Rooms
from twinset_exporter.training.compatibility.trainer import Recipe

COUNT, STYLES = 80, 4
RECIPE = Recipe(dimension=6, epochs=8, landmarks=40, components=20, others=80, across=True)


@pytest.fixture(scope="module")
def rooms() -> Rooms:
    """Return rooms of one style each, whose items' features tell it with noise."""
    rng = np.random.default_rng(0)
    style = np.arange(COUNT) % STYLES
    features = rng.standard_normal((COUNT, 8)).astype(np.float32)
    features[np.arange(COUNT), style] += 4
    ids = tuple(f"item {number}" for number in range(COUNT))
    items = Items(ids, features, rng.integers(3, size=COUNT).astype(np.int32), ("lamp", "sofa"), np.arange(COUNT))
    members = [rng.choice(np.flatnonzero(style == room % STYLES), 6, replace=False) for room in range(24)]
    groups = np.repeat(np.arange(24, dtype=np.int32), 6)
    return Rooms(
        Groups(groups, np.concatenate(members).astype(np.int32), tuple(f"room {n}" for n in range(24)), ids), items
    )


def _parts(rooms: Rooms) -> list:
    every = np.arange(24)
    return [rooms.part(every[every % 8 >= 4], every[every % 8 < 4], seed=0), rooms.part(every[:12], every[12:], seed=0)]


def test_folds_calibrate_and_the_whole_trains_for_their_mean_epochs(rooms):
    names = []

    @contextmanager
    def watch(name, settings):
        names.append((name, settings.epochs))
        yield lambda epoch, best: None

    every = np.arange(24)
    whole = rooms.part(every, every[:0], seed=0)

    trained = crossfit.train(rooms.items, _parts(rooms), whole, RECIPE, seed=0, watch=watch)

    best = [history.best for history in trained.histories]
    assert names == [("fold-1", 8), ("fold-2", 8), ("whole", round((best[0] + best[1]) / 2))]
    assert best[2] == names[2][1]
    assert trained.known.auc > 0.8
    assert trained.alone.auc > 0.8
    assert trained.known.log_loss_gain > 0.1
    assert 0 <= trained.known.bins.error < 0.15


def test_the_network_of_the_only_part_serves_where_there_is_no_whole(rooms):
    (part, _) = _parts(rooms)

    trained = crossfit.train(rooms.items, [part], None, RECIPE, seed=0, watch=crossfit.unwatched)

    assert len(trained.histories) == 1
    source, target = trained.sides.vectors(rooms.items.features, rooms.items.categories)
    sample = part.validation
    served = trained.sides.log_odds(source[sample.sources], target[sample.targets])
    # Calibrated half by half there, by both halves here: nearly the same.
    np.testing.assert_allclose(np.sort(served), np.sort(trained.known.log_odds), rtol=0.25, atol=0.5)


def test_two_runs_of_one_seed_are_one(rooms):
    (part, _) = _parts(rooms)

    first, second = (
        crossfit.train(rooms.items, [part], None, RECIPE, seed=3, watch=crossfit.unwatched) for _ in range(2)
    )

    np.testing.assert_array_equal(first.sides.source.known, second.sides.source.known)
    assert first.sides.calibration == second.sides.calibration
