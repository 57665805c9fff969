"""How much sooner than the published loop the compatibility head gets as far, on files of Amazon's size.

A sample is generated in the exact formats (70,000 items with 4,096 features, 1.7 million pairs also bought), read by
the readers, and trained on in both ways, in one run: as published, one pair a step by Adam at 1e-5; and ours, until its
log loss on the validation pairs is no more than what the published loop has after all of its steps. Neither sees
categories, and both have five dimensions.

Figures: `amazon.time_over_published`, ours over the published loop's, ours with all that the features need before the
first step; `amazon.read_mb_s` of the features into a mapped file; `amazon.peak_mb`, the memory of the whole run.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.amazon_sample import write_sample
from benchmarks.figures import Figure, machine, write
from benchmarks.memory import peak
from twinset.contract import Metric
from twinset_exporter.datasets import amazon, splits
from twinset_exporter.datasets.pairs import Pairs
from twinset_exporter.measures import pairs as measure
from twinset_exporter.training.compatibility import published, whitening
from twinset_exporter.training.compatibility.categories import UNKNOWN, descriptors, numbered
from twinset_exporter.training.compatibility.examples import Items, named, of_pairs
from twinset_exporter.training.compatibility.judging import Sample
from twinset_exporter.training.compatibility.network import Network
from twinset_exporter.training.compatibility.sampling import CategoryIndex, Sampler
from twinset_exporter.training.compatibility.trainer import Recipe, Trainer

BOUND = 1 / 50
LARGEST_MB = 4_000.0
PARTS = {"train": 0.9, "validation": 0.01, "test": 0.09}
SHORT = 64
"""Directions of the features that ours is trained on."""
BLOCK = 2_048
"""Pairs whose features are in memory at a time."""
LOOK_EVERY = 10
"""Steps between two looks at the validation pairs."""

console = Console()


@dataclass(frozen=True, slots=True)
class Result:
    """What the validation pairs say of a model, and what it took: seconds by the clock and of the processor."""

    log_loss: float
    auc: float
    accuracy: float
    seconds: float
    processor_s: float
    steps: int


class Watch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Return the seconds by the clock and of this process's processor time."""
        return time.perf_counter() - self._started[0], time.process_time() - self._started[1]


