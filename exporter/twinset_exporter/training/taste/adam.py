"""Adam (Kingma and Ba 2015) on NumPy arrays, of which a step may touch some rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8
_FIRST, _SECOND, _STEPS = "adam.first.", "adam.second.", "adam.steps"


class Adam:
    """Changes `weights` in place; rows that a step doesn't touch keep their moments as they are."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        self._weights = weights
        self._first = {name: np.zeros_like(values) for name, values in weights.items()}
        self._second = {name: np.zeros_like(values) for name, values in weights.items()}
        self._steps = 0

    def step(
        self,
        gradients: Mapping[str, NDArray[np.float32]],
        rate: float,
        rows: Mapping[str, NDArray[np.int64] | slice],
    ) -> None:
        """Take one step.

        Args:
            gradients: by name, of the `rows` alone where these name some.
            rows: by name, each row once.
            rate: the learning rate.
        """
        self._steps += 1
        rate *= np.sqrt(1 - _SQUARE_DECAY**self._steps) / (1 - _DECAY**self._steps)
        for name, gradient in gradients.items():
            chosen = rows.get(name, slice(None))
            first = _DECAY * self._first[name][chosen] + (1 - _DECAY) * gradient
            second = _SQUARE_DECAY * self._second[name][chosen] + (1 - _SQUARE_DECAY) * gradient**2
            self._first[name][chosen], self._second[name][chosen] = first, second
            self._weights[name][chosen] -= np.float32(rate) * first / (np.sqrt(second) + _EPSILON)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the moments and the number of steps."""
        moments = {f"{_FIRST}{name}": values for name, values in self._first.items()}
        moments |= {f"{_SECOND}{name}": values for name, values in self._second.items()}
        return {**moments, _STEPS: np.array(self._steps)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take moments and steps from `state`."""
        for name in self._weights:
            self._first[name][...] = state[f"{_FIRST}{name}"]
            self._second[name][...] = state[f"{_SECOND}{name}"]
        self._steps = int(state[_STEPS])
