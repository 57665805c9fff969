"""The proof that a graph computes what Keras does: real pictures, in batches of several sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter import parity
from twinset_exporter.footprint import BATCHES
from twinset_exporter.parity import Parity

Rows = Mapping[str, NDArray[np.float32]]

LARGEST_BATCH = max(BATCHES)


@dataclass(frozen=True, slots=True)
class BatchParity:
    """The parity of every output over `pictures` pictures in batches of `batch`."""

    batch: int
    pictures: int
    outputs: tuple[Parity, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as the card holds it."""
        return {
            "pictures": self.pictures,
            "outputs": {
                output.output: {
                    **{key: value for key, value in asdict(output).items() if key != "output"},
                    "share": output.share,
                }
                for output in self.outputs
            },
        }


Run = Callable[[NDArray[Any], int, NDArray[np.int32] | None], Rows]
"""Answers pictures in batches of the given size, with their categories, `[N, 1]`, where there are such."""


def compare(
    expected: Rows, run: Run, pictures: NDArray[Any], categories: NDArray[np.int32] | None = None
) -> tuple[BatchParity, ...]:
    """Return the parity at every size in `BATCHES`.

    The largest size gets all pictures, and its batches are full: a few pictures are repeated. The others get at most
    as many as one batch of the largest holds, since a slow network takes seconds for each.

    Args:
        expected: per output `[N, D]`, what Keras answers.
        run: what is to be compared.
        pictures: `[N, H, W, 3]` uint8 RGB, or the features of pictures, `[N, D]` float32.
        categories: `[N, 1]`, what `expected` was answered with; None where nothing takes them.
    """
    found = []
    for batch in BATCHES:
        wanted = len(pictures) if batch == LARGEST_BATCH else min(len(pictures), LARGEST_BATCH)
        places = np.arange(max(wanted, batch)) % len(pictures)
        rows = run(pictures[places], batch, None if categories is None else categories[places])
        found.append(
            BatchParity(batch, wanted, parity.compare({name: rows[places] for name, rows in expected.items()}, rows))
        )
    return tuple(found)


def worst(batches: tuple[BatchParity, ...]) -> tuple[Parity, ...]:
    """Return for every output the parity at the batch size where it is furthest off."""
    return tuple(max(outputs, key=_distance) for outputs in zip(*(batch.outputs for batch in batches), strict=True))


def _distance(one: Parity) -> float:
    # NaN compares with nothing; it must come out on top.
    return one.share if one.share == one.share and one.smallest_cosine == one.smallest_cosine else float("inf")
