"""Trains a head by each of several recipes and takes the one that validates best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from twinset_exporter.training import loop
from twinset_exporter.training.category import recipe
from twinset_exporter.training.category.examples import Examples
from twinset_exporter.training.category.head import CategoryHead
from twinset_exporter.training.category.metric_learning import MetricLearning
from twinset_exporter.training.category.published import Published
from twinset_exporter.training.category.recipe import Named, Recipe

RECIPES: tuple[Recipe, ...] = (
    Published(),
    MetricLearning("contrastive"),
    MetricLearning("arcface"),
    MetricLearning("proxy_anchor", scale=32.0),
)

Bars = Callable[[str, loop.Settings], AbstractContextManager[loop.Progress]]
"""Opens the bar of one training, by its title."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A head that was trained.

    Attributes:
        figures: on validation data, see `recipe.judge`.
    """

    recipe: Named
    head: CategoryHead
    history: loop.History
    figures: Mapping[str, float]


def train(
    chosen: Recipe, training: Examples, validation: Examples, k: int, seed: int, folder: Path | None, bars: Bars
) -> Candidate:
    """Return the head that `chosen` trains; see `loop.fit` for `folder` and the errors."""
    if folder is not None:
        folder.mkdir(exist_ok=True)
    trainee, settings = chosen.trainee(training, validation, k, seed), chosen.settings(seed)
    with bars(chosen.name, settings) as progress:
        history = loop.fit(trainee, settings, folder, progress)
    return Candidate(chosen, trainee.head(), history, trainee.validate())


def best(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the highest precision on validation data; of equals the first."""
    return max(candidates, key=lambda candidate: candidate.figures[recipe.PRECISION])
