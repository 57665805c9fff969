"""How well the compatibility head tells what goes together in rooms that it never saw: IKEA's, cross-validated by room.

True pairs are shown together in a room held out and in no room trained on, of different types and with different
pictures; as many others are drawn from the items of the rooms held out, of different types, never shown together. A
pair's score is the mean log odds of its two directions, probabilities are judged in each. Every network, with how long
it trains and its calibration, comes from the rooms that it is trained on alone.

Figures: `ikea.auc.with_type`, the type of each side given; `ikea.auc.pictures`, none given; `ikea.auc.type_matched`,
against pairs of the same two types, types given (`.pictures`: none given); `ikea.ece` and `ikea.log_loss_gain` of the
probabilities with types (`.pictures`: without), all by the inner product, and once by the Euclidean metric
(`.euclidean`); `ikea.auc.published.METRIC.NEGATIVES` of the model as published, without the pairs that judge in its
training, and each metric trained on its own.

With --model, an exported model is judged on all rooms of the data folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import DataOption
from benchmarks.features import embedded
from benchmarks.figures import Figure, machine, write
from twinset.contract import Metric
from twinset.images import decode
from twinset_exporter.datasets import splits
from twinset_exporter.datasets.groups import read_groups
from twinset_exporter.datasets.lines import read_columns
from twinset_exporter.measures import pairs as measure
from twinset_exporter.measures.calibration import reliability
from twinset_exporter.training.compatibility import crossfit, objective, published
from twinset_exporter.training.compatibility.categories import UNKNOWN, numbered
from twinset_exporter.training.compatibility.examples import Items, Rooms, named, same_looks
from twinset_exporter.training.compatibility.judging import Sample
from twinset_exporter.training.compatibility.relation import Relation
from twinset_exporter.training.compatibility.run import FOLDS as FOLDS_WITHIN
from twinset_exporter.training.compatibility.sampling import CategoryIndex
from twinset_exporter.training.compatibility.sides import Sides
from twinset_exporter.training.compatibility.trainer import Recipe

FOLDS = 5

JUDGING_SEED = 0
NAME = "quality_ikea"

LogOdds = Callable[[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]], NDArray[np.floating]]
"""From sources, targets and the categories of all items to log odds."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Both directions of pairs: those of `forth` first."""

    truths: NDArray[np.bool_]
    forth: NDArray[np.float64]
    back: NDArray[np.float64]

    @property
    def auc(self) -> float:
        """By the mean of both directions."""
        both = self.forth + self.back
        return measure.auc(both[self.truths], both[~self.truths])


