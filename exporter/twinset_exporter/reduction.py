"""Long features made short: the best linear map to fewer dimensions, found in bounded memory.

For a cosine space it is the uncentred SVD of the features at unit length, since that is what the space compares; for a
Euclidean one the PCA. Either way the map is linear, so it becomes one more layer of the network, before the L2, and so
a part of the graph and of the fingerprint. In a cosine space the directions get back a part of the energy that is lost.

The features lie in a file. Randomised subspace iteration reads it a few times, block by block, and holds matrices of
D times K: for 25,088 features and 512 dimensions 55 MB each, where D times D would take 2.5 GB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_exporter.errors import UsageError

if TYPE_CHECKING:
    import keras

Float32 = NDArray[np.float32]

_SEED = 20170828
_BLOCK_BYTES = 32 * 2**20
_OVERSAMPLED = 32
"""Directions sought beyond those kept: the last ones found are the least exact."""
_PASSES = 4
"""Each multiplies the share of a wrong direction by the square of a ratio of singular values."""
_SPREAD_SHARE = 0.25
_FIRST_SHARE = 6.0
"""Of the energy that a reduction loses in a cosine space: what all directions kept get back, and the first alone."""
_NEIGHBOURS = 10
_QUERIES = 1000


class FeatureFile:
    """Features on disk, `[N, D]` float32, read and written block by block so that no mapping counts as memory."""

    def __init__(self, path: Path, dimension: int) -> None:
        self.dimension = dimension
        self._path = path
        self._bytes = 4 * dimension
        path.touch()

    def __len__(self) -> int:
        return self._path.stat().st_size // self._bytes

    def append(self, rows: Float32) -> None:
        """Add rows, `[n, D]`."""
        with self._path.open("ab") as file:
            file.write(np.ascontiguousarray(rows, "<f4").tobytes())

    def blocks(self, *, unit: bool = False) -> Iterator[Float32]:
        """Return all rows in their order; at unit length where `unit`."""
        size = max(1, _BLOCK_BYTES // self._bytes)
        with self._path.open("rb") as file:
            while block := file.read(size * self._bytes):
                rows = np.frombuffer(block, "<f4").reshape(-1, self.dimension)
                yield _at_unit_length(rows) if unit else rows


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """A linear map `rows @ matrix + offset`, with `matrix` `[D, K]` and `offset` `[K]`, zero unless it is a PCA.

    `variance_kept` is the share of the squared length (for a PCA: of the variance) of the rows that it was fitted to.
    """

    matrix: Float32
    offset: Float32
    variance_kept: float

    def __call__(self, rows: Float32) -> Float32:
        """Return the rows in K dimensions."""
        reduced: Float32 = rows @ self.matrix + self.offset
        return reduced

    def fold(self, model: keras.Model) -> keras.Model:
        """Return a network that ends in the reduction."""
        import keras

        layer = keras.layers.Dense(self.matrix.shape[1], use_bias=bool(self.offset.any()), name="reduction")
        folded = keras.Model(model.inputs, layer(model.outputs[0]), name=model.name)
        layer.set_weights([self.matrix, self.offset] if layer.use_bias else [self.matrix])
        return folded


def fit(features: FeatureFile, dimension: int, metric: Metric) -> Reduction:
    """Return the reduction to `dimension` that keeps most of the features.

    The same rows give the same reduction on the same machine; the signs are fixed, which the mathematics leaves open.

    Raises:
        UsageError: there are fewer rows or features than dimensions wanted.
    """
    count, full = len(features), features.dimension
    if not 1 <= dimension < full:
        raise UsageError(f"--reduce {dimension}: the network has {full:,} features, take fewer and at least 1")
    if count < dimension:
        raise UsageError(
            f"--reduce {dimension} needs at least as many pictures, and there are {count:,}: give more pictures, or "
            "reduce to fewer dimensions"
        )
    unit = metric is Metric.COSINE
    mean = np.zeros(full, np.float32) if unit else _mean(features)
    width = min(dimension + _OVERSAMPLED, full, count)
    basis = np.random.default_rng(_SEED).standard_normal((full, width), dtype=np.float32)
    for _ in range(_PASSES):
        image = np.zeros((full, width), np.float32)
        for block in features.blocks(unit=unit):
            centred = block - mean if mean.any() else block
            image += centred.T @ (centred @ basis)
        basis = np.linalg.qr(image)[0]
    gram = np.zeros((width, width))
    total = 0.0
    for block in features.blocks(unit=unit):
        centred = block - mean if mean.any() else block
        small = (centred @ basis).astype(np.float64)
        gram += small.T @ small
        total += float(np.einsum("nd,nd->", centred, centred, dtype=np.float64))
    values, vectors = np.linalg.eigh(gram)
    kept = slice(None, -dimension - 1, -1)
    matrix = basis @ vectors[:, kept].astype(np.float32)
    if unit:
        matrix *= _weights(values[kept], total)
    matrix *= np.where(matrix[np.abs(matrix).argmax(axis=0), np.arange(dimension)] < 0, np.float32(-1), np.float32(1))
    return Reduction(matrix, -(mean @ matrix), float(values[kept].sum() / total) if total else 1.0)


def _weights(values: NDArray[np.float64], total: float) -> Float32:
    """Return how much to stretch each direction kept, `[K]`, so that unit length does less harm afterwards.

    A picture that lost more of its length is stretched more when its vector is brought back to unit length, and so
    comes nearer to all others. Where the directions kept hold a part of the energy lost, lengths differ less. The first
    one of uncentred features is what all pictures have in common: it steadies the length without changing neighbours.
    `docs/decisions/0011-energy-lost.md` has the figures.

    Args:
        values: energy along the directions kept, falling.
        total: energy of all directions.
    """
    energy = values / total if total else np.ones_like(values)
    lost = max(0.0, 1.0 - float(energy.sum()))
    given = np.full(len(energy), _SPREAD_SHARE * lost / len(energy))
    given[0] += _FIRST_SHARE * lost * energy[0]
    # Where nothing is lost nothing is given, though a direction may hold nothing.
    weights: Float32 = np.sqrt(1 + given / np.maximum(energy, 1e-12)).astype(np.float32)
    return weights


def recall(features: FeatureFile, reduction: Reduction, metric: Metric) -> float:
    """Return the share of the ten nearest neighbours that survive, for up to 1,000 rows spread evenly."""
    count = len(features)
    queries = np.unique(np.linspace(0, count - 1, min(_QUERIES, count)).astype(np.int64))
    k = min(_NEIGHBOURS, count - 1)
    if k < 1:
        return 1.0
    shares: list[float] = []
    size = max(1, _BLOCK_BYTES // (4 * max(features.dimension, count)))
    for start in range(0, len(queries), size):
        chosen = queries[start : start + size]
        wanted, first = [], 0
        for block in features.blocks():
            inside = chosen[(chosen >= first) & (chosen < first + len(block))]
            wanted.append(block[inside - first])
            first += len(block)
        full = np.concatenate(wanted)
        short = reduction(full)
        likeness = [np.empty((len(chosen), count), np.float32) for _ in range(2)]
        first = 0
        for block in features.blocks():
            rows = slice(first, first + len(block))
            likeness[0][:, rows] = _likeness(full, block, metric)
            likeness[1][:, rows] = _likeness(short, reduction(block), metric)
            first += len(block)
        for matrix in likeness:
            matrix[np.arange(len(chosen)), chosen] = -np.inf  # a row is no neighbour of itself
        exact, found = (np.argpartition(-matrix, k - 1, axis=1)[:, :k] for matrix in likeness)
        shares += [len(np.intersect1d(a, b)) / k for a, b in zip(exact, found, strict=True)]
    return float(np.mean(shares))


def _likeness(queries: Float32, rows: Float32, metric: Metric) -> Any:
    if metric is Metric.COSINE:
        return _at_unit_length(queries) @ _at_unit_length(rows).T
    return 2 * queries @ rows.T - np.einsum("nd,nd->n", rows, rows)


def _at_unit_length(rows: Float32) -> Float32:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32 = rows / np.maximum(lengths, np.float32(1e-12))
    return unit


def _mean(features: FeatureFile) -> Float32:
    total = sum(block.sum(axis=0, dtype=np.float64) for block in features.blocks())
    mean: Float32 = np.asarray(total / len(features), dtype=np.float32)
    return mean
