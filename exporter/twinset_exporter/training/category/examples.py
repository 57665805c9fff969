"""What a category head learns from: features, and the class of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.datasets.splits import Split, folds
from twinset_exporter.errors import UsageError

_VALIDATION_PARTS = 5
"""A fifth of the examples validates."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Inputs with their classes.

    Attributes:
        inputs: `[N, D]` float32 features, or `[N, H, W, 3]` uint8 pictures.
        classes: `[N]` int64, places in `names`.
        names: of the classes.
    """

    inputs: NDArray[Any]
    classes: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)

    def part(self, places: NDArray[np.int64]) -> Examples:
        """Return the examples at `places`."""
        return Examples(self.inputs[places], self.classes[places], self.names)

    def weights(self) -> NDArray[np.float32]:
        """Return a weight for each class, `[len(names)]`, with which all have the same weight in the sum.

        scikit-learn's "balanced": N / (classes that occur * count of the class); 0 where a class doesn't occur.
        """
        counts = np.bincount(self.classes, minlength=len(self.names))
        occurring = int((counts > 0).sum())
        shares = len(self) / (occurring * np.maximum(counts, 1))
        balanced: NDArray[np.float32] = np.where(counts > 0, shares, 0).astype(np.float32)
        return balanced


def numbered(labels: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the class of each label, `[N]` int64, and the names of the classes in alphabetical order.

    Raises:
        UsageError: there is one class only.
    """
    names, classes = np.unique(np.array(labels, dtype=np.str_), return_inverse=True)
    if len(names) < 2:
        raise UsageError(f"all {len(labels):,} items are of the class {str(names[0])!r}: a head needs two or more")
    return classes.astype(np.int64), tuple(names.tolist())


def validation_split(ids: Sequence[str], marks: Sequence[str], *, seed: int) -> Split:
    """Return a fifth as `test`, to validate on, and the rest as `train`; ids of one mark stay together."""
    return folds(ids, _VALIDATION_PARTS, seed=seed, together=marks)[0]
