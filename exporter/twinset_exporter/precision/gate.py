"""The gate of a lower precision: may its vectors stand for the fp32 ones?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Gate, Metric
from twinset_exporter.errors import ExportError

K = 10
SERVES_FP32 = 0.99
"""Recall@10 of its queries against fp32 vectors, from which on it may serve the fp32 fingerprint."""
SERVES_ITSELF = 0.95
"""Recall@10 of its neighbours against fp32's, from which on it is worth a fingerprint of its own."""


def judge(
    reference: NDArray[np.float32], given: NDArray[np.float32], *, accept_loss: bool, reference_fingerprint: str
) -> Gate:
    """Return the record of the gate, or refuse.

    Args:
        reference: `[N, D]` unit vectors at fp32, N above `K`.
        given: `[N, D]`, those of the same pictures at the lower precision.
        accept_loss: let it through whatever its recall; the record says so.
        reference_fingerprint: the fingerprint of the fp32 model.

    Raises:
        ExportError: a vector isn't finite, or too few neighbours are kept and the loss isn't accepted.
    """
    if not np.isfinite(given).all():
        raise ExportError(
            "refused: vectors at the lower precision are NaN or infinite. Nothing was written; the weights don't fit "
            "the precision"
        )
    expected = _neighbours(reference, reference)
    queries = recall(expected, _neighbours(given, reference))
    neighbours = recall(expected, _neighbours(given, given))
    # A model may be let through knowingly, but then it never mixes with vectors of another.
    serves_fp32 = queries >= SERVES_FP32
    if not serves_fp32 and neighbours < SERVES_ITSELF and not accept_loss:
        raise ExportError(
            f"refused: neighbours' recall@{K} against fp32 is {neighbours:.4f} over {len(given)} pictures (at least "
            f"{SERVES_ITSELF} is asked for; of queries against fp32 vectors it is {queries:.4f}). Nothing was written. "
            "Calibrate on more pictures like those that it will see, or take the loss with --accept-loss"
        )
    return Gate(
        reference_fingerprint=reference_fingerprint,
        pictures=len(given),
        queries_recall=queries,
        neighbours_recall=neighbours,
        serves_reference=serves_fp32,
        loss_accepted=not serves_fp32 and neighbours < SERVES_ITSELF,
    )


def neighbours_recall(reference: NDArray[np.float32], given: NDArray[np.float32]) -> float:
    """Return the share of the `K` nearest of each row of `reference` that are also nearest in `given`."""
    return recall(_neighbours(reference, reference), _neighbours(given, given))


def queries_recall(reference: NDArray[np.float32], given: NDArray[np.float32], metric: Metric) -> float:
    """Return the share of the `K` nearest to each row of `reference` by `metric` that its row of `given` finds."""
    return recall(_neighbours(reference, reference, metric), _neighbours(given, reference, metric))


def recall(expected: NDArray[np.intp], found: NDArray[np.intp]) -> float:
    """Return the mean share of each row of `expected`, `[N, K]`, that the row of `found` has too."""
    return float((expected[:, :, None] == found[:, None, :]).any(axis=2).mean())


def _neighbours(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], metric: Metric = Metric.COSINE
) -> NDArray[np.intp]:
    """Return the `K` nearest of `vectors` to each of `queries`, `[N, K]`; a row is no neighbour of itself."""
    similarity = queries @ vectors.T
    if metric is Metric.EUCLIDEAN:
        similarity = 2 * similarity - np.einsum("nd,nd->n", vectors, vectors)
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :K]
