"""What pairs and sets are worth through the service: IKEA's rooms, cross-validated by room.

Each fold's head knows the other rooms alone. Its vectors are put into a catalogue, and pairs are asked for over gRPC.

`pairs.auc_gap`: how far the AUC of BatchScorePairs over the pairs that judge the fold is from the one that the
training computes of the same pairs, at most over the folds; `pairs.ece_gap`: the same of the expected calibration
error. `complete.fitb`: one item is taken out of a room, and CompleteSet chooses among it and three others of its type,
drawn from all that don't look like it and aren't in the room; the share of rooms' items that it finds, chance .25. A
question needs another item in the room and three others of the type. `complete.fitb.low` and `.high` are the interval
that holds 95 % of bootstraps over rooms.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import DataOption
from benchmarks.features import embedded
from benchmarks.figures import Figure, machine, write
from benchmarks.pair_service import Pieces, contract_of, fill, serving_pairs
from benchmarks.quality_ikea import FOLDS, JUDGING_SEED, read_rooms, trained
from twinset import Client, Slot
from twinset.contract import Metric
from twinset_exporter.datasets import splits
from twinset_exporter.measures import pairs as measure
from twinset_exporter.measures.calibration import reliability
from twinset_exporter.training.compatibility import objective, publication
from twinset_exporter.training.compatibility.examples import Rooms
from twinset_exporter.training.compatibility.judging import Sample
from twinset_exporter.training.compatibility.sides import Sides
from twinset_exporter.training.compatibility.trainer import Recipe

CANDIDATES = 4
MOST_GIVEN = 32
BOOTSTRAPS = 2000


@dataclass(frozen=True, slots=True)
class Question:
    """An item that was taken out of a room, what is left there, and what it is among."""

    room: int
    answer: str
    given: list[str]
    candidates: list[str]


@dataclass(frozen=True, slots=True)
class Judged:
    """AUC, by the mean log odds of both directions, and calibration error of each direction."""

    auc: float
    ece: float


def main() -> None:
    """Train each fold, ask the service, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "ikea/items.csv, ikea/rooms.csv and ikea/images")
    parser.add_argument("--features", type=Path, help="what embed wrote of ikea/images (default: embed them now)")
    parser.add_argument("--folder", type=Path, default=Path("build/bench-pairs"), help="where catalogues are made")
    parser.add_argument("--metric", choices=("inner_product", "euclidean"), default="inner_product")
    arguments = parser.parse_args()
    folder = data.required(arguments) / "ikea"
    features = embedded(folder / "images", "ikea", arguments.features)
    rooms = read_rooms(folder, features.ids, features.rows)
    recipe = Recipe(across=True, metric=Metric(arguments.metric))
    gaps, right = [], []
    for number, fold in enumerate(splits.folds(rooms.groups.group_ids, FOLDS, seed=0)):
        sides = trained(rooms, fold["train"], recipe, 0)
        source, target = sides.vectors(rooms.items.features, rooms.items.categories)
        contract = contract_of(sides.metric, sides.dimension, publication.contract(sides, prior=0.5, ece=0.0))
        place = arguments.folder / f"fold-{number}"
        shutil.rmtree(place, ignore_errors=True)
        fill(place, contract, Pieces(rooms.items.ids, source, target))
        sample = rooms.sample(rooms.true(fold["train"]), fold["test"], seed=JUDGING_SEED)
        with serving_pairs(place, contract) as address, Client(address) as client:
            ours, theirs = _by_service(client, rooms, sample), _by_training(sides, source, target, sample)
            gaps.append((abs(ours.auc - theirs.auc), abs(ours.ece - theirs.ece)))
            right += [(q.room, _is_right(client, q)) for q in questions(rooms, fold["test"])]
        print(
            f"fold {number}: AUC {ours.auc:.6f}, by the training {theirs.auc:.6f}; ECE {ours.ece:.6f}, "
            f"{theirs.ece:.6f}; filled in {np.mean([one for _, one in right]):.4f} of {len(right)} so far",
            flush=True,
        )
    write("quality_pairs", _figures(rooms, arguments.metric, np.array(gaps), np.array(right)))


