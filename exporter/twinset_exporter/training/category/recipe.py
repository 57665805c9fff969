"""What every way to train a category head has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_exporter.measures.neighbours import nearest, precision
from twinset_exporter.training import loop
from twinset_exporter.training.category.examples import Examples
from twinset_exporter.training.category.head import CategoryHead

PRECISION = "precision"
ACCURACY = "accuracy"
LOSS = "loss"


class Trained(loop.Trainee, Protocol):
    """A head in training."""

    def head(self) -> CategoryHead:
        """Return the head as it is now, ready for export."""


class Named(Protocol):
    """A way to train; a frozen dataclass, whose fields are the settings."""

    @property
    def name(self) -> str:
        """What it is called, as in `--method`."""


class Recipe(Named, Protocol):
    """A way to train a head on features."""

    def settings(self, seed: int) -> loop.Settings:
        """Return how long to train, and which epoch to keep."""

    def trainee(self, training: Examples, validation: Examples, k: int, seed: int) -> Trained:
        """Return a head that hasn't learned yet.

        Args:
            training: features that it learns from.
            validation: features that it is validated on.
            k: the neighbours that count in validation.
            seed: of its first weights and of dropout.
        """


def judge(
    embeddings: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    metric: Metric,
    classes: NDArray[np.int64],
    k: int,
) -> Mapping[str, float]:
    """Return what a head is worth on examples that it hasn't seen.

    `PRECISION` at `k`, each example asking among the others; `ACCURACY` of the most probable class; `LOSS`, the mean
    surprise at the true class in nats.

    Args:
        embeddings: `[N, E]`.
        probabilities: `[N, C]`.
        metric: by which embeddings compare.
        classes: `[N]`, what is true.
        k: how many neighbours count.
    """
    found = nearest(embeddings, None, k, metric)
    right = probabilities[np.arange(len(classes)), classes]
    return {
        PRECISION: precision(found, classes, classes),
        ACCURACY: float((probabilities.argmax(axis=1) == classes).mean()),
        LOSS: float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean()),
    }


def described(recipe: Named) -> dict[str, Any]:
    """Return a recipe's name and settings, as JSON holds them."""
    return {"method": recipe.name, **asdict(recipe)}  # type: ignore[call-overload]
