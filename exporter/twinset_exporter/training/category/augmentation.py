"""Pictures as they might also have been taken: mirrored, shifted, partly hidden."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far pictures are changed.

    Attributes:
        mirror: share that is mirrored, left to right.
        shift: pixels by which a picture moves at most, each way, as a share of its side; its edge fills the gap.
        hide: share in which a rectangle is blacked out (Zhong et al. 2017, "Random Erasing").
        hidden: the rectangle's sides at most, as shares of the picture's.
    """

    mirror: float = 0.5
    shift: float = 0.07
    hide: float = 0.5
    hidden: float = 0.45

    def apply(self, pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return `pictures`, `[N, H, W, 3]`, each changed by chance."""
        count, height, width, _ = pictures.shape
        rows = _shifted(height, round(self.shift * height), count, rng)
        columns = _shifted(width, round(self.shift * width), count, rng)
        mirrored = np.flatnonzero(rng.random((count,)) < self.mirror)
        columns[mirrored] = columns[mirrored, ::-1]
        changed = pictures[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
        hidden = rng.random((count, 1, 1)) < self.hide
        mask = _span(height, self.hidden, count, rng)[:, :, None] & _span(width, self.hidden, count, rng)[:, None, :]
        changed[mask & hidden] = 0
        return changed


def _shifted(side: int, most: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return for each of `count` pictures which line of it comes to each place, `[count, side]`."""
    lines: NDArray[np.int64] = np.arange(side) + rng.integers(-most, most + 1, (count, 1))
    return lines.clip(0, side - 1)


def _span(side: int, share: float, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return for each of `count` pictures which lines lie in a random span, `[count, side]`."""
    length = rng.integers(1, max(2, round(share * side) + 1), (count, 1))
    start = rng.integers(0, side - length + 1)
    lines = np.arange(side)
    inside: NDArray[np.bool_] = (lines >= start) & (lines < start + length)
    return inside
