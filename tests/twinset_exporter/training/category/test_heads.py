"""Each recipe on generated features: it learns, resumes, and exports what it measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from twinset.contract import Metric
from twinset_exporter.training import loop
from twinset_exporter.training.category.examples import Examples
from twinset_exporter.training.category.head import CLASS, EMBEDDING
from twinset_exporter.training.category.metric_learning import MetricLearning, fitted_scale
from twinset_exporter.training.category.published import Published
from twinset_exporter.training.category.recipe import ACCURACY, LOSS, PRECISION, Recipe, Trained, judge

SMALL = {"epochs": 4, "batch": 16, "hidden": 32, "dropout": 0.1}
RECIPES: list[Recipe] = [
    Published(middle=8, learning_rate=3e-3, **SMALL),
    MetricLearning("contrastive", dimension=6, learning_rate=1e-2, **SMALL),
    MetricLearning("arcface", dimension=6, learning_rate=1e-2, **SMALL),
    MetricLearning("proxy_anchor", dimension=6, learning_rate=1e-2, scale=32.0, **SMALL),
]
each = pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(
            recipe, id=recipe.name, marks=[pytest.mark.slow] if recipe.name not in ("published", "contrastive") else []
        )
        for recipe in RECIPES
    ],
)


def examples(count: int, seed: int) -> Examples:
    """Three classes along two of ten components, whose own scales hide them from plain cosines."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, count)
    rows = random.normal(0, 1, (count, 10))
    rows[:, :2] += 6 * np.array([[1, 0], [0, 1], [-1, -1]])[classes]
    rows *= np.array([1, 1, 9, 9, 9, 9, 9, 9, 9, 0])
    return Examples((rows + 20).astype(np.float32), classes, ("boot", "clog", "shoe"))


TRAINING, VALIDATION = examples(240, 0), examples(45, 1)


def trainee(recipe: Recipe, seed: int = 0) -> Trained:
    return recipe.trainee(TRAINING, VALIDATION, 5, seed)


def fit(recipe: Recipe, folder: Path | None = None, seed: int = 0) -> tuple[Trained, loop.History]:
    learning = trainee(recipe, seed)
    return learning, loop.fit(learning, recipe.settings(seed), folder, lambda epoch, best: None)


@each
def test_a_head_learns_what_plain_features_hide(recipe: Recipe) -> None:
    learned, _ = fit(recipe)
    # By chance a third of the neighbours are classmates.
    assert learned.validate()[PRECISION] > 0.75
    assert learned.validate()[ACCURACY] > 0.75


@each
def test_the_exported_head_gives_what_was_measured(recipe: Recipe, tmp_path: Path) -> None:
    import keras

    learned, _ = fit(recipe)
    head = learned.head()
    head.save(tmp_path / "head.keras")
    loaded = dataclasses.replace(head, model=keras.saving.load_model(tmp_path / "head.keras", safe_mode=True))
    rows = loaded.run(VALIDATION.inputs)
    told = judge(rows[EMBEDDING], rows[CLASS], head.metric, VALIDATION.classes, 5)
    assert told == pytest.approx(learned.validate(), abs=1e-4)
    np.testing.assert_allclose(rows[CLASS].sum(axis=1), 1, atol=1e-5)


@each
def test_a_stopped_training_ends_as_an_unbroken_one(recipe: Recipe, tmp_path: Path) -> None:
    unbroken, whole = fit(recipe)
    stopped = trainee(recipe)

    def stop_after_two(epoch: loop.Epoch, best: int) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.fit(stopped, recipe.settings(0), tmp_path, stop_after_two)
    resumed, history = fit(recipe, tmp_path)
    assert [epoch.validation for epoch in history.epochs] == [epoch.validation for epoch in whole.epochs]
    for name, values in unbroken.state().items():
        np.testing.assert_array_equal(resumed.state()[name], values, err_msg=name)


def test_the_published_embedding_is_standardised_over_what_was_learned() -> None:
    learned, history = fit(RECIPES[0])
    rows = learned.head().run(TRAINING.inputs)[EMBEDDING]
    alive = rows.std(axis=0) > 0
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(rows.std(axis=0)[alive], 1, atol=1e-3)
    assert alive.any()
    assert learned.head().metric is Metric.EUCLIDEAN
    assert history.best == 4, "as published no epoch is preferred"


def test_embeddings_of_metric_learning_have_unit_length() -> None:
    head = trainee(RECIPES[1]).head()
    np.testing.assert_allclose(np.linalg.norm(head.run(VALIDATION.inputs)[EMBEDDING], axis=1), 1, atol=1e-5)
    assert head.metric is Metric.COSINE


def test_another_seed_gives_another_head() -> None:
    first, other = (trainee(RECIPES[1], seed).state() for seed in (0, 1))
    assert not all(np.array_equal(first[name], other[name]) for name in first)


def test_the_fitted_scale_is_the_best_of_all() -> None:
    random = np.random.default_rng(0)
    cosines = random.uniform(-1, 1, (4000, 3)).astype(np.float32)
    chances = np.exp(7 * cosines) / np.exp(7 * cosines).sum(axis=1, keepdims=True)
    classes = np.array([random.choice(3, p=row / row.sum()) for row in chances.astype(np.float64)])
    assert fitted_scale(cosines, classes) == pytest.approx(7, abs=0.5)


def test_a_sure_and_wrong_head_has_a_high_but_finite_loss() -> None:
    classes = np.array([0, 1, 0, 1])
    told = judge(np.eye(4, dtype=np.float32), np.eye(2, dtype=np.float32)[1 - classes], Metric.COSINE, classes, 1)
    assert 80 < told[LOSS] < 100
    assert told[ACCURACY] == 0


def test_balanced_weights_give_each_class_the_same_say() -> None:
    weights = Examples(np.zeros((6, 1)), np.array([0, 0, 0, 0, 1, 1]), ("a", "b", "never")).weights()
    assert weights.tolist() == [0.75, 1.5, 0.0]
