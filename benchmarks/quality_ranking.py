"""What RankForUser is worth: all users of MovieLens through the service, and users and items that training never saw.

`rank.auc_gap`: how far the AUC over all users with a liked film in the test part, computed from the scores that the
service gives, is from that of the training's own factors: the larger of stored factors and factors folded in from
stored interactions, all films compared. `cold.user_auc_served`, `cold.user_auc_5_served`: 100 users left out of
training, sent as inline histories. `cold.item_auc_gain_served`: rooms as users and a fifth of the items left out, which
have factors predicted from their pictures; AUC above that of the mean picture (`visual_weight` 1).
`cold.*_gap_served`: how far each is from what the training computes.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import DataOption
from benchmarks.features import BACKBONE, embedded
from benchmarks.figures import Figure, machine, write
from benchmarks.quality_cold import FEW, USERS, few_likes, item_case
from benchmarks.rank_service import serving_ranks
from twinset import Act, Client, Interaction, Item, Vector
from twinset.contract import Metric
from twinset.factors import FoldIn, Manifest, open_factors, predicted_space
from twinset.ranking import Ranking as ServedRanking
from twinset_exporter import tensorflow_noise
from twinset_exporter.datasets import movielens, splits
from twinset_exporter.measures import ranking
from twinset_exporter.measures.ranking import Ranking
from twinset_exporter.training.taste import factor_files, two_tower
from twinset_exporter.training.taste.feedback import Feedback
from twinset_exporter.training.taste.validation import HeldOut, factors
from twinset_server.config import ExternalSpace

LIKED_FROM = 4.0
SEED = 0
_RATED = "rate"

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a training gives, by its own numbers of users and items."""

    user_ids: Sequence[str]
    item_ids: Sequence[str]
    users: NDArray[np.float32]
    items: NDArray[np.float32]
    fold_in: FoldIn

    def write(self, folder: Path) -> Manifest:
        """Write the folder that a server imports."""
        return factor_files.write(
            folder,
            item_ids=self.item_ids,
            items=self.items,
            user_ids=self.user_ids,
            users=[self.users],
            fold_in=self.fold_in,
            liked_from=LIKED_FROM,
        )


