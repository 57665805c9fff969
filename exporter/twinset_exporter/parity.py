"""The gate before publication: does the exported graph compute what the Keras network does?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.errors import ExportError

LARGEST_SHARE = 1e-4
SMALLEST_COSINE = 0.99999


@dataclass(frozen=True, slots=True)
class Parity:
    """How far one output of two implementations is apart.

    Attributes:
        output: its name.
        largest_difference: of any component of any picture.
        scale: largest absolute component of the reference.
        smallest_cosine: between the two vectors of any picture.
    """

    output: str
    largest_difference: float
    scale: float
    smallest_cosine: float

    @property
    def share(self) -> float:
        """The largest difference as a share of the scale; infinite where the reference is all zero."""
        return self.largest_difference / self.scale if self.scale > 0 else float("inf")

    @property
    def close(self) -> bool:
        """Whether both bounds hold. NaN fails, since every comparison with it is false."""
        return self.share <= LARGEST_SHARE and self.smallest_cosine >= SMALLEST_COSINE

    def __str__(self) -> str:
        """Return the figures as one line."""
        return (
            f"{self.output}: largest difference {self.largest_difference:.2g} "
            f"({self.share:.2g} of the scale {self.scale:.3g}), smallest cosine {self.smallest_cosine:.7f}"
        )


def compare(
    expected: Mapping[str, NDArray[np.float32]], given: Mapping[str, NDArray[np.float32]]
) -> tuple[Parity, ...]:
    """Return the parity of every output, each `[N, D]`, in the order of `expected`."""
    return tuple(_compare(name, rows, given[name]) for name, rows in expected.items())


def gate(parities: tuple[Parity, ...]) -> None:
    """Let close outputs through.

    Raises:
        ExportError: an output isn't close.
    """
    for parity in parities:
        if not parity.close:
            raise ExportError(
                f"refused: the ONNX graph doesn't compute what Keras does ({parity}; allowed: {LARGEST_SHARE:g} of "
                f"the scale, cosine {SMALLEST_COSINE}). Nothing was written. Check that the backbone's "
                "preprocessing in the graph is the one that Keras gets"
            )


def _compare(name: str, expected: NDArray[np.float32], given: NDArray[np.float32]) -> Parity:
    a, b = expected.astype(np.float64), given.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = np.einsum("nd,nd->n", a, b) / norms  # NaN for a picture without features: refused
    return Parity(
        output=name,
        largest_difference=float(np.abs(a - b).max()),
        scale=float(np.abs(a).max()),
        smallest_cosine=float(cosines.min()),
    )
