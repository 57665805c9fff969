"""What a graph holds of vectors: the type of their components, for int8 their scale, and for inner products a length.

A graph needs a distance: links go from each row to those near it, and by inner products most rows are nearest to a few
long ones, so that walks come to no others. So each row x gets one component more, the root of L² - |x|², and a query a
zero: all rows then have the length L, and their distances to a query order them as its inner products do (Bachrach et
al., "Speeding up the Xbox recommender system using a Euclidean transformation for inner-product spaces", RecSys 2014).
The mean of the rows is taken from each before, which adds the same to all products of a query, and a query is brought
to the length L. Otherwise a component that is large in all rows, as the bias of factors may be, would leave small types
no bits for what differs.

Whatever a walk finds is compared again in full, so a smaller type costs rows that are missed, never wrong distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_server.domain import Dtype, Float32Array, Space

SMALL = 128
"""Components, up to which a walk costs little beside what it looks up."""

_LEVELS = 127
_CHUNK = 4096

_MARGIN = 1.05
"""Added rows may be this many times as long as those that the coding was made of, or have components so much larger."""

_ROUNDED = {Dtype.F32: 2.0**-18, Dtype.F16: 2.0**-11, Dtype.BF16: 2.0**-8}
"""What two components that are rounded may change of their product; of float32 what sums take from it."""

_SPARE = 16
_SHARE = {Dtype.F32: 1.0, Dtype.F16: 1.25, Dtype.BF16: 1.25, Dtype.I8: 3.0}
"""How many times as many rows are asked for as are wanted: rounding confuses those that are nearly as far."""


@dataclass(frozen=True, slots=True)
class Coding:
    """How a graph holds vectors.

    Attributes:
        dtype: of a component.
        scale: the component that int8 holds as 127; 0 for another type.
        length: L, of the rows of a space of inner products; 0 in another.
        centre: `[D]`, what is taken from the rows of a space of inner products; empty in another.
    """

    dtype: Dtype
    scale: float = 0.0
    length: float = 0.0
    centre: tuple[float, ...] = ()

    @classmethod
    def of(cls, dtype: Dtype, vectors: Float32Array, metric: Metric) -> Coding:
        """Return the coding of a graph over `vectors`, `[N, D]`."""
        if metric is not Metric.INNER_PRODUCT:
            return cls(dtype, _largest(vectors) if dtype is Dtype.I8 else 0.0)
        centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        length = _MARGIN * _longest(vectors, centre)
        # No component of a row, and none of a query, is larger than the length.
        return cls(dtype, length if dtype is Dtype.I8 else 0.0, length, tuple(centre.tolist()))

    def fits(self, vectors: Float32Array) -> bool:
        """Return whether more `vectors` can be added to a graph of this coding."""
        if self.length:
            return _longest(vectors, self._centre) <= self.length
        return self.dtype is not Dtype.I8 or _largest(vectors) <= _MARGIN * self.scale

    def dimension(self, dimension: int) -> int:
        """Return the dimension of the graph over vectors of `dimension`."""
        return dimension + bool(self.length)

    def rows(self, vectors: Float32Array) -> NDArray[np.generic]:
        """Return `[N, D]` vectors as the graph takes them; USearch itself rounds floats."""
        if self.length:
            vectors = vectors - self._centre
            missing = np.maximum(self.length**2 - np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64), 0)
            vectors = np.column_stack([vectors, np.sqrt(missing).astype(np.float32)])
        return _bytes(vectors, self.scale) if self.dtype is Dtype.I8 else vectors

    def query(self, values: Float32Array, metric: Metric) -> NDArray[np.generic]:
        """Return a query, `[D]`, as the graph takes it."""
        if self.length:
            # In float64, where no square leaves the range.
            wide = np.append(values, 0.0)
            wide *= self.length / (math.sqrt(wide @ wide) or 1.0)
            values = wide.astype(np.float32)
        if self.dtype is not Dtype.I8:
            return values
        # On unit vectors an inner product orders rows alike whatever the query's length: none of it need be clipped.
        return _bytes(values, _largest(values[np.newaxis]) if metric is Metric.COSINE else self.scale)

    def queries(self, values: Float32Array, metric: Metric) -> NDArray[np.generic]:
        """Return queries, `[Q, D]`, as the graph takes them."""
        if not self.length and self.dtype is not Dtype.I8:
            return values
        return np.stack([self.query(one, metric) for one in values])

    def asked(self, count: int) -> int:
        """Return how many rows to ask the graph for where `count` are wanted."""
        return int(_SHARE[self.dtype] * count) + _SPARE

    def margin(self, length: float, query_length: float, dimension: int, metric: Metric) -> float:
        """Return how far apart the graph may take rows to be that are equally far; infinite for int8.

        A component of bf16 keeps 8 bits, so a product of two is off by up to a 256th of itself. Of many products these
        errors cancel: from 16 dimensions on, the margin is a dozen of their standard deviations.

        Args:
            length: no row is longer.
            query_length: of the query.
            dimension: of both.
            metric: the space's.
        """
        if self.dtype is Dtype.I8:
            return math.inf
        rounded, cancelled = _ROUNDED[self.dtype], min(1.0, 4 / math.sqrt(dimension))
        if self.length:
            # The component that rows have more is one alone: nothing cancels it.
            return float(rounded * self.length**2 * (4 * cancelled + 2))
        error = 2 * rounded * length * query_length * cancelled
        return 2 * error if metric is Metric.EUCLIDEAN else error

    @property
    def _centre(self) -> Float32Array:
        return np.array(self.centre, np.float32)


def default_dtype(space: Space) -> Dtype:
    """Return the type of a space's graph where the settings name none."""
    # Inner products of factors differ by less than bf16 keeps of them, and of so few components float32 costs no more.
    few = space.dimension <= SMALL
    return Dtype.F32 if few and space.metric is Metric.INNER_PRODUCT else Dtype.BF16


def _bytes(values: Float32Array, scale: float) -> NDArray[np.int8]:
    whole: NDArray[np.int8] = np.clip(np.rint(values * (_LEVELS / scale)), -_LEVELS, _LEVELS).astype(np.int8)
    return whole


def _longest(vectors: Float32Array, centre: Float32Array) -> float:
    chunks = (vectors[start : start + _CHUNK] - centre for start in range(0, len(vectors), _CHUNK))
    squares = (float(np.einsum("nd,nd->n", chunk, chunk, dtype=np.float64).max()) for chunk in chunks)
    return max(squares, default=0.0) ** 0.5 or 1.0


def _largest(vectors: Float32Array) -> float:
    chunks = (vectors[start : start + _CHUNK] for start in range(0, len(vectors), _CHUNK))
    # Of vectors that are all zero, anything is the scale.
    return max((float(np.abs(chunk).max()) for chunk in chunks), default=0.0) or 1.0
