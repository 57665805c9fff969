"""Whether the compatibility head tells which way a pair goes, on a generated sample with a planted one-way relation.

Items have features of a few hidden causes; an item goes with those whose causes are its own, turned by a rotation.
Pairs whose reverse is true too are left out. A fifth of the pairs is held out.

Figures: `pairs.direction_auc`, the held-out pairs against themselves reversed, the less good of the two metrics;
`pairs.direction_auc.tied`, the same of a head whose two sides are one, which can't know.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.figures import Figure, machine, write
from twinset.contract import Metric
from twinset_exporter.datasets import splits
from twinset_exporter.datasets.pairs import Pairs
from twinset_exporter.measures.pairs import auc
from twinset_exporter.training.compatibility import crossfit
from twinset_exporter.training.compatibility.examples import Items, of_pairs
from twinset_exporter.training.compatibility.trainer import Recipe

ITEMS, FEATURES, CAUSES, PARTNERS = 1500, 64, 8, 20
EPOCHS = 12
METRICS = (Metric.INNER_PRODUCT, Metric.EUCLIDEAN)


def main() -> None:
    """Generate, train, turn the pairs round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many samples and trainings")
    arguments = parser.parse_args()
    values: dict[str, list[float]] = {"pairs.direction_auc": [], "pairs.direction_auc.tied": []}
    for seed in range(arguments.seeds):
        by_metric = [direction(seed, Recipe(metric=metric, epochs=EPOCHS)) for metric in METRICS]
        values["pairs.direction_auc"].append(min(by_metric))
        values["pairs.direction_auc.tied"].append(direction(seed, Recipe(tied=True, epochs=EPOCHS)))
    protocol = (
        f"{ITEMS:,} generated items of {CAUSES} causes, each going with {PARTNERS} whose causes are its own rotated; "
        f"a fifth of the pairs held out, against themselves reversed; {machine('twinset', 'numpy')}"
    )
    limits = {"pairs.direction_auc": 0.95, "pairs.direction_auc.tied": None}
    write(
        "quality_direction",
        [
            Figure.over_seeds(name, taken, None, "share", "higher", protocol, limits[name])
            for name, taken in values.items()
        ],
    )


def sample(seed: int) -> tuple[Items, Pairs]:
    """Return items and the pairs that go one way."""
    rng = np.random.default_rng(seed)
    causes = rng.standard_normal((ITEMS, CAUSES))
    rotation, _ = np.linalg.qr(rng.standard_normal((CAUSES, CAUSES)))
    features = causes @ rng.standard_normal((CAUSES, FEATURES)) + 0.3 * rng.standard_normal((ITEMS, FEATURES))
    near = causes @ rotation @ causes.T
    np.fill_diagonal(near, -np.inf)
    true = near >= np.partition(near, -PARTNERS, axis=1)[:, -PARTNERS][:, None]
    sources, targets = np.nonzero(true & ~true.T)
    ids = tuple(f"item-{number}" for number in range(ITEMS))
    nothing = np.zeros(ITEMS, np.int32)
    items = Items(ids, features.astype(np.float32), nothing, (), np.arange(ITEMS))
    return items, Pairs(sources.astype(np.int32), targets.astype(np.int32), ids)


def direction(seed: int, recipe: Recipe) -> float:
    """Return the AUC of pairs held out against themselves reversed."""
    items, pairs = sample(seed)
    split = splits.pair_parts(pairs, {"train": 0.7, "validation": 0.1, "test": 0.2}, seed=seed)
    part = of_pairs(pairs.rows(split["train"]), pairs.rows(split["validation"]), items, seed=seed)
    sides = crossfit.train(items, [part], None, recipe, seed=seed, watch=crossfit.unwatched).sides
    sources, targets = sides.vectors(items.features, items.categories)
    held_out = pairs.rows(split["test"])
    forth = sides.log_odds(sources[held_out.left], targets[held_out.right])
    back = sides.log_odds(sources[held_out.right], targets[held_out.left])
    return auc(forth, back)


if __name__ == "__main__":
    main()
