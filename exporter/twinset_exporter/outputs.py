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
    """A named output, `[N, D]` float32: what the network gives, as it is or at unit length."""

    name: str
    normalisation: Literal["none", "l2"]


FEATURES = Output("features", "none")
EMBEDDING = Output("embedding", "l2")
OUTPUTS = (FEATURES, EMBEDDING)


def of_features(features: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
    """Return all outputs for `features`, `[N, D]`, by arithmetic apart from the graph's."""
    return {output.name: normalised(features, output) for output in OUTPUTS}


def normalised(rows: NDArray[np.float32], output: Output) -> NDArray[np.float32]:
    """Return `rows`, `[N, D]`, as they are or at unit length, as `output` says."""
    if output.normalisation == "none":
        return rows
    squared = np.square(rows, dtype=np.float64).sum(axis=1, keepdims=True)
    unit: NDArray[np.float32] = (rows / np.sqrt(np.maximum(squared, SMALLEST_SQUARED_NORM))).astype(np.float32)
    return unit
