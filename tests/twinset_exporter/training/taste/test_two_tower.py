from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes.taste import held_out
from twinset_exporter.training import loop
from twinset_exporter.training.taste import two_tower, validation, yardsticks
from twinset_exporter.training.taste.two_tower import TwoTower

SMALL = two_tower.Settings(dimension=9, epochs=30, batch_users=32)


def test_planted_taste_is_found() -> None:
    data = held_out()
    items, users = validation.factors(two_tower.train(data.train, SMALL), data.train, SMALL)
    assert data.rank(items, users).mean_auc() > 0.99
    assert data.rank_by(yardsticks.popularity(data.train).__getitem__).mean_auc() < 0.6


def test_sampled_items_stand_for_all_others() -> None:
    data = held_out()
    sampled = replace(SMALL, full_softmax=25, batch_users=4)
    items, users = validation.factors(two_tower.train(data.train, sampled), data.train, sampled)
    assert data.rank(items, users).mean_auc() > 0.95


def test_factors_are_a_bias_and_a_unit_vector() -> None:
    data = held_out()
    towers = two_tower.train(data.train, replace(SMALL, epochs=1))
    items, users = validation.factors(towers, data.train, SMALL)
    np.testing.assert_allclose(np.linalg.norm(items[:, :-1], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(users[:, :-1], axis=1), 1 / SMALL.temperature, rtol=1e-5)
    np.testing.assert_array_equal(items[:, -1], towers.bias)
    np.testing.assert_array_equal(users[:, -1], 1)


@pytest.mark.parametrize("with_pictures", [False, True])
def test_gradients_are_those_of_finite_differences(with_pictures: bool) -> None:
    data = held_out(low_from=40)
    pictures = np.random.default_rng(1).normal(size=(60, 5)).astype(np.float32) if with_pictures else None
    settings = replace(SMALL, dimension=4, own_vectors=1.0)
    model = TwoTower(data.train, settings, pictures)
    rng = np.random.default_rng(2)
    step = two_tower._Step.drawn(data.train, np.arange(20), settings, rng)
    weights = model._weights
    for values in weights.values():
        values += rng.normal(0, 0.3, values.shape).astype(np.float32)
    seen: dict[str, NDArray[np.float32]] = {}

    class Recorder:
        def step(self, gradients: Mapping[str, NDArray[np.float32]], rate: float, rows: object) -> None:
            seen.update(gradients)

    model._adam = Recorder()  # type: ignore[assignment]
    model._train(step, 0.0, rng)
    share = float(step.target.sum()) / 20
    gradients = dict(seen)
    for name, values in weights.items():
        flat, place = values.reshape(-1), int(np.argmax(np.abs(gradients[name])))
        before, losses = flat[place], []
        for change in (1e-2, -1e-2):
            flat[place] = before + np.float32(change)
            losses.append(model._train(step, 0.0, rng))
        flat[place] = before
        slope = (losses[0] - losses[1]) / 2e-2 / share
        assert gradients[name].reshape(-1)[place] == pytest.approx(slope, rel=2e-2), name


def test_what_is_shown_as_a_like_is_never_what_to_foretell() -> None:
    data = held_out(low_from=40)
    step = two_tower._Step.drawn(data.train, np.arange(80), SMALL, np.random.default_rng(0))
    assert (step.likes > 0).any()
    assert (step.others > 0).any()
    assert not (step.target[step.impossible] > 0).any()
    assert set(np.unique(step.target)) == {0.0, np.float32(SMALL.known_weight), 1.0}


def test_a_stopped_training_ends_as_one_that_was_not() -> None:
    data = held_out()
    settings = replace(SMALL, epochs=4)
    whole = TwoTower(data.train, settings)
    for number in range(1, 5):
        whole.epoch(number, np.random.default_rng((0, number)))
    first = TwoTower(data.train, settings)
    for number in (1, 2):
        first.epoch(number, np.random.default_rng((0, number)))
    second = TwoTower(data.train, replace(settings, seed=9))
    second.restore({name: np.array(values) for name, values in first.state().items()})
    for number in (3, 4):
        second.epoch(number, np.random.default_rng((0, number)))
    for name, values in whole.state().items():
        np.testing.assert_array_equal(second.state()[name], values, err_msg=name)


def test_an_item_nobody_acted_on_is_placed_by_its_picture() -> None:
    data = held_out()
    looks = np.eye(4, dtype=np.float32)[np.arange(60) % 4] + np.random.default_rng(0).normal(0, 0.1, (60, 4))
    looks = looks.astype(np.float32)
    cold = np.arange(60) >= 48
    seen = data.train.only(~cold[data.train.items])
    towers = two_tower.train(seen, SMALL, looks)
    assert towers.item_map is not None
    place = looks @ towers.item_map
    place /= np.linalg.norm(place, axis=1, keepdims=True)
    _, users = validation.factors(towers, seen, SMALL)
    scores = users[:, :-1] @ place[cold].T
    own = (np.arange(80) % 4)[:, np.newaxis] == (np.arange(60) % 4)[cold]
    assert scores[own].min() > scores[~own].max()


def test_the_best_number_of_epochs_is_trained_on_everything() -> None:
    data = held_out()
    settings = replace(SMALL, epochs=6)
    towers, history = validation.fit_held_out(data, settings, None, None, 2, lambda epoch, best: None)
    assert set(history.epochs[0].validation) == {"auc", "recall@10", "ndcg@10"}
    items, users = validation.factors(towers, data.train, settings)
    best = history.best_epoch.validation["auc"]
    assert data.rank(items, users, most=validation.WATCHED_USERS).mean_auc() == pytest.approx(best)
    whole = validation.fit_whole(data.train, settings, 3, None, None, lambda epoch, best: None)
    again = TwoTower(data.train, settings)
    for number in (1, 2, 3):
        again.epoch(number, np.random.default_rng((settings.seed, number)))
    np.testing.assert_array_equal(whole.items, again.towers().items)


def test_validation_watches_the_ranking() -> None:
    assert validation.loop_settings(SMALL, 3) == loop.Settings(30, "auc", "higher", 3, 0)


def test_an_item_nobody_acted_on_is_the_same_in_training_and_left_out_of_it() -> None:
    data = held_out()
    looks = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    seen = data.train.only(data.train.items < 50)
    towers = two_tower.train(seen, replace(SMALL, epochs=3), looks)
    assert towers.item_map is not None
    np.testing.assert_allclose(towers.items[50:], looks[50:] @ towers.item_map, rtol=1e-5)
    np.testing.assert_array_equal(towers.bias[50:], np.median(towers.bias[:50]).astype(np.float32))