def questions(rooms: Rooms, held_out: NDArray[np.integer]) -> Iterator[Question]:
    """Yield a question for each item of each room that has one."""
    items, chance = rooms.items, np.random.default_rng(0)
    for room in held_out.tolist():
        members = np.unique(rooms.groups.items[rooms.groups.groups == room])
        for answer in members.tolist():
            given = [items.ids[one] for one in members.tolist() if one != answer]
            others = np.flatnonzero(
                (items.categories == items.categories[answer]) & ~np.isin(items.looks, items.looks[members])
            )
            if not given or len(others) < CANDIDATES - 1 or not items.categories[answer]:
                continue
            drawn = chance.choice(others, CANDIDATES - 1, replace=False).tolist()
            kept = chance.permutation(given)[:MOST_GIVEN].tolist()
            yield Question(room, items.ids[answer], kept, [items.ids[one] for one in (answer, *drawn)])


def _is_right(client: Client, question: Question) -> bool:
    found = client.complete_set(
        question.given, [Slot(candidates=question.candidates)], both_directions=True, alternatives=0
    )
    chosen = found.slots[0].chosen
    return chosen is not None and chosen.item.id == question.answer


def _by_service(client: Client, rooms: Rooms, sample: Sample) -> Judged:
    left, right = ([rooms.items.ids[item] for item in side.tolist()] for side in (sample.sources, sample.targets))
    scored = client.score_pairs(left, right, both_directions=True)
    assert scored.reverse_probabilities is not None  # noqa: S101 - asked for
    both = np.stack([scored.probabilities, scored.reverse_probabilities])
    return _judged(sample, np.log(both) - np.log1p(-both))


def _by_training(sides: Sides, source: NDArray[np.float32], target: NDArray[np.float32], sample: Sample) -> Judged:
    forth = sides.log_odds(source[sample.sources], target[sample.targets])
    back = sides.log_odds(source[sample.targets], target[sample.sources])
    return _judged(sample, np.stack([forth, back]))


def _judged(sample: Sample, log_odds: NDArray[np.float64]) -> Judged:
    both = log_odds.sum(axis=0)
    error = reliability(np.tile(sample.truths, 2), objective.probabilities(log_odds.ravel())).error
    return Judged(measure.auc(both[sample.truths], both[~sample.truths]), float(error))


def _figures(rooms: Rooms, metric: str, gaps: NDArray[np.float64], right: NDArray[np.int64]) -> list[Figure]:
    told = f"{len(rooms.groups.group_ids)} rooms in {FOLDS} folds; {metric}; {machine('twinset', 'numpy')}"
    compared = f"the most over the folds, through the service, against the training's own judgement; {told}"
    by_room = [right[right[:, 0] == room, 1] for room in np.unique(right[:, 0])]
    found, asked = np.array([part.sum() for part in by_room]), np.array([len(part) for part in by_room])
    drawn = np.random.default_rng(0).integers(0, len(by_room), (BOOTSTRAPS, len(by_room)))
    shares = found[drawn].sum(axis=1) / asked[drawn].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    protocol = (
        f"{len(right)} questions of {len(by_room)} rooms, {CANDIDATES} candidates of one type, chance "
        f"{1 / CANDIDATES}; types given, pairs count both ways; interval by {BOOTSTRAPS} bootstraps over rooms; {told}"
    )
    return [
        Figure("pairs.auc_gap", float(gaps[:, 0].max()), None, "share", "lower", compared, 1e-3),
        Figure("pairs.ece_gap", float(gaps[:, 1].max()), None, "share", "lower", compared, 1e-3),
        Figure("complete.fitb", float(right[:, 1].mean()), 0.40, "share", "higher", protocol, 0.25),
        Figure("complete.fitb.low", float(low), None, "share", "higher", protocol),
        Figure("complete.fitb.high", float(high), None, "share", "higher", protocol),
    ]


if __name__ == "__main__":
    main()