def main() -> None:
    """Train, import, ask, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "ml-100k, and ikea with rooms.csv and images")
    parser.add_argument("--features", type=Path, metavar="DIR", help="of ikea/images, as embed writes them")
    parser.add_argument("--folder", type=Path, default=Path("build/bench-ranking"), help="where catalogues are made")
    arguments = parser.parse_args()
    tensorflow_noise.silence()
    folder = data.required(arguments)
    shutil.rmtree(arguments.folder, ignore_errors=True)
    published = movielens.read_published(folder / "ml-100k")
    ua = HeldOut(Feedback.of(published.train, LIKED_FROM), Feedback.of(published.test, LIKED_FROM))
    ids = published.train.user_ids, published.train.item_ids
    figures = [
        _all_users(ua, *ids, arguments.folder / "all"),
        *_cold_users(ua, *ids, arguments.folder / "cold-users"),
        *_cold_items(folder / "ikea", arguments.features, arguments.folder / "cold-items"),
    ]
    write("quality_ranking", figures)


def _all_users(ua: HeldOut, user_ids: Sequence[str], item_ids: Sequence[str], folder: Path) -> Figure:
    trained = _train(ua.train, user_ids, item_ids)
    trained.write(folder / "factors")
    ours = ua.rank(trained.items, trained.users).mean_auc()
    acts = [
        Interaction(user_ids[user], item_ids[item], _RATED, LIKED_FROM if liked else 1.0)
        for user, item, liked in zip(ua.train.users(), ua.train.items, ua.train.liked, strict=True)
    ]
    found = {}
    with serving_ranks(folder / "store") as service, Client(service.address, timeout_s=60) as client:
        _put(client, [Item(item_id) for item_id in item_ids])
        _checked(client.put_interactions(acts))
        last = client.catalog().sequence
        # With 0 every user is folded in, of whom interactions are stored.
        for rung, through in (("stored_factors", last), ("folded_in", 0)):
            client.import_factors(open_factors(folder / "factors"), interactions_through=through)
            ask = _asking(client, item_ids, rung)
            found[rung] = ua.rank_by(lambda block, ask=ask: np.stack([ask(user_ids[one]) for one in block])).mean_auc()
    gaps = {rung: abs(auc - ours) for rung, auc in found.items()}
    told = ", ".join(f"{auc:.6f} by {rung}" for rung, auc in found.items())
    return Figure(
        "rank.auc_gap", max(gaps.values()), 1e-3, "AUC", "lower",
        f"MovieLens 100K, split ua, seed {SEED}; {len(user_ids)} users imported, all films as candidates, exact; AUC "
        f"of the training {ours:.6f}; of the service {told}; {machine('numpy')}",
        1e-3,
    )  # fmt: skip


def _cold_users(ua: HeldOut, user_ids: Sequence[str], item_ids: Sequence[str], folder: Path) -> Iterable[Figure]:
    cold = splits.held_out(user_ids, USERS, seed=SEED)["test"]
    trained = _train(ua.train.only(~np.isin(ua.train.users(), cold)), user_ids, item_ids)
    # Whoever was left out isn't imported either.
    warm = np.setdiff1d(np.arange(len(user_ids)), cold)
    replace(trained, user_ids=[user_ids[one] for one in warm], users=trained.users[warm]).write(folder / "factors")
    asked = HeldOut(ua.train, ua.test.only(np.isin(ua.test.users(), cold)))
    likes = ua.train.only(ua.train.liked & np.isin(ua.train.users(), cold))
    with serving_ranks(folder / "store") as service, Client(service.address, timeout_s=60) as client:
        _put(client, [Item(item_id) for item_id in item_ids])
        client.import_factors(open_factors(folder / "factors"))
        ask = _asking(client, item_ids, "folded_in")
        for name, known in (("user_auc", likes), ("user_auc_5", few_likes(likes, SEED))):
            histories = _histories(known, item_ids)
            served = asked.rank_by(lambda block, h=histories: np.stack([ask(h[int(one)]) for one in block])).mean_auc()
            users = np.concatenate(list(two_tower.factors_of_users(trained.fold_in, known)))
            ours = asked.rank(trained.items, users).mean_auc()
            words = "all their likes" if known is likes else f"{FEW} of their likes"
            protocol = (
                f"MovieLens 100K, split ua, seed {SEED}; {USERS} users left out of training, sent as histories of "
                f"{words} in ua.base; all films but those liked there; the training computes {ours:.6f}"
            )
            yield Figure(f"cold.{name}_served", served, None, "AUC", "higher", protocol)
            yield Figure(f"cold.{name}_gap_served", abs(served - ours), 1e-3, "AUC", "lower", protocol, 1e-3)


def _cold_items(folder: Path, features: Path | None, place: Path) -> Iterable[Figure]:
    found = embedded(folder / "images", "ikea", features)
    case = item_case(folder, found, SEED)
    manifest = factor_files.write(
        place / "factors",
        item_ids=case.warm_ids,
        items=case.warm_factors,
        user_ids=case.room_ids,
        users=[case.rooms],
        fold_in=case.fold_in,
    )
    predicted = predicted_space(manifest.fingerprint)
    looks = np.asarray(found.rows).shape[1]
    spaces = {
        "visual": ExternalSpace(dimension=looks, metric=Metric.COSINE),
        predicted: ExternalSpace(dimension=manifest.dimension, metric=Metric.INNER_PRODUCT),
    }
    acts = [Interaction(case.room_ids[room], case.warm_ids[item], "shown") for room, item in case.shown]
    with serving_ranks(place / "store", spaces) as service, Client(service.address, timeout_s=60) as client:
        _put(
            client,
            [Item(i, vectors=[Vector(row, "visual")]) for i, row in zip(case.warm_ids, case.warm_looks, strict=True)],
        )
        cold = zip(case.cold_ids, case.cold_looks, case.cold_factors, strict=True)
        _put(client, [Item(i, vectors=[Vector(row, "visual"), Vector(own, predicted)]) for i, row, own in cold])
        _checked(client.put_interactions(acts))
        client.import_factors(open_factors(place / "factors"), interactions_through=client.catalog().sequence)
        aucs = {}
        for name, weight in (("factors", 0.0), ("looks", 1.0)):
            ask = _asking(client, case.cold_ids, "stored_factors", weight)
            aucs[name] = _judged(case.relevant, len(case.cold_ids), lambda block, ask=ask: np.stack(
                [ask(case.room_ids[one]) for one in block]
            )).mean_auc()  # fmt: skip
    served = aucs["factors"] - aucs["looks"]
    ours = case.by_factors.mean_auc() - case.by_looks.mean_auc()
    protocol = (
        f"{len(case.room_ids)} rooms as users, a fifth of the items left out, seed {SEED}; those left out are the "
        f"candidates; {BACKBONE} features; by predicted factors {aucs['factors']:.6f}, by the mean picture "
        f"{aucs['looks']:.6f}; the training computes a gain of {ours:.6f}"
    )
    yield Figure("cold.item_auc_gain_served", served, 0.05, "AUC", "higher", protocol)
    yield Figure("cold.item_auc_gap_served", abs(served - ours), 1e-3, "AUC", "lower", protocol, 1e-3)


def _train(feedback: Feedback, user_ids: Sequence[str], item_ids: Sequence[str]) -> Trained:
    settings = replace(two_tower.DEFAULT, seed=SEED)
    towers = two_tower.train(feedback, settings)
    items, users = factors(towers, feedback, settings)
    return Trained(user_ids, item_ids, users, items, two_tower.fold_in(towers, settings))


def _asking(
    client: Client, item_ids: Sequence[str], rung: str, visual_weight: float = 0.0
) -> Callable[[str | Sequence[Act]], Scores]:
    """Return what asks for the scores of all items, `[I]`, for somebody.

    Raises:
        RuntimeError: the answer stands on another rung, or lacks an item.
    """
    place = {item_id: number for number, item_id in enumerate(item_ids)}

    def ask(user: str | Sequence[Act]) -> Scores:
        found: ServedRanking = client.rank_for_user(user, item_ids, k=len(item_ids), visual_weight=visual_weight)
        if (found.rung, len(found), found.exact) != (rung, len(item_ids), True):
            raise RuntimeError(f"asked for {len(item_ids)} by {rung}, got {len(found)} by {found.rung}")
        scores = np.empty(len(item_ids))
        scores[[place[one.item.id] for one in found]] = [one.score for one in found]
        return scores

    return ask


def _histories(known: Feedback, item_ids: Sequence[str]) -> Mapping[int, list[Act]]:
    found: dict[int, list[Act]] = {}
    for user, item in zip(known.users().tolist(), known.items.tolist(), strict=True):
        found.setdefault(user, []).append(Act(item_ids[item], "like", LIKED_FROM))
    return found


def _judged(
    relevant: tuple[NDArray[np.int64], NDArray[np.int64]], items: int, scores: Callable[[NDArray[np.int64]], Scores]
) -> Ranking:
    nothing = np.empty(0, np.int64), np.empty(0, np.int64)
    return ranking.rank(scores, relevant, nothing, items=items)


def _put(client: Client, items: Sequence[Item]) -> None:
    _checked(client.put_items(items))


def _checked(results: Iterable[object]) -> None:
    for result in results:
        if (error := getattr(result, "error", None)) is not None:
            raise error


if __name__ == "__main__":
    main()
