"""Vectors like those of real pictures: a mixture of clusters on the unit sphere, the same from the same seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CLUSTERS = 1000
SPREAD = 0.8
"""Length of the noise around a centre of length 1."""


class Mixture:
    """Rows of `dimension` float32 of unit length."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._centres = _unit(np.random.default_rng(1).standard_normal((CLUSTERS, dimension), dtype=np.float32))

    def rows(self, count: int, seed: int) -> NDArray[np.float32]:
        """Return `[count, D]`; the same for the same arguments."""
        chance = np.random.default_rng(seed)
        noise = chance.standard_normal((count, self._dimension), dtype=np.float32)
        noise *= np.float32(SPREAD / np.sqrt(self._dimension))
        noise += self._centres[chance.integers(0, CLUSTERS, count)]
        return _unit(noise)

    def blocks(self, count: int, block: int, seed: int) -> Iterator[NDArray[np.float32]]:
        """Yield `count` rows in blocks of `block`; block n depends on `seed + n` alone."""
        for number, start in enumerate(range(0, count, block)):
            yield self.rows(min(block, count - start), seed + number)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