def main() -> None:
    """Judge an exported model, or cross-validate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "ikea/items.csv, ikea/rooms.csv and ikea/images")
    parser.add_argument("--features", type=Path, help="what embed wrote of ikea/images (default: embed them now)")
    parser.add_argument("--seeds", type=int, default=3, help="how many splits and trainings by the inner product")
    parser.add_argument("--published-steps", type=int, default=10_000, help="of the published loop; 0 to leave it out")
    parser.add_argument("--model", metavar="NAME", help="judge this exported model, and train nothing")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"), help="where the model is")
    parser.add_argument("--trained-on", type=Path, metavar="CSV", help="the rooms that the model was trained on")
    arguments = parser.parse_args()
    folder = data.required(arguments) / "ikea"
    if arguments.model is not None:
        write(f"{NAME}.{arguments.model}", judge_model(folder, arguments))
        return
    features = embedded(folder / "images", "ikea", arguments.features)
    rooms = read_rooms(folder, features.ids, features.rows)
    figures = []
    recipe = Recipe(across=True)
    for metric, seeds in ((Metric.INNER_PRODUCT, arguments.seeds), (Metric.EUCLIDEAN, 1)):
        figures += _ours(rooms, replace(recipe, metric=metric), range(seeds))
    if arguments.published_steps:
        figures += _as_published(rooms, arguments.published_steps)
    write(NAME, figures)


def _ours(rooms: Rooms, recipe: Recipe, seeds: Sequence[int]) -> list[Figure]:
    """Return the figures of our head, the mean over seeds of splits and trainings."""
    values: dict[str, list[float]] = {}
    started, checksums = time.perf_counter(), []
    for seed in seeds:
        found = splits.folds(rooms.groups.group_ids, FOLDS, seed=seed)
        checksums.append(found[0].checksum[:8])
        folds = [_judged(rooms, _log_odds(rooms, trained(rooms, fold["train"], recipe, seed)), fold) for fold in found]
        for name, value in _values(folds).items():
            values.setdefault(name, []).append(value)
        told = ", ".join(f"{name} {taken[-1]:.4f}" for name, taken in values.items())
        print(f"{recipe.metric.value}, seed {seed}: {told}", flush=True)
    seconds = (time.perf_counter() - started) / len(seeds) / FOLDS
    protocol = (
        f"{len(rooms.groups.group_ids)} rooms in {FOLDS} folds, mean over the folds; {recipe.metric.value}; a training "
        f"with its {FOLDS_WITHIN} inner folds takes {seconds:.0f} s; splits {', '.join(checksums)}; "
        f"{machine('twinset', 'numpy')}"
    )
    return _figures(values, "" if recipe.metric is Metric.INNER_PRODUCT else ".euclidean", protocol)


def _figures(values: dict[str, list[float]], suffix: str, protocol: str) -> list[Figure]:
    limits: dict[str, tuple[float | None, float | None]] = {
        "ikea.auc.with_type": (0.72, 0.78),
        "ikea.auc.pictures": (0.62, 0.68),
        "ikea.auc.type_matched": (None, 0.60),
        "ikea.ece": (0.03, None),
        "ikea.log_loss_gain": (0.03, None),
    }
    figures = []
    for name, taken in values.items():
        bound, aim = limits.get(name, (None, None)) if not suffix else (None, None)
        unit = "nats" if "log_loss" in name else "share"
        better: str = "lower" if "ece" in name else "higher"
        figures.append(
            Figure.over_seeds(
                f"{name}{suffix}", taken, aim, unit, "lower" if better == "lower" else "higher", protocol, bound
            )
        )
    return figures


def trained(rooms: Rooms, train: NDArray[np.int64], recipe: Recipe, seed: int) -> Sides:
    """Return a head that knows the rooms at the places `train` alone."""
    ids = [rooms.groups.group_ids[place] for place in train]
    parts = [
        rooms.part(train[inner["train"]], train[inner["test"]], seed=seed)
        for inner in splits.folds(ids, FOLDS_WITHIN, seed=seed)
    ]
    whole = rooms.part(train, train[:0], seed=seed)
    return crossfit.train(rooms.items, parts, whole, recipe, seed=seed, watch=crossfit.unwatched).sides


def _log_odds(rooms: Rooms, sides: Sides) -> LogOdds:
    given = rooms.items.categories
    vectors = {
        hidden: sides.vectors(rooms.items.features, np.zeros_like(given) if hidden else given)
        for hidden in (False, True)
    }

    def log_odds(
        sources: NDArray[np.int32], targets: NDArray[np.int32], categories: NDArray[np.int32]
    ) -> NDArray[np.floating]:
        u, v = vectors[not categories.any()]
        return sides.log_odds(u[sources], v[targets])

    return log_odds


def _judged(rooms: Rooms, log_odds: LogOdds, fold: splits.Split) -> dict[str, Judged]:
    return _all(rooms, log_odds, rooms.true(fold["train"]), fold["test"])


def _all(rooms: Rooms, log_odds: LogOdds, known: Relation, held_out: NDArray[np.int64]) -> dict[str, Judged]:
    """Return how the held-out rooms' pairs are judged, by what they are compared with and what is given."""
    given = rooms.items.categories
    judged = {}
    for name, matched in (("", False), ("type_matched", True)):
        sample = rooms.sample(known, held_out, seed=JUDGING_SEED, same_categories=matched)
        for told, categories in (("with_type", given), ("pictures", np.full_like(given, UNKNOWN))):
            judged[f"{name}.{told}".strip(".")] = _both_ways(sample, log_odds, categories)
    return judged


def _both_ways(sample: Sample, log_odds: LogOdds, categories: NDArray[np.int32]) -> Judged:
    forth = log_odds(sample.sources, sample.targets, categories)
    back = log_odds(sample.targets, sample.sources, categories)
    return Judged(sample.truths, np.asarray(forth, np.float64), np.asarray(back, np.float64))


def _values(folds: Sequence[dict[str, Judged]]) -> dict[str, float]:
    auc = {name: float(np.mean([fold[name].auc for fold in folds])) for name in folds[0]}
    values = {
        "ikea.auc.with_type": auc["with_type"],
        "ikea.auc.pictures": auc["pictures"],
        "ikea.auc.type_matched": auc["type_matched.with_type"],
        "ikea.auc.type_matched.pictures": auc["type_matched.pictures"],
    }
    for name, suffix in (("with_type", ""), ("pictures", ".pictures")):
        truths = np.concatenate([np.tile(fold[name].truths, 2) for fold in folds])
        log_odds = np.concatenate([np.concatenate((fold[name].forth, fold[name].back)) for fold in folds])
        values[f"ikea.ece{suffix}"] = reliability(truths, objective.probabilities(log_odds)).error
        gain = measure.constant_log_loss(truths) - measure.log_loss(truths, log_odds)
        values[f"ikea.log_loss_gain{suffix}"] = gain
    return values


