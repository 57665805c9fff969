"""A Keras model under `training.loop`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.training.loop import State

if TYPE_CHECKING:
    import keras

Batches = Callable[[np.random.Generator], Iterator[tuple[Any, Any]]]
"""Gives the inputs and the classes of one epoch, batch by batch."""


class ModelTrainee:
    """Trains a compiled model on batches; who inherits says how it validates."""

    def __init__(
        self,
        model: keras.Model,
        batches: Batches,
        *,
        class_weights: NDArray[np.float32] | None = None,
    ) -> None:
        """Take what is trained.

        Args:
            model: compiled; its optimizer's variables are made here, so that there is a state before the first epoch.
            batches: what it is trained on.
            class_weights: a weight for each class, None for equal ones.
        """
        self._compiled, self._batches = model, batches
        self._weights = None if class_weights is None else dict(enumerate(class_weights.tolist()))
        model.optimizer.build(model.trainable_variables)

    def epoch(self, number: int, rng: np.random.Generator) -> Mapping[str, float]:
        """Train on every batch once; return the means of the model's own figures over the examples."""
        sums: dict[str, float] = {}
        count = 0
        for inputs, classes in self._batches(rng):
            # Keras forgets its means after every batch.
            figures = self._compiled.train_on_batch(inputs, classes, class_weight=self._weights, return_dict=True)
            count += len(classes)
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(classes)
        return {name: total / count for name, total in sums.items()}

    def state(self) -> State:
        """Return all variables of model and optimizer; the seeds of dropout are among the model's."""
        return {name: np.array(variable) for name, variable in self._variables()}

    def restore(self, state: State) -> None:
        """Set all variables."""
        for name, variable in self._variables():
            variable.assign(state[name])

    def _variables(self) -> Iterator[tuple[str, Any]]:
        # By their places: Keras numbers its layers' names through the whole process.
        for number, variable in enumerate(self._compiled.variables):
            yield f"model.{number}", variable
        for number, variable in enumerate(self._compiled.optimizer.variables):
            yield f"optimizer.{number}", variable


def shuffled(count: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield the places 0 to `count` in random order, `size` at a time; the last batch may be smaller."""
    order = rng.permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]
