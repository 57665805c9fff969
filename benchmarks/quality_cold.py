"""How good taste is at what it hasn't seen: new users of MovieLens, and new items of furnished rooms.

Figures: `cold.user_auc`, 100 users left out of training and folded in from all their likes there; `cold.user_auc_5`,
from five of them; popularity and EASE's item weights on the same users; `cold.item_auc_gain`, rooms as users and a
fifth of the items left out, whose factors come from their pictures, above the mean picture of a room's other items.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import DataOption
from benchmarks.features import BACKBONE, embedded
from benchmarks.figures import Figure, write
from twinset.factors import FoldIn
from twinset_exporter.datasets import movielens, splits
from twinset_exporter.datasets.groups import read_groups
from twinset_exporter.measures import ranking
from twinset_exporter.measures.ranking import Ranking
from twinset_exporter.training.features import Features
from twinset_exporter.training.taste import pictures, two_tower, yardsticks
from twinset_exporter.training.taste.feedback import Feedback
from twinset_exporter.training.taste.pictures import Preparation
from twinset_exporter.training.taste.validation import HeldOut

LIKED_FROM = 4.0
USERS = 100
FEW = 5
EASE_RIDGE = 800.0

_USERS_PROTOCOL = (
    f"MovieLens 100K, split ua; {USERS} users left out of training; liked is rated 4 or more; candidates are all films "
    "but those liked in ua.base; mean over the users"
)


def main() -> None:
    """Leave users out, then items, and rank for them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "ml-100k, and ikea with rooms.csv and images")
    parser.add_argument("--seeds", type=int, default=3, help="so many of each training (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, help="the seeds are this and the next ones")
    parser.add_argument("--features", type=Path, metavar="DIR", help="of ikea/images, as embed writes them")
    arguments = parser.parse_args()
    folder = data.required(arguments)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    figures = [*_users(folder / "ml-100k", seeds), *_items(folder / "ikea", arguments.features, seeds)]
    write("quality_cold", figures)


def _users(folder: Path, seeds: Sequence[int]) -> list[Figure]:
    published = movielens.read_published(folder)
    ua = HeldOut(Feedback.of(published.train, LIKED_FROM), Feedback.of(published.test, LIKED_FROM))
    found: dict[str, list[float]] = {}
    for seed in seeds:
        chosen = splits.held_out(published.train.user_ids, USERS, seed=seed)["test"]
        for name, one in _cold_users(ua, chosen, seed).items():
            found.setdefault(name, []).append(one.mean_auc())
    words = {
        "user_auc": "folded in from all their likes in ua.base",
        "user_auc_5": f"folded in from {FEW} of their likes in ua.base",
        "user_auc_popularity": "by how many others like a film",
        "user_auc_ease": "EASE's item weights, from all their likes",
        "user_auc_5_ease": f"EASE's item weights, from {FEW} of their likes",
    }
    bounds = {"user_auc": (0.93, 0.945), "user_auc_5": (float(np.mean(found["user_auc_popularity"])), 0.905)}
    figures = []
    for name, values in found.items():
        bound, aim = bounds.get(name, (None, None))
        protocol = f"{words[name]}; {_USERS_PROTOCOL}"
        figures.append(Figure.over_seeds(f"cold.{name}", values, aim, "AUC", "higher", protocol, bound))
    return figures


def _cold_users(ua: HeldOut, cold: NDArray[np.int64], seed: int) -> Mapping[str, Ranking]:
    """Return how the films liked in the test part are ranked for the users `cold`, by each way."""
    trained_on = ua.train.only(~np.isin(ua.train.users(), cold))
    settings = replace(two_tower.DEFAULT, seed=seed)
    towers = two_tower.train(trained_on, settings)
    fold_in, items = two_tower.fold_in(towers, settings), two_tower.factors_of_items(towers)
    asked = HeldOut(ua.train, ua.test.only(np.isin(ua.test.users(), cold)))
    likes = ua.train.only(ua.train.liked & np.isin(ua.train.users(), cold))
    few = few_likes(likes, seed)
    weights = yardsticks.ease_weights(yardsticks.matrix(trained_on, 0.5), EASE_RIDGE)
    popular = yardsticks.popularity(trained_on)
    found = {}
    for name, known in (("user_auc", likes), ("user_auc_5", few)):
        users = np.concatenate(list(two_tower.factors_of_users(fold_in, known)))
        found[name] = asked.rank(items, users)
        found[f"{name}_ease"] = asked.rank_by((yardsticks.matrix(known, 0.0) @ weights).__getitem__)
    return {**found, "user_auc_popularity": asked.rank_by(popular.__getitem__)}


def few_likes(likes: Feedback, seed: int) -> Feedback:
    """Return `FEW` of each user's rows."""
    rng = np.random.default_rng(seed)
    kept = np.zeros(len(likes.items), bool)
    for start, end in zip(likes.starts[:-1], likes.starts[1:], strict=True):
        kept[start + rng.permutation(end - start)[:FEW]] = True
    return likes.only(kept)


def _items(folder: Path, features: Path | None, seeds: Sequence[int]) -> list[Figure]:
    found = embedded(folder / "images", "ikea", features)
    rooms = read_groups(folder / "rooms.csv", item_ids=found.ids)
    ours, profiles, standardised, gains = [], [], [], []
    for seed in seeds:
        case = item_case(folder, found, seed)
        ours.append(case.by_factors.mean_auc())
        profiles.append(case.by_looks.mean_auc())
        standardised.append(case.by_standardised_looks.mean_auc())
        gains.append(case.by_factors.auc - case.by_looks.auc)
    low, high = ranking.interval(gains[0], seed=0)
    protocol = (
        f"{len(rooms.group_ids)} rooms as users, a fifth of the items left out; for each room with items on both sides "
        f"those left out are the candidates, those shown in it are relevant; {BACKBONE} features; mean over rooms"
    )
    gain = f"{protocol}; 95 % of bootstraps over the rooms of the first seed between {low:.3f} and {high:.3f}"
    return [
        Figure.over_seeds(
            "cold.item_auc_gain", [float(one.mean()) for one in gains], 0.05, "AUC", "higher",
            f"factors from pictures, less the cosine to the mean picture; {gain}",
        ),
        Figure("cold.item_auc_gain_low", low, None, "AUC", "higher", f"lower end of that interval; {protocol}"),
        Figure.over_seeds("cold.item_auc", ours, None, "AUC", "higher", f"factors from pictures; {protocol}"),
        Figure.over_seeds(
            "cold.item_auc_mean_picture", profiles, None, "AUC", "higher", f"cosine to the mean picture; {protocol}"
        ),
        Figure.over_seeds(
            "cold.item_auc_mean_standardised", standardised, None, "AUC", "higher",
            f"cosine to the mean picture, each feature standardised; {protocol}",
        ),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ColdItems:
    """Rooms as users, and items that were left out of training; numbers are places in the ids of their side.

    Attributes:
        room_ids: U.
        rooms: `[U, D]`, their factors.
        shown: `[S, 2]`, a room and an item in it that was trained on.
        warm_ids: the items trained on, with `warm_factors` `[W, D]` and `warm_looks` `[W, F]`.
        cold_ids: the items left out, with `cold_factors` predicted from their pictures, and `cold_looks`.
        fold_in: how rooms got their factors.
        relevant: rooms with items on both sides, and an item left out that is shown there.
        by_factors: how the items left out are ranked by predicted factors.
        by_looks: by the mean picture of a room's other items.
        by_standardised_looks: by that, each feature standardised.
    """

    room_ids: Sequence[str]
    rooms: NDArray[np.float32]
    shown: NDArray[np.int64]
    warm_ids: Sequence[str]
    warm_factors: NDArray[np.float32]
    warm_looks: NDArray[np.float32]
    cold_ids: Sequence[str]
    cold_factors: NDArray[np.float32]
    cold_looks: NDArray[np.float32]
    fold_in: FoldIn
    relevant: tuple[NDArray[np.int64], NDArray[np.int64]]
    by_factors: Ranking
    by_looks: Ranking
    by_standardised_looks: Ranking


def item_case(folder: Path, found: Features, seed: int) -> ColdItems:
    """Leave a fifth of the items out, train on the others, and rank those left out for each room."""
    rooms, features = read_groups(folder / "rooms.csv", item_ids=found.ids), np.asarray(found.rows)
    used = np.unique(rooms.items)
    split = splits.held_out([rooms.item_ids[item] for item in used.tolist()], len(used) // 5, seed=seed)
    cold, warm = used[split["test"]], used[split["train"]]
    place = np.full(len(rooms.item_ids), -1)
    place[warm] = np.arange(len(warm))
    seen = place[rooms.items] >= 0
    shown = np.stack([rooms.groups[seen], place[rooms.items[seen]]], axis=1).astype(np.int64)
    feedback = Feedback.of_acts(shown[:, 0], shown[:, 1], np.ones(len(shown), bool), len(rooms.group_ids), len(warm))
    preparation = Preparation.of(features[warm])
    settings = replace(two_tower.DEFAULT, seed=seed)
    towers = two_tower.train(feedback, settings, preparation.apply(features[warm]))
    fold_in = two_tower.fold_in(towers, settings)
    users = np.concatenate(list(two_tower.factors_of_users(fold_in, feedback)))
    place[cold] = np.arange(len(cold))
    with_both = np.isin(rooms.groups, rooms.groups[seen])
    relevant = rooms.groups[~seen & with_both], place[rooms.items[~seen & with_both]]
    nothing = np.empty(0, np.int64), np.empty(0, np.int64)

    def ranked(of_users: NDArray[np.float32], of_items: NDArray[np.float32]) -> Ranking:
        return ranking.rank(lambda block: of_users[block] @ of_items.T, relevant, nothing, items=len(cold))

    scaled = (features - preparation.mean) / preparation.deviation
    predicted = pictures.factors(preparation, towers, features[cold])
    return ColdItems(
        rooms.group_ids,
        users,
        shown,
        [rooms.item_ids[item] for item in warm.tolist()],
        two_tower.factors_of_items(towers),
        features[warm],
        [rooms.item_ids[item] for item in cold.tolist()],
        predicted,
        features[cold],
        fold_in,
        relevant,
        ranked(users, predicted),
        ranked(_profiles(feedback, _unit(features[warm])), _unit(features[cold])),
        ranked(_profiles(feedback, _unit(scaled[warm])), _unit(scaled[cold])),
    )


def _profiles(feedback: Feedback, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean row of each user's items, `[U, F]`; zeros for users without any."""
    sums = np.zeros((feedback.user_count, rows.shape[1]), np.float32)
    np.add.at(sums, feedback.users(), rows[feedback.items])
    return sums / np.maximum(np.diff(feedback.starts), 1)[:, np.newaxis].astype(np.float32)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
