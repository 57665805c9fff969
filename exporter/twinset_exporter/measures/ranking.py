"""How well items are ranked for users: ROC AUC, recall and nDCG, each a mean over users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 256

Scores = Callable[[NDArray[np.int64]], NDArray[Any]]
"""Gives the scores of every item, `[B, I]`, higher being better, for users `[B]`."""

Acts = tuple[NDArray[Any], NDArray[Any]]
"""Users and items, `[N]` each: the rows are pairs."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Figures of each user who has something to find.

    Attributes:
        users: `[U]` int64, who they are.
        auc: `[U]` float64, the chance that a relevant item scores above another candidate; a tie counts half.
        recall: `[U]` float64, the share of the user's relevant items among the first `k`.
        ndcg: `[U]` float64, discounted by log2(place + 1) over the first `k`, the best possible being 1 (Järvelin and
            Kekäläinen 2002).
        k: the places that recall and nDCG look at.
    """

    users: NDArray[np.int64]
    auc: NDArray[np.float64]
    recall: NDArray[np.float64]
    ndcg: NDArray[np.float64]
    k: int

    def mean_auc(self) -> float:
        """Return the mean of the users' AUC."""
        return float(self.auc.mean())

    def mean_recall(self) -> float:
        """Return the mean of the users' recall."""
        return float(self.recall.mean())

    def mean_ndcg(self) -> float:
        """Return the mean of the users' nDCG."""
        return float(self.ndcg.mean())


def rank(scores: Scores, relevant: Acts, hidden: Acts, *, items: int, k: int = 10) -> Ranking:
    """Return how well `scores` finds what is relevant.

    A user's candidates are all items but the hidden ones. Users without a relevant candidate, or with no other, are
    left out.

    Args:
        scores: of users and items.
        relevant: what each user should be shown.
        hidden: what is no candidate for a user, such as what the model was trained on.
        items: how many there are.
        k: for recall and nDCG. Of equal scores the item with the lower number comes first there.

    Raises:
        ValueError: no user is left, or a score is not a number.
    """
    found: list[tuple[int, float, float, float]] = []
    wanted, closed = _grouped(relevant), _grouped(hidden)
    users = np.array(sorted(wanted), np.int64)
    for start in range(0, len(users), _BLOCK):
        block = users[start : start + _BLOCK]
        for user, row in zip(block.tolist(), scores(block), strict=True):
            candidate = np.ones(items, bool)
            candidate[closed.get(user, [])] = False
            target = np.zeros(items, bool)
            target[wanted[user]] = True
            target &= candidate
            if not target.any() or not (candidate & ~target).any():
                continue
            if np.isnan(row).any():
                raise ValueError(f"user {user}: a score is not a number")
            found.append((user, auc(row[target], row[candidate & ~target]), *_top(row, candidate, target, k)))
    if not found:
        raise ValueError("no user has a relevant candidate")
    columns = [np.array(column) for column in zip(*found, strict=True)]
    return Ranking(columns[0], columns[1], columns[2], columns[3], k)


def auc(relevant: NDArray[Any], others: NDArray[Any]) -> float:
    """Return the chance that one of the scores `relevant` is above one of `others`; a tie counts half.

    This is the area under the ROC curve (Hanley and McNeil 1982).
    """
    ordered = np.sort(others)
    below = np.searchsorted(ordered, relevant, side="left") + np.searchsorted(ordered, relevant, side="right")
    return float(below.sum() / (2 * len(relevant) * len(others)))


def interval(
    values: NDArray[np.float64], *, seed: int, level: float = 0.95, draws: int = 10_000
) -> tuple[float, float]:
    """Return the bootstrap percentile interval of the mean of `values`, `[N]` (Efron 1979)."""
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _top(row: NDArray[Any], candidate: NDArray[np.bool_], target: NDArray[np.bool_], k: int) -> tuple[float, float]:
    places = np.flatnonzero(candidate)
    first = places[np.argsort(-row[places], kind="stable")[:k]]
    hits = target[first]
    relevant = int(target.sum())
    discounts = 1 / np.log2(np.arange(2, k + 2))
    return float(hits.sum() / relevant), float(discounts[: len(hits)][hits].sum() / discounts[:relevant].sum())


def _grouped(acts: Acts) -> dict[int, NDArray[Any]]:
    """Return the items of each user."""
    users, items = acts
    order = np.argsort(users, kind="stable")
    names, starts = np.unique(users[order], return_index=True)
    bounds = [*starts.tolist(), len(order)]
    return {name: items[order[start:end]] for name, (start, end) in zip(names.tolist(), pairwise(bounds), strict=True)}
