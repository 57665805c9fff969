"""Items laid out on a plane, so that neighbours stay neighbours: t-SNE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_ITEMS = 5_000
"""Beyond this a map takes long to make and gets too dense to read."""

_PERPLEXITY = 30.0
_COMPONENTS = 50


@dataclass(frozen=True, slots=True)
class Projection:
    """Where items lie.

    Attributes:
        rows: `[M]` int64, which rows of the vectors were laid out, rising.
        points: `[M, 2]` float64.
        note: what was done, in words.
    """

    rows: NDArray[np.int64]
    points: NDArray[np.float64]
    note: str


def project(vectors: NDArray[np.floating], seed: int, most: int = MOST_ITEMS) -> Projection:
    """Return a t-SNE map of vectors, compared by their cosine (van der Maaten and Hinton 2008).

    Args:
        vectors: `[N, D]`, finite; rows of zeros count as pointing nowhere.
        seed: of the sample and of the optimisation.
        most: of more rows than this a sample is laid out.

    Raises:
        ValueError: fewer than three vectors, or one that isn't finite.
    """
    from openTSNE import TSNE  # a second to import

    if len(vectors) < 3:
        raise ValueError(f"a map needs three items, there are {len(vectors)}")
    rows = np.arange(len(vectors), dtype=np.int64)
    if len(vectors) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    chosen = np.asarray(vectors[rows], np.float64)
    broken = np.flatnonzero(~np.isfinite(chosen).all(axis=1))
    if broken.size:
        raise ValueError(f"row {rows[broken[0]]} of the vectors is not finite")
    directions = chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-12)
    short = _principal(directions)
    perplexity = max(1.0, min(_PERPLEXITY, (len(rows) - 1) / 3))
    optimise = TSNE(
        perplexity=perplexity, initialization=_initial(short, seed), metric="euclidean", random_state=seed, n_jobs=1
    )
    points = optimise.fit(short)
    sample = f"a sample of {len(rows):,} of the {len(vectors):,} items" if len(rows) < len(vectors) else "all items"
    note = (
        f"t-SNE of {sample}, by cosine, perplexity {perplexity:g}, seed {seed}. Only what lies close means something."
    )
    return Projection(rows, np.asarray(points, np.float64), note)


def _principal(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    # Distances among fifty principal components are nearly those of all, and thirty times cheaper to search.
    centred: NDArray[np.float64] = vectors - vectors.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    leading: NDArray[np.float64] = axes[:, np.argsort(values)[::-1][:_COMPONENTS]]
    projected: NDArray[np.float64] = centred @ leading
    return projected


def _initial(short: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return the first two principal components, `[M, 2]`, as small as t-SNE wants them (Kobak and Linderman 2021)."""
    first = np.zeros((len(short), 2))
    first[:, : short.shape[1]] = short[:, :2]
    # Equal vectors, or vectors of one dimension, would otherwise never come apart.
    jitter = np.random.default_rng(seed).standard_normal(first.shape)
    return np.asarray(1e-4 * (first / max(float(first[:, 0].std()), 1e-12) + 1e-2 * jitter))
