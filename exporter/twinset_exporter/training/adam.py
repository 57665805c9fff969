"""Adam in NumPy: the gradients are products of matrices, and a step of Keras's own costs more than all of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]

_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-7


class Adam:
    """Changes weights in place (Kingma and Ba 2015, with Keras's constants).

    Attributes:
        weights: by name, float32.
        steps: taken so far.
    """

    def __init__(self, weights: Arrays) -> None:
        self.weights = weights
        self.steps = 0
        self._means = {name: np.zeros_like(weight) for name, weight in weights.items()}
        self._squares = {name: np.zeros_like(weight) for name, weight in weights.items()}

    def step(
        self,
        gradients: Mapping[str, NDArray[np.float32]],
        rate: float,
        rows: Mapping[str, NDArray[np.int64] | slice] | None = None,
    ) -> None:
        """Take a step.

        Args:
            gradients: by name, of some or all of the weights; of the `rows` alone where these name some.
            rate: the learning rate.
            rows: by name, each row once. The moments of the others stay as they are.
        """
        self.steps += 1
        scale = rate * np.sqrt(1 - _SECOND**self.steps) / (1 - _FIRST**self.steps)
        for name, gradient in gradients.items():
            chosen = (rows or {}).get(name, slice(None))
            # Views, or copies of rows chosen by number.
            mean, square = self._means[name][chosen], self._squares[name][chosen]
            mean += (1 - _FIRST) * (gradient - mean)
            square += (1 - _SECOND) * (gradient * gradient - square)
            self._means[name][chosen], self._squares[name][chosen] = mean, square
            self.weights[name][chosen] -= np.float32(scale) * mean / (np.sqrt(square) + np.float32(_EPSILON))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return weights, moments and the number of steps."""
        return {
            "steps": np.array(self.steps),
            **{f"weight/{name}": array for name, array in self.weights.items()},
            **{f"mean/{name}": array for name, array in self._means.items()},
            **{f"square/{name}": array for name, array in self._squares.items()},
        }

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a state."""
        self.steps = int(state["steps"])
        for kind, arrays in (("weight", self.weights), ("mean", self._means), ("square", self._squares)):
            for name in arrays:
                arrays[name][...] = state[f"{kind}/{name}"]
