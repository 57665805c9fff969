"""The taste models in Keras: the published triplets, and the interaction model."""

from __future__ import annotations

import numpy as np
import pytest

from fakes.taste import held_out
from twinset_exporter.training.taste import interaction, triplet, two_tower, validation

SMALL = two_tower.Settings(dimension=9, epochs=30)


@pytest.mark.parametrize(
    "score",
    ["cosine", pytest.param("mlp", marks=pytest.mark.slow), pytest.param("mlp_repaired", marks=pytest.mark.slow)],
)
def test_triplets_find_a_planted_taste(score: triplet.Score) -> None:
    data = held_out()
    model = triplet.train(data.train, triplet.Settings(score), epochs=30)
    assert data.rank_by(model.scores).mean_auc() > 0.8


def test_the_published_network_ties_what_is_disliked_and_the_repaired_one_does_not() -> None:
    data = held_out()
    shares = {}
    for score in ("mlp", "mlp_repaired"):
        found = triplet.train(data.train, triplet.Settings(score), epochs=10).scores(np.arange(80))
        shares[score] = float((found == 0).mean())
    assert shares["mlp"] > 0.2
    assert shares["mlp_repaired"] == 0


def test_the_cosine_model_scores_by_cosine() -> None:
    found = triplet.Triplet(held_out().train, triplet.Settings("cosine")).scores(np.arange(3))
    assert found.shape == (3, 60)
    assert np.abs(found).max() <= 1 + 1e-6


def test_a_stopped_training_of_triplets_goes_on_as_if_it_were_not() -> None:
    data = held_out()
    settings = triplet.Settings("cosine")
    whole = triplet.train(data.train, settings, epochs=2)
    first = triplet.train(data.train, settings, epochs=1)
    second = triplet.Triplet(data.train, triplet.Settings("cosine", seed=5))
    second.restore(first.state())
    second.epoch(2, np.random.default_rng((0, 2)))
    for name, values in whole.state().items():
        np.testing.assert_allclose(second.state()[name], values, atol=1e-6, err_msg=name)


def test_the_interaction_model_begins_with_the_order_of_the_search() -> None:
    data = held_out()
    towers = two_tower.train(data.train, SMALL)
    items, users = validation.factors(towers, data.train, SMALL)
    fold_in = two_tower.fold_in(towers, SMALL)
    model = interaction.Interaction(data.train, items, fold_in)
    np.testing.assert_allclose(model.scores(users[:5]), users[:5] @ items.T, atol=1e-4)
    before = model.state()
    assert model.epoch(1, np.random.default_rng(0))["loss"] > 0
    assert any((values != before[name]).any() for name, values in model.state().items())
    assert data.rank_by(lambda block: model.scores(users[block])).mean_auc() > 0.95
