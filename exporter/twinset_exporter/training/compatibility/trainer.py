"""One network in training: mini-batches of true pairs against items at random and items of the same category."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_exporter.measures import pairs as measure
from twinset_exporter.training.adam import Adam, Arrays
from twinset_exporter.training.compatibility import calibration, objective
from twinset_exporter.training.compatibility.categories import UNKNOWN
from twinset_exporter.training.compatibility.judging import Sample
from twinset_exporter.training.compatibility.losses import Losses
from twinset_exporter.training.compatibility.network import OFFSET, SOURCE, TARGET, Floats, Network, Numbers
from twinset_exporter.training.compatibility.sampling import Batch, Sampler

_WARM_UP = 0.1


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained; the defaults are those that validation rooms of IKEA's liked best.

    Attributes:
        metric: EUCLIDEAN or INNER_PRODUCT.
        features: directions of the whitened features.
        landmarks: items that others are compared with, at most; 0 for none. See `encoding`.
        widths: of that comparison, in medians of the squared distance.
        components: of each width.
        dimension: of a side, without its bias.
        tied: whether both sides are one.
        epochs: passes over the true pairs, at most.
        patience: epochs without a lower log loss of validation after which it ends; None never to.
        batch: true pairs at a time.
        others: items of either side that are drawn beside a batch.
        rate: Adam's, at its highest: it rises over the first tenth of the steps and falls along a cosine to none.
        deviation: of the initial weights.
        decay: of the vectors' weights: half their square sum times this is added to the loss.
        bias_decay: the same of the biases' weights.
        logistic: whether true pairs have a logistic loss, of weight 1.
        random: its weight of pairs at random: it learns log odds for one true pair among 1 + `random`.
        same_category: its weight of pairs whose target is another of the true one's category.
        softmax: weight of the cross entropy of each pair's target among those of its batch.
        category_dropout: share of items whose category is hidden from a step.
        across: whether only pairs of different categories count, as in rooms, which nobody fills with one kind.
    """

    metric: Metric = Metric.INNER_PRODUCT
    features: int = 64
    landmarks: int = 2048
    widths: tuple[float, ...] = (0.2,)
    components: int = 600
    dimension: int = 24
    tied: bool = False
    epochs: int = 12
    patience: int | None = None
    batch: int = 2048
    others: int = 512
    rate: float = 0.03
    deviation: float = 0.1
    decay: float = 5e-4
    bias_decay: float = 1e-3
    logistic: bool = True
    random: float = 64.0
    same_category: float = 0.0
    softmax: float = 0.0
    category_dropout: float = 0.5
    across: bool = False