def _as_published(rooms: Rooms, steps: int) -> list[Figure]:
    """Return the AUC of the published model by both metrics, with both kinds of negatives in training."""
    items, found = rooms.items, splits.folds(rooms.groups.group_ids, FOLDS, seed=0)
    figures = []
    for metric in (Metric.EUCLIDEAN, Metric.INNER_PRODUCT):
        for negatives in ("random", "same_category"):
            aucs, accuracies = [], []
            for fold in found:
                known = rooms.true(fold["train"])
                among = np.unique(known.sources)
                rng = np.random.default_rng(0)
                others = (
                    rng.choice(among, len(known))
                    if negatives == "random"
                    else CategoryIndex(items.categories, among).draw(known.targets, rng)
                )
                trainer = published.PublishedLoop(items.features, metric, seed=0, compiled=True)
                trainer.run(published.steps(known.sources, known.targets, others, steps, seed=0))
                model = trainer.model()
                sample = rooms.sample(known, fold["test"], seed=JUDGING_SEED)
                judged = _both_ways(
                    sample, lambda s, t, _, model=model: model.log_odds(items.features, s, t), items.categories
                )
                aucs.append(judged.auc)
                chances = objective.probabilities((judged.forth + judged.back) / 2)
                accuracies.append(measure.accuracy(judged.truths, chances))
            protocol = (
                f"as published: dimension 5, initial deviation .001, Adam at 1e-5, {steps:,} steps of one pair, "
                f"{negatives} negatives in training; pairs that judge left out of training; {FOLDS} folds, one seed"
            )
            for kind, taken in (("auc", aucs), ("accuracy", accuracies)):
                name = f"ikea.{kind}.published.{metric.value}.{negatives}"
                figures.append(Figure(name, float(np.mean(taken)), None, "share", "higher", protocol))
                print(f"{name} {np.mean(taken):.4f}", flush=True)
    return figures


def judge_model(folder: Path, arguments: argparse.Namespace) -> list[Figure]:
    """Return the figures of an exported model on all rooms of the folder."""
    from twinset_exporter.heads.chain import open_runtime
    from twinset_exporter.repository import PublishedModel, Repository

    model = Repository(arguments.repository).model(arguments.model)
    if not isinstance(model, PublishedModel):
        raise SystemExit(f"{model.path} is no published model, or broken: twinset-exporter models tells")
    contract, pair = model.contract, model.contract.pair
    if pair is None:
        raise SystemExit(f"{arguments.model} tells no probability of pairs: export the heads of a training of pairs")
    ids = [path.stem for path in sorted((folder / "images").glob("*.jpg"))]
    pixels = np.stack([decode((folder / "images" / f"{name}.jpg").read_bytes(), contract.pipeline) for name in ids])
    rooms = read_rooms(folder, ids, pixels.reshape(len(pixels), -1), contract.categories or None)
    runtime, given = open_runtime(model), rooms.items.categories
    vectors = {}
    for hidden in (False, True):
        categories = np.zeros_like(given) if hidden else given
        answers = runtime.run(pixels, categories=categories[:, None]) if contract.categories else runtime.run(pixels)
        vectors[hidden] = [
            answers[space.output]
            for name in ("pair_source", "pair_target")
            for space in contract.spaces
            if space.name == name
        ]
    euclidean = next(space.metric for space in contract.spaces if space.name == "pair_source") is Metric.EUCLIDEAN

    def log_odds(
        sources: NDArray[np.int32], targets: NDArray[np.int32], categories: NDArray[np.int32]
    ) -> NDArray[np.floating]:
        u, v = vectors[not categories.any()][0][sources], vectors[not categories.any()][1][targets]
        near = -((u - v) ** 2).sum(axis=1) if euclidean else (u * v).sum(axis=1)
        balanced = pair.shift - float(np.log(pair.prior / (1 - pair.prior)))
        return np.asarray(pair.scale * (pair.offset + near) + balanced)

    known = Relation(np.empty(0, np.int32), np.empty(0, np.int32), len(ids))
    if arguments.trained_on is not None:
        numbers = {name: place for place, name in enumerate(ids)}
        before = read_groups(arguments.trained_on).pairs()
        both = [[numbers.get(before.item_ids[item], -1) for item in side] for side in (before.left, before.right)]
        left, right = np.array(both, np.int32)
        here = (left >= 0) & (right >= 0)
        known = Relation(left[here], right[here], len(ids)).both_ways()
    held_out = np.arange(len(rooms.groups.group_ids))
    values = _values([_all(rooms, log_odds, known, held_out)])
    told = "less the pairs of the rooms that it was trained on" if arguments.trained_on else "taken for unseen"
    protocol = f"{arguments.model} on {len(held_out)} rooms, {told}; {machine('twinset', 'onnxruntime')}"
    return _figures({name: [value] for name, value in values.items()}, "", protocol)


def read_rooms(
    folder: Path, ids: Sequence[str], rows: NDArray[np.generic], names: tuple[str, ...] | None = None
) -> Rooms:
    """Return the rooms; `rows` tell which items look alike, `names` number the types as a model does."""
    given = dict(fields for _, fields in read_columns(folder / "items.csv", ("id", "type"), delimiter=","))
    types = [given[item_id] for item_id in ids]
    known = named(types) if names is None else names
    items = Items(tuple(ids), np.asarray(rows, np.float32), numbered(types, known), known, same_looks(rows))
    return Rooms(read_groups(folder / "rooms.csv", item_ids=ids), items)


if __name__ == "__main__":
    main()
