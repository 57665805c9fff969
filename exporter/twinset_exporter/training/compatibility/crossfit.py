"""Trains a head whose probabilities are calibrated on pairs that their network never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.measures import pairs as measure
from twinset_exporter.measures.calibration import Reliability, reliability
from twinset_exporter.training import loop
from twinset_exporter.training.compatibility import calibration, encoding, objective, sides
from twinset_exporter.training.compatibility.calibration import Platt
from twinset_exporter.training.compatibility.categories import UNKNOWN, descriptors
from twinset_exporter.training.compatibility.examples import Examples, Items
from twinset_exporter.training.compatibility.network import Network
from twinset_exporter.training.compatibility.sampling import CategoryIndex, Sampler
from twinset_exporter.training.compatibility.sides import Sides
from twinset_exporter.training.compatibility.trainer import Recipe, Trainer

Watch = Callable[[str, loop.Settings], AbstractContextManager[loop.Progress]]
"""Opens what tells of one network's epochs, by its name."""


@contextmanager
def unwatched(name: str, settings: loop.Settings) -> Iterator[loop.Progress]:
    """Tell nobody."""
    yield lambda epoch, best: None


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """How networks judged pairs that they weren't trained on, and that didn't calibrate them either.

    Attributes:
        truths: `[N]` bool.
        log_odds: `[N]`, calibrated, for half of the pairs being true.
    """

    truths: NDArray[np.bool_]
    log_odds: NDArray[np.float64]

    @property
    def auc(self) -> float:
        """The area under the ROC curve."""
        return measure.auc(self.log_odds[self.truths], self.log_odds[~self.truths])

    @property
    def log_loss_gain(self) -> float:
        """How far the log loss is under that of the best constant, in nats."""
        return measure.constant_log_loss(self.truths) - measure.log_loss(self.truths, self.log_odds)

    @property
    def bins(self) -> Reliability:
        """The probabilities in bins of equal mass."""
        return reliability(self.truths, objective.probabilities(self.log_odds))


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A head, and how it was found.

    Attributes:
        sides: what serves.
        known: validation with the categories given.
        alone: validation without any.
        histories: of the networks, the last being the one that serves.
    """

    sides: Sides
    known: Validation
    alone: Validation
    histories: tuple[loop.History, ...]


def train(
    items: Items,
    parts: Sequence[Examples],
    whole: Examples | None,
    recipe: Recipe,
    *,
    seed: int,
    watch: Watch,
    folder: Path | None = None,
) -> Trained:
    """Train one network on each part, calibrate by what they say of the pairs held back, and train one on the whole.

    The networks of the parts also tell how many epochs are best: the last one trains for their mean.

    Args:
        items: all of them.
        parts: with validation each.
        whole: without; None where the network of the only part is to serve, since there are pairs enough.
        recipe: how to train.
        seed: of all chance.
        watch: see `Watch`.
        folder: where each network's checkpoint goes, in a folder of its own; None to keep none.

    Raises:
        ExportError: a loss is not finite, or a checkpoint is damaged.
        UsageError: the folder holds checkpoints of another training.
    """
    histories, judged = [], []
    for number, part in enumerate(parts):
        name = f"fold-{number + 1}"
        trainer, code = _trainer(items, part, recipe, seed)
        histories.append(_fit(trainer, name, watch, folder, seed))
        judged.append(_judge(trainer, part))
    known, alone = (_calibrated([part[kind] for part in judged]) for kind in (0, 1))
    if whole is not None:
        epochs = max(1, round(float(np.mean([history.best for history in histories]))))
        trainer, code = _trainer(items, whole, replace(recipe, epochs=epochs), seed)
        histories.append(_fit(trainer, "whole", watch, folder, seed))
    among = (parts[0] if whole is None else whole).items
    folded = sides.fold(
        trainer.network,
        trainer.weights,
        code,
        recipe.metric,
        _platt([part[0] for part in judged]),
        _platt([part[1] for part in judged]),
        trainer.rows[among],
        items.categories[among],
    )
    return Trained(folded, known, alone, tuple(histories))


def _trainer(items: Items, examples: Examples, recipe: Recipe, seed: int) -> tuple[Trainer, encoding.Encoding]:
    code = encoding.fit(
        items.features[examples.items],
        recipe.features,
        landmarks=recipe.landmarks,
        widths=recipe.widths,
        components=recipe.components,
        seed=seed,
    )
    network = Network(code.dimension, descriptors(items.names), recipe.dimension, recipe.tied)
    index = CategoryIndex(items.categories, examples.items)
    sampler = Sampler(examples.true, examples.items, index, recipe.batch, recipe.others)
    rows = code.rows(items.features)
    return Trainer(network, recipe, rows, items.categories, sampler, examples.validation, seed), code


def _fit(trainer: Trainer, name: str, watch: Watch, folder: Path | None, seed: int) -> loop.History:
    validated = trainer.validation is not None
    settings = loop.Settings(
        trainer.recipe.epochs,
        watch="log_loss" if validated else "epoch",
        better="lower" if validated else "higher",
        patience=trainer.recipe.patience,
        seed=seed,
    )
    own = None if folder is None else folder / name
    if own is not None:
        own.mkdir(exist_ok=True)
    with watch(name, settings) as progress:
        return loop.fit(trainer, settings, own, progress)


_Scores = tuple[NDArray[np.float32], NDArray[np.bool_]]


def _judge(trainer: Trainer, part: Examples) -> tuple[_Scores, _Scores]:
    """Return log odds and truths of the pairs held back, with categories and without."""
    if part.validation is None:
        raise ValueError("a part needs pairs to validate with")
    sample = part.validation
    given = trainer.categories
    known, alone = (
        (trainer.logits(sample.sources, sample.targets, categories), sample.truths)
        for categories in (given, np.full_like(given, UNKNOWN))
    )
    return known, alone


def _platt(parts: Sequence[_Scores]) -> Platt:
    return calibration.fit(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))


def _calibrated(parts: Sequence[_Scores]) -> Validation:
    """Return all parts' pairs, those of each calibrated by the others; of one part, half by half."""
    if len(parts) == 1:
        ((scores, truths),) = parts
        halves = [np.arange(len(truths)) % 2 == half for half in (0, 1)]
        parts = [(scores[half], truths[half]) for half in halves]
    log_odds = [
        _platt([other for place, other in enumerate(parts) if place != number]).apply(scores)
        for number, (scores, _) in enumerate(parts)
    ]
    return Validation(np.concatenate([truths for _, truths in parts]), np.concatenate(log_odds))