@dataclass(slots=True, eq=False)
class Trainer:
    """Trains a network; what `training.loop.fit` takes.

    Attributes:
        network: its form.
        recipe: how it is trained.
        rows: `[N, K]` encoded, of all items.
        categories: `[N]`, 0 where unknown.
        sampler: of the batches.
        validation: pairs of which `validate` tells the log loss and the AUC; None for none.
        seed: of the initial weights.
    """

    network: Network
    recipe: Recipe
    rows: Floats
    categories: Numbers
    sampler: Sampler
    validation: Sample | None = None
    seed: int = 0
    _adam: Adam = field(init=False)

    def __post_init__(self) -> None:
        weights = self.network.initial(self.recipe.deviation, np.random.default_rng((self.seed, 0)))
        # Where true pairs begin, so that the first steps needn't learn how rare they are.
        weights[OFFSET][:] = -math.log(max(self.recipe.random + self.recipe.same_category, 1.0))
        self._adam = Adam(weights)

    @property
    def weights(self) -> Arrays:
        """As they are now."""
        return self._adam.weights

    def epoch(self, number: int, rng: np.random.Generator) -> Mapping[str, float]:
        """Train on every true pair once, and return the mean loss."""
        total = sum(self.step(batch, rng) for batch in self.sampler.epoch(rng))
        return {"loss": total / self.sampler.steps}

    def validate(self) -> Mapping[str, float]:
        """Return log loss and AUC on the validation pairs, categories given; the log loss after a calibration."""
        if self.validation is None:
            return {"epoch": self._adam.steps / self.sampler.steps}  # where nothing judges, the last is the best
        truths = self.validation.truths
        scores = self.logits(self.validation.sources, self.validation.targets, self.categories)
        return {
            "log_loss": measure.log_loss(truths, calibration.fit(scores, truths).apply(scores)),
            "auc": measure.auc(scores[truths], scores[~truths]),
        }

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return weights and optimizer."""
        return self._adam.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state."""
        self._adam.restore(state)

    def logits(self, sources: Numbers, targets: Numbers, categories: Numbers) -> Floats:
        """Return the log odds of pairs of items, `[N]`, for `categories` of all items, `[items]`."""
        u = self.network.side(self.weights, SOURCE, self.rows[sources], categories[sources])
        v = self.network.side(self.weights, TARGET, self.rows[targets], categories[targets])
        return objective.logits(self.recipe.metric, u, v, float(self.weights[OFFSET][0]))

    def step(self, batch: Batch, rng: np.random.Generator) -> float:
        """Take one step, and return the loss before it."""
        sources, (true_source, other_source) = _distinct(batch.sources, batch.other_sources)
        targets, (true_target, alike, other_target) = _distinct(batch.targets, batch.alike, batch.other_targets)
        source_categories, target_categories = self._seen(sources, rng), self._seen(targets, rng)
        losses = Losses(
            self.recipe.metric,
            self.network.side(self.weights, SOURCE, self.rows[sources], source_categories),
            self.network.side(self.weights, TARGET, self.rows[targets], target_categories),
            float(self.weights[OFFSET][0]),
        )
        recipe, true, count = self.recipe, self.sampler.pairs, len(batch.sources)
        loss = 0.0
        if recipe.logistic:
            loss += losses.pairs(true_source, true_target, True, np.full(count, 1 / count, np.float32))
        if recipe.same_category:
            unlike = ~true.holds(batch.sources, batch.alike) & (batch.alike != batch.sources)
            loss += losses.pairs(true_source, alike, False, _shared(unlike, recipe.same_category))
        if recipe.random:
            unlike = self._unlike(batch.other_sources, batch.other_targets)
            loss += losses.others(other_source, other_target, _shared(unlike, recipe.random))
        if recipe.softmax:
            candidates = self._unlike(batch.sources, batch.targets)
            np.fill_diagonal(candidates, True)
            loss += losses.softmax(true_source, true_target, candidates, recipe.softmax)

        gradients = self.network.gradients(SOURCE, self.rows[sources], source_categories, losses.source_slopes)
        of_target = self.network.gradients(TARGET, self.rows[targets], target_categories, losses.target_slopes)
        for name, gradient in of_target.items():
            gradients[name] = gradients[name] + gradient if name in gradients else gradient
        for name, gradient in gradients.items():
            gradient[:, :-1] += np.float32(recipe.decay) * self.weights[name][:, :-1]
            gradient[:, -1] += np.float32(recipe.bias_decay) * self.weights[name][:, -1]
        gradients[OFFSET] = np.array([losses.offset_slope], np.float32)
        self._adam.step(gradients, self._rate())
        return loss

    def _rate(self) -> float:
        """Return the learning rate of the next step: up a line, then down a cosine."""
        done = self._adam.steps / (self.recipe.epochs * self.sampler.steps)
        rising = min(1.0, (done + 1e-3) / _WARM_UP)
        return self.recipe.rate * rising * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def _seen(self, items: Numbers, rng: np.random.Generator) -> Numbers:
        """Return the categories of items, some of them hidden."""
        hidden = rng.random(len(items)) < self.recipe.category_dropout
        return np.where(hidden, UNKNOWN, self.categories[items])

    def _unlike(self, sources: Numbers, targets: Numbers) -> NDArray[np.bool_]:
        """Return which pairs of a block may pass for wrong ones, `[S, T]`."""
        unlike = ~self.sampler.pairs.block(sources, targets)
        unlike &= sources[:, None] != targets
        if self.recipe.across:
            given = self.categories[sources][:, None], self.categories[targets]
            unlike &= (given[0] != given[1]) | (given[0] == UNKNOWN)
        return unlike


def _distinct(*groups: Numbers) -> tuple[Numbers, list[Numbers]]:
    """Return the items of all groups, each once, and the places of each group's items among them."""
    items, places = np.unique(np.concatenate(groups), return_inverse=True)
    return items, np.split(places, np.cumsum([len(group) for group in groups])[:-1])


def _shared(chosen: NDArray[np.bool_], weight: float) -> Floats:
    """Return weights for the chosen, alike and adding up to `weight`."""
    return chosen * np.float32(weight / max(int(np.count_nonzero(chosen)), 1))
