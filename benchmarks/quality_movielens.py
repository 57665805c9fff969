"""How well taste models rank the films of MovieLens 100K.

Figures, on the split `ua`: `ml100k.auc.default`, with recall@10 and nDCG@10, and the same without low-rated films
(`.low_excluded`); the published triplet models `ml100k.auc.triplet_cosine`, `ml100k.auc.triplet_mlp` and the repaired
`ml100k.auc.triplet_mlp_repaired`; the yardsticks `ml100k.auc.popularity`, `.ease` and `.ials`; `ml100k.train_s`. On
five splits of `u.data` made like `ua` for each seed: `ml100k.auc.default_5splits`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import DataOption
from benchmarks.figures import Figure, machine, write
from twinset_exporter import tensorflow_noise
from twinset_exporter.datasets import movielens, splits
from twinset_exporter.datasets.interactions import Interactions
from twinset_exporter.measures.ranking import Ranking
from twinset_exporter.training.taste import triplet, two_tower, yardsticks
from twinset_exporter.training.taste.feedback import Feedback
from twinset_exporter.training.taste.validation import HeldOut, factors

LIKED_FROM = 4.0
SPLITS = 5

_PROTOCOL = (
    "MovieLens 100K; liked is rated 4 or more; candidates of a user are all films but those liked in training; "
    "mean over users with a liked film in the test part"
)


def main() -> None:
    """Train every model and rank by it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "ml-100k/u.data, u.item, ua.base and ua.test")
    parser.add_argument("--seeds", type=int, default=3, help="so many of each training (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, help="the seeds are this and the next ones")
    arguments = parser.parse_args()
    folder = data.required(arguments) / "ml-100k"
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    tensorflow_noise.silence()

    published = movielens.read_published(folder)
    ua = _held_out(published.train, published.test)
    figures = [
        *_default(ua, seeds),
        _five_splits(folder, published.movies.ids, seeds),
        *_triplets(ua, seeds),
        *_yardsticks(ua),
    ]
    write("quality_movielens", figures)


def _default(ua: HeldOut, seeds: Sequence[int]) -> list[Figure]:
    rankings: list[tuple[Ranking, Ranking]] = []
    seconds = []
    for seed in seeds:
        started = time.perf_counter()
        items, users = _trained(ua.train, seed)
        seconds.append(time.perf_counter() - started)
        rankings.append((ua.rank(items, users), ua.rank(items, users, known=False)))
    found = []
    for place, (suffix, words) in enumerate((("", ""), (".low_excluded", ", nor those rated lower there"))):
        chosen = [ranking[place] for ranking in rankings]
        protocol = f"split ua{words}; two towers; {_PROTOCOL}"
        aucs = [ranking.mean_auc() for ranking in chosen]
        bounds = (0.942, 0.955) if not suffix else (None, None)
        found += [
            Figure.over_seeds(f"ml100k.auc.default{suffix}", aucs, bounds[1], "AUC", "higher", protocol, bounds[0]),
            _mean(f"ml100k.recall10.default{suffix}", [r.mean_recall() for r in chosen], "share", protocol),
            _mean(f"ml100k.ndcg10.default{suffix}", [r.mean_ndcg() for r in chosen], "nDCG", protocol),
        ]
    timed = f"two towers on ua, factors included; {machine('numpy')}"
    return [*found, Figure.over_seeds("ml100k.train_s", seconds, 10, "s", "lower", timed, 20)]


def _five_splits(folder: Path, films: Sequence[str], seeds: Sequence[int]) -> Figure:
    ratings = movielens.read_ratings(folder / "u.data", item_ids=films)
    means = []
    for seed in seeds:
        aucs = []
        for number in range(SPLITS):
            split = splits.held_out_ratings(ratings, seed=SPLITS * seed + number)
            held_out = _held_out(ratings.rows(split["train"]), ratings.rows(split["test"]))
            aucs.append(held_out.rank(*_trained(held_out.train, seed)).mean_auc())
        means.append(float(np.mean(aucs)))
    protocol = f"mean of {SPLITS} splits of u.data, ten ratings of each user held out; two towers; {_PROTOCOL}"
    return Figure.over_seeds("ml100k.auc.default_5splits", means, 0.955, "AUC", "higher", protocol, 0.942)


def _triplets(ua: HeldOut, seeds: Sequence[int]) -> list[Figure]:
    bounds: dict[triplet.Score, float | None] = {"cosine": 0.9199, "mlp": 0.9115, "mlp_repaired": None}
    found = []
    for score, bound in bounds.items():
        aucs = []
        for seed in seeds:
            model = triplet.train(ua.train, triplet.Settings(score, seed))
            aucs.append(ua.rank_by(model.scores).mean_auc())
        protocol = f"split ua; triplets, {triplet.EPOCHS} epochs; {_PROTOCOL}"
        found.append(Figure.over_seeds(f"ml100k.auc.triplet_{score}", aucs, None, "AUC", "higher", protocol, bound))
    return found


def _yardsticks(ua: HeldOut) -> list[Figure]:
    models: dict[str, Callable[[Feedback], NDArray[np.float64]]] = {
        "popularity": yardsticks.popularity,
        "ease": yardsticks.ease,
        "ials": yardsticks.ials,
    }
    found = []
    for name, model in models.items():
        scores = model(ua.train)
        auc = ua.rank_by(scores.__getitem__).mean_auc()
        found.append(Figure(f"ml100k.auc.{name}", auc, None, "AUC", "higher", f"split ua; {_PROTOCOL}"))
    return found


def _trained(feedback: Feedback, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the factors of items and users by the default model."""
    settings = replace(two_tower.DEFAULT, seed=seed)
    return factors(two_tower.train(feedback, settings), feedback, settings)


def _held_out(train: Interactions, test: Interactions) -> HeldOut:
    return HeldOut(Feedback.of(train, LIKED_FROM), Feedback.of(test, LIKED_FROM))


def _mean(name: str, values: Sequence[float], unit: str, protocol: str) -> Figure:
    return Figure.over_seeds(name, values, None, unit, "higher", protocol)


if __name__ == "__main__":
    main()
