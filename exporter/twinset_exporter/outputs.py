"""The outputs that every exported model has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SMALLEST_SQUARED_NORM = 1e-12
"""Features shorter than the square root of this aren't stretched to unit length: zero stays zero, not NaN."""


@dataclass(frozen=True, slots=True)
class Output:
    """A named output, `[N, D]` float32: the network's features, as they are or at unit length."""

    name: str
    normalisation: Literal["none", "l2"]


FEATURES = Output("features", "none")
EMBEDDING = Output("embedding", "l2")
OUTPUTS = (FEATURES, EMBEDDING)


def of_features(features: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
    """Return all outputs for `features`, `[N, D]`, by arithmetic apart from the graph's."""
    squared = np.square(features, dtype=np.float64).sum(axis=1, keepdims=True)
    embedding = (features / np.sqrt(np.maximum(squared, SMALLEST_SQUARED_NORM))).astype(np.float32)
    return {FEATURES.name: features, EMBEDDING.name: embedding}
