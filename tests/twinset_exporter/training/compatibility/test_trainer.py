from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from twinset.contract import Metric
from twinset_exporter.measures.pairs import auc
from twinset_exporter.training import loop
from twinset_exporter.training.compatibility.categories import descriptors
from twinset_exporter.training.compatibility.judging import Sample
from twinset_exporter.training.compatibility.network import Network
from twinset_exporter.training.compatibility.relation import Relation
from twinset_exporter.training.compatibility.sampling import CategoryIndex, Sampler
from twinset_exporter.training.compatibility.trainer import Recipe, Trainer

COUNT = 240
RECIPE = Recipe(dimension=8, epochs=12, batch=256, others=128, random=8.0, decay=1e-4, category_dropout=0.3)


def _planted(seed: int = 0):
    """Return features, categories and pairs that go from each item to those whose features are its own turned."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((COUNT, 6)).astype(np.float32) / np.sqrt(6).astype(np.float32)
    turn, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    near = rows @ turn.astype(np.float32) @ rows.T
    np.fill_diagonal(near, -np.inf)
    sources, targets = np.nonzero(near > np.quantile(near, 0.93))
    return rows, rng.integers(3, size=COUNT).astype(np.int32), Relation(sources, targets, COUNT)


def _trainer(recipe: Recipe = RECIPE, *, validation: bool = False, seed: int = 0) -> Trainer:
    rows, categories, relation = _planted()
    items = np.arange(COUNT)
    network = Network(6, descriptors(["sofa", "lamp"]), recipe.dimension, recipe.tied)
    sampler = Sampler(relation, items, CategoryIndex(categories, items), recipe.batch, recipe.others)
    sample = Sample(
        np.tile(relation.sources[:200], 2),
        np.concatenate((relation.targets[:200], relation.sources[200:400])),
        np.repeat((True, False), 200),
    )
    return Trainer(network, recipe, rows, categories, sampler, sample if validation else None, seed)


def _direction(trainer: Trainer) -> float:
    """Return the AUC of true pairs against the same reversed."""
    pairs = trainer.sampler.pairs
    one_way = ~pairs.holds(pairs.targets, pairs.sources)
    sources, targets = pairs.sources[one_way], pairs.targets[one_way]
    forth, back = (trainer.logits(*pair, trainer.categories) for pair in ((sources, targets), (targets, sources)))
    return auc(forth, back)


@pytest.mark.parametrize("metric", [Metric.EUCLIDEAN, Metric.INNER_PRODUCT])
@pytest.mark.parametrize(
    "losses", [{}, {"same_category": 4.0}, {"softmax": 1.0}, {"logistic": False, "random": 0.0, "softmax": 1.0}]
)
def test_every_loss_and_metric_learns_which_way_a_planted_relation_goes(metric, losses):
    trainer = _trainer(replace(RECIPE, metric=metric, **losses))

    for number in range(1, RECIPE.epochs + 1):
        trainer.epoch(number, np.random.default_rng(number))

    assert _direction(trainer) > 0.75


def test_tied_sides_know_no_direction():
    trainer = _trainer(replace(RECIPE, tied=True))

    trainer.epoch(1, np.random.default_rng(1))

    assert _direction(trainer) == pytest.approx(0.5, abs=1e-4)


def test_a_stopped_training_ends_as_one_that_never_stopped(tmp_path):
    settings = loop.Settings(3, watch="log_loss", better="lower")
    whole, stopped, resumed = (_trainer(validation=True) for _ in range(3))

    loop.fit(whole, settings, None, _silent)
    loop.fit(stopped, replace(settings, epochs=2), tmp_path, _silent)
    loop.fit(resumed, settings, tmp_path, _silent)

    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(resumed.weights[name], weight)


def test_the_loss_falls_and_validation_tells_log_loss_and_auc():
    trainer = _trainer(validation=True)
    before = trainer.validate()

    losses = [trainer.epoch(number, np.random.default_rng(number))["loss"] for number in range(1, 5)]

    after = trainer.validate()
    assert losses[-1] < losses[0]
    assert after["auc"] > before["auc"]
    assert after["log_loss"] < before["log_loss"]


def test_without_validation_the_last_epoch_is_kept():
    history = loop.fit(_trainer(), loop.Settings(3, watch="epoch"), None, _silent)

    assert history.best == 3


def _silent(epoch: loop.Epoch, best: int) -> None:
    pass
