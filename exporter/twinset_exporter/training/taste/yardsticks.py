"""Known models to compare with: popularity, EASE and iALS. Each gives scores `[U, I]` of all users and items.

They hold dense matrices of that shape, or of items by items: for data as small as MovieLens 100K.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.training.taste.feedback import Feedback


def popularity(feedback: Feedback) -> NDArray[np.float64]:
    """Return for each user how many like an item."""
    likes = np.bincount(feedback.acts(liked=True)[1], minlength=feedback.item_count)
    return np.tile(likes.astype(np.float64), (feedback.user_count, 1))


def ease_weights(acts: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Return the item weights of EASE (Steck 2019), `[I, I]`, for `acts`, `[U, I]`; scores are `acts @ weights`."""
    inverse = np.linalg.inv(acts.T @ acts + ridge * np.eye(acts.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def ease(feedback: Feedback, *, ridge: float = 800.0, known_weight: float = 0.5) -> NDArray[np.float64]:
    """Return the scores of EASE with acts that are no likes at a weight."""
    acts = matrix(feedback, known_weight)
    return acts @ ease_weights(acts, ridge)


def ials(
    feedback: Feedback,
    *,
    dimension: int = 64,
    ridge: float = 0.03,
    unobserved: float = 0.03,
    known_weight: float = 0.5,
    sweeps: int = 8,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the scores of iALS (Hu, Koren and Volinsky 2008), regularised as by Rendle et al. 2021.

    Args:
        feedback: to train on.
        dimension: of the factors.
        ridge: times what a user or item has of acts, and `unobserved` times what not, is added to the diagonal.
        unobserved: the weight of a pair that isn't there.
        known_weight: the value to predict for an act that is no like, a like being 1.
        sweeps: over users and items.
        seed: of the first factors.
    """
    wanted = matrix(feedback, known_weight)
    rng = np.random.default_rng(seed)
    users = rng.normal(0, 0.1 / np.sqrt(dimension), (feedback.user_count, dimension))
    items = rng.normal(0, 0.1 / np.sqrt(dimension), (feedback.item_count, dimension))
    for _ in range(sweeps):
        users = _solved(wanted, items, unobserved, ridge)
        items = _solved(wanted.T, users, unobserved, ridge)
    return users @ items.T


def matrix(feedback: Feedback, known_weight: float) -> NDArray[np.float64]:
    """Return the acts, `[U, I]`: 1 for a like, `known_weight` for another act."""
    acts = np.zeros((feedback.user_count, feedback.item_count))
    acts[feedback.users(), feedback.items] = np.where(feedback.liked, 1.0, known_weight)
    return acts


def _solved(
    wanted: NDArray[np.float64], others: NDArray[np.float64], unobserved: float, ridge: float
) -> NDArray[np.float64]:
    """Return the best rows for `wanted`, `[N, M]`, with the other side, `[M, K]`, fixed."""
    everything = unobserved * others.T @ others
    found = np.zeros((len(wanted), others.shape[1]))
    for number, row in enumerate(wanted):
        seen = np.flatnonzero(row)
        factors = others[seen]
        strength = ridge * (len(seen) + unobserved * len(row))
        normal = everything + factors.T @ factors + strength * np.eye(len(everything))
        found[number] = np.linalg.solve(normal, factors.T @ row[seen])
    return found
