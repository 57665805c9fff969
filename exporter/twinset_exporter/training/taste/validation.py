"""Training with an eye on acts held out: how many epochs, and what the report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.measures.ranking import Ranking, Scores, rank
from twinset_exporter.training import loop
from twinset_exporter.training.taste import two_tower
from twinset_exporter.training.taste.feedback import Feedback
from twinset_exporter.training.taste.two_tower import Towers, TwoTower

WATCHED_USERS = 300
"""So many users are ranked after each epoch."""

_AUC, _EPOCH = "auc", "epoch"


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Feedback in two parts; `test` has acts that `train` hasn't, of the same users and items."""

    train: Feedback
    test: Feedback

    def judged(self) -> NDArray[np.int64]:
        """Return the users who judge: they have a like held out, and an item that is in no act of theirs."""
        likes = np.bincount(self.test.acts(liked=True)[0], minlength=self.test.user_count)
        acts = np.diff(self.train.starts) + np.diff(self.test.starts)
        return np.flatnonzero((likes > 0) & (acts < self.train.item_count))

    def rank(
        self, items: NDArray[np.float32], users: NDArray[np.float32], *, most: int | None = None, known: bool = True
    ) -> Ranking:
        """Return how well factors `[I, D]` and `[U, D]` find the likes held out; see `rank_by`."""
        return self.rank_by(lambda block: users[block] @ items.T, most=most, known=known)

    def rank_by(self, scores: Scores, *, most: int | None = None, known: bool = True) -> Ranking:
        """Return how well `scores` find the likes held out.

        Args:
            scores: of all items for some users.
            most: rank for so many users only, spread over all; None for everyone.
            known: whether items that the user only knows, such as low-rated ones, are candidates. Likes to train on
                never are.

        Raises:
            ValueError: nobody has a like held out.
        """
        who, what = self.test.acts(liked=True)
        if most is not None and len(several := np.unique(who)) > most:
            chosen = several[np.linspace(0, len(several) - 1, most).astype(np.int64)]
            kept = np.isin(who, chosen)
            who, what = who[kept], what[kept]
        hidden = self.train.acts(liked=True if known else None)
        return rank(scores, (who, what), hidden, items=self.train.item_count)


class Validated(TwoTower):
    """Towers that are ranked by after each epoch."""

    def __init__(self, held_out: HeldOut, settings: two_tower.Settings, pictures: NDArray[np.float32] | None) -> None:
        super().__init__(held_out.train, settings, pictures)
        self._held_out = held_out

    def validate(self) -> Mapping[str, float]:
        """Return AUC, recall@10 and nDCG@10 over some users."""
        items, users = factors(self.towers(), self._held_out.train, self.settings)
        ranking = self._held_out.rank(items, users, most=WATCHED_USERS)
        return {_AUC: ranking.mean_auc(), "recall@10": ranking.mean_recall(), "ndcg@10": ranking.mean_ndcg()}


class Whole(TwoTower):
    """Towers on everything: with nothing held out, the last epoch is the one to keep."""

    def epoch(self, number: int, rng: np.random.Generator) -> Mapping[str, float]:
        """Train one epoch; see `TwoTower`."""
        self._number = number
        return super().epoch(number, rng)

    def validate(self) -> Mapping[str, float]:
        """Return the number of the epoch."""
        return {_EPOCH: self._number}


def fit_held_out(
    held_out: HeldOut,
    settings: two_tower.Settings,
    pictures: NDArray[np.float32] | None,
    folder: Path | None,
    patience: int,
    progress: loop.Progress,
) -> tuple[Towers, loop.History]:
    """Return the towers of the best epoch on the likes held out, and how it went; see `loop.fit`."""
    trainee = Validated(held_out, settings, pictures)
    history = loop.fit(trainee, loop_settings(settings, patience), folder, progress)
    return trainee.towers(), history


def fit_whole(
    feedback: Feedback,
    settings: two_tower.Settings,
    epochs: int,
    pictures: NDArray[np.float32] | None,
    folder: Path | None,
    progress: loop.Progress,
) -> Towers:
    """Return towers trained on all `feedback` for `epochs`, with the learning rates of a run of `settings.epochs`."""
    trainee = Whole(feedback, settings, pictures)
    loop.fit(trainee, whole_settings(settings, epochs), folder, progress)
    return trainee.towers()


def loop_settings(settings: two_tower.Settings, patience: int) -> loop.Settings:
    """Return what the loop needs to find the best epoch."""
    return loop.Settings(settings.epochs, watch=_AUC, patience=patience, seed=settings.seed)


def whole_settings(settings: two_tower.Settings, epochs: int) -> loop.Settings:
    """Return what the loop needs to train for exactly `epochs`."""
    return loop.Settings(epochs, watch=_EPOCH, seed=settings.seed)


def factors(
    towers: Towers, feedback: Feedback, settings: two_tower.Settings
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the factors of all items, `[I, D]`, and of the users of `feedback`, `[U, D]`."""
    users = two_tower.factors_of_users(two_tower.fold_in(towers, settings), feedback)
    return two_tower.factors_of_items(towers), np.concatenate(list(users))