def main() -> None:
    """Generate, read, train in both ways, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=70_000, help="with features")
    parser.add_argument("--pairs", type=int, default=1_730_000, help="to draw; a few come twice and are dropped")
    parser.add_argument("--steps", type=int, default=50_000, help="of the published loop")
    parser.add_argument("--seeds", type=int, default=3, help="how many runs of each")
    parser.add_argument("--metric", choices=list(Metric), default=Metric.EUCLIDEAN, help="form of both models")
    parser.add_argument("--same-category", action="store_true", help="draw what isn't true from the target's category")
    arguments = parser.parse_args()
    metric = Metric(arguments.metric)
    with TemporaryDirectory(prefix="twinset-amazon-") as name, peak(os.getpid()) as memory:
        folder = Path(name)
        console.print("generate ...")
        sample = write_sample(folder, items=arguments.items, pairs=arguments.pairs)
        started = time.perf_counter()
        features = amazon.read_features(sample.features, folder / "features.npy")
        read_mb_s = sample.features.stat().st_size / 1e6 / (time.perf_counter() - started)
        console.print(f"features: {features.rows.shape}, {read_mb_s:.0f} MB/s, {memory.mb:.0f} MB of memory")
        started = time.perf_counter()
        metadata = amazon.read_metadata(sample.metadata, item_ids=features.ids)
        console.print(f"metadata: {len(metadata.pairs):,} pairs in {time.perf_counter() - started:.1f} s")
        categories = ["" if category is None else category for category in metadata.categories]
        names = named(categories)
        looks = np.arange(len(features.ids))
        items = Items(features.ids, features.rows, numbered(categories, names), names, looks)
        ratios = []
        for seed in range(arguments.seeds):
            task = Task(items, metadata.pairs, seed, same_category=arguments.same_category)
            reference = task.as_published(metric, arguments.steps)
            ours = task.ours(metric, reference.log_loss)
            ratios.append(ours.seconds / reference.seconds)
            console.print(f"seed {seed}, published: {_told(reference)}")
            console.print(f"seed {seed}, ours:      {_told(ours)}")
    negatives = "same-category" if arguments.same_category else "random"
    protocol = (
        f"{len(metadata.pairs):,} generated pairs of {len(items.ids):,} items, {features.rows.shape[1]:,} features; "
        f"{metric.value} form, {negatives} negatives; seconds from mapped features to the validation log loss that the "
        f"published loop has after {arguments.steps:,} steps, over that loop's; split "
        f"{task.split.checksum[:12]} (last seed); {machine('twinset', 'numpy', 'tensorflow-cpu')}"
    )
    write(
        "quality_amazon",
        [
            Figure.over_seeds("amazon.time_over_published", ratios, None, "share", "lower", protocol, BOUND),
            Figure("amazon.read_mb_s", read_mb_s, None, "MB/s", "higher", protocol),
            Figure("amazon.peak_mb", memory.mb, None, "MB", "lower", protocol, LARGEST_MB),
        ],
    )


class Task:
    """Features and pairs of one seed, divided, and what isn't true drawn."""

    def __init__(self, items: Items, pairs: Pairs, seed: int, *, same_category: bool) -> None:
        self.split = splits.pair_parts(pairs, PARTS, seed=seed)
        self._items, self._seed, self._same_category = items, seed, same_category
        self._train = pairs.rows(self.split["train"])
        held = pairs.rows(self.split["validation"])
        self._examples = of_pairs(self._train, held, items, seed=seed, same_category=same_category)
        self._validation = cast(Sample, self._examples.validation)
        self._index = CategoryIndex(items.categories, self._examples.items)

    def as_published(self, metric: Metric, steps: int) -> Result:
        """Train as published, and judge at the end, outside of the time."""
        train, rng = self._train, np.random.default_rng(self._seed)
        others = (
            self._index.draw(train.right, rng)
            if self._same_category
            else rng.integers(len(self._items.ids), size=len(train)).astype(np.int32)
        )
        order = published.steps(train.left, train.right, others, steps, seed=self._seed)
        loop = published.PublishedLoop(self._items.features, metric, seed=self._seed)
        watch = Watch()
        loop.run(order)
        taken = watch.read()
        model, held = loop.model(), self._validation
        blocks = np.array_split(np.arange(len(held.truths)), 1 + len(held.truths) // BLOCK)
        log_odds = np.concatenate(
            [model.log_odds(self._items.features, held.sources[block], held.targets[block]) for block in blocks]
        )
        return self._result(log_odds, taken, steps)

    def ours(self, metric: Metric, wanted: float) -> Result:
        """Train until the log loss on the validation pairs is no more than `wanted`, looks at them included."""
        # As many drawn pairs as true ones: so often are the pairs true that judge.
        recipe = Recipe(
            metric=metric,
            dimension=published.DIMENSION,
            epochs=1,
            random=float(not self._same_category),
            same_category=float(self._same_category),
        )
        watch = Watch()
        short = whitening.fit(self._items.features, SHORT, seed=self._seed)
        rows = short.rows(self._items.features)
        unknown = np.full(len(rows), UNKNOWN, np.int32)
        sampler = Sampler(self._examples.true, self._examples.items, self._index, recipe.batch, recipe.others)
        network = Network(short.dimension, descriptors(()), recipe.dimension)
        trainer = Trainer(network, recipe, rows, unknown, sampler, seed=self._seed)
        rng, held = np.random.default_rng(self._seed), self._validation

        def log_odds() -> NDArray[np.float32]:
            return trainer.logits(held.sources, held.targets, unknown)

        steps = 0
        for steps, batch in enumerate(sampler.epoch(rng), start=1):
            trainer.step(batch, rng)
            if steps % LOOK_EVERY == 0 and measure.log_loss(held.truths, log_odds()) <= wanted:
                break
        else:
            raise SystemExit(f"ours did not come down to a log loss of {wanted:.4f} in an epoch of {steps} steps")
        taken = watch.read()
        return self._result(log_odds(), taken, steps)

    def _result(self, log_odds: NDArray[np.float32], taken: tuple[float, float], steps: int) -> Result:
        truths = self._validation.truths
        return Result(
            measure.log_loss(truths, log_odds),
            measure.auc(log_odds[truths], log_odds[~truths]),
            float(np.mean((log_odds > 0) == truths)),
            *taken,
            steps,
        )


def _told(result: Result) -> str:
    return (
        f"log loss {result.log_loss:.4f}, AUC {result.auc:.4f}, accuracy {result.accuracy:.4f}, "
        f"{result.steps:,} steps in {result.seconds:.2f} s ({result.processor_s:.2f} s of processor)"
    )


if __name__ == "__main__":
    main()
