"""How much a category head lifts precision@10 by article type over plain features, on items that it never saw.

Five folds by item; queries and index are both the unseen fold; items with the same picture are in one fold. In each
fold every recipe is trained on the other four, a fifth of which validates, and the best by validation is judged.

Figures: `products.p10_plain`, `products.p10_published`, and `products.p10_head_lift`: the best head less plain
features.

With --model, the figure is that of an exported model over the same folds, asked through Triton: `products.p10_model`,
and `products.p10_model_lift` over the model's own features. Judge it on items that it wasn't trained on.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.data import DataOption
from benchmarks.exported_model import embed, metric_of
from benchmarks.figures import Figure, machine, write
from benchmarks.service import ServiceFailed, export, run
from twinset.contract import Metric
from twinset_exporter import tensorflow_noise
from twinset_exporter.datasets import labels
from twinset_exporter.datasets.labels import LabelledPictures
from twinset_exporter.datasets.splits import Split, contents, folds
from twinset_exporter.errors import ExportError
from twinset_exporter.measures.neighbours import nearest, precision
from twinset_exporter.training import features as feature_folder
from twinset_exporter.training import loop
from twinset_exporter.training.category import selection
from twinset_exporter.training.category.examples import Examples, numbered, validation_split
from twinset_exporter.training.category.head import EMBEDDING
from twinset_exporter.training.category.selection import Candidate

REPOSITORY = Path("build/model_repository")
FEATURES = Path("build/quality/products-features")
BACKBONE = "efficientnet_lite0"
LABEL = "articleType"
K = 10
BOUND, AIM = 0.04, 0.10

Rows = NDArray[np.float32]


def main() -> None:
    """Train in each fold with each seed, and judge on what is unseen there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "products/styles.csv and products/images")
    parser.add_argument("--seeds", type=int, default=3, help="how many trainings in each fold")
    parser.add_argument("--features", type=Path, help="features of the pictures that `embed` wrote before")
    parser.add_argument("--model", help="judge this exported model instead")
    parser.add_argument("--output", default=EMBEDDING, help="with --model: which of its outputs")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="with --model: where it lies")
    arguments = parser.parse_args()
    folder = data.required(arguments) / "products"
    tensorflow_noise.silence()
    try:
        items = labels.read(folder / "images", folder / "styles.csv", columns=[LABEL])
        classes, names = numbered(items.labels[LABEL])
        parts = folds(items.ids, together=contents(items.paths))
        if arguments.model:
            write("products_head.model", _of_model(arguments, items, classes, parts))
        else:
            rows = _features(arguments.features, folder / "images", items.ids)
            write("products_head", _trained(arguments.seeds, items, Examples(rows, classes, names), parts))
    except (ServiceFailed, ExportError) as error:
        sys.exit(f"quality_products: {error}")


def _of_model(
    arguments: argparse.Namespace, items: LabelledPictures, classes: NDArray[np.int64], parts: Sequence[Split]
) -> list[Figure]:
    model, output = arguments.model, arguments.output
    rows = embed(arguments.repository, model, [output, "features"], items.paths)
    metric = metric_of(arguments.repository, model, output)
    head, plain = (
        float(np.mean([_judge(rows[name], by, classes, part["test"]) for part in parts]))
        for name, by in ((output, metric), ("features", Metric.COSINE))
    )
    protocol = f"{_protocol(items)}; output {output} of {model} through Triton, {metric.value}; plain {plain:.4f}"
    return [
        Figure("products.p10_model", head, None, "share", "higher", protocol),
        Figure("products.p10_model_lift", head - plain, AIM, "share", "higher", protocol, BOUND),
    ]


def _trained(seeds: int, items: LabelledPictures, examples: Examples, parts: Sequence[Split]) -> list[Figure]:
    plain = [_judge(examples.inputs, Metric.COSINE, examples.classes, part["test"]) for part in parts]
    published, best, taken = [], [], []
    for seed in range(seeds):
        runs = [_candidates(items, examples, part["train"], seed) for part in track(parts, f"seed {seed}")]
        chosen = [selection.best(candidates) for candidates in runs]
        taken += [one.recipe.name for one in chosen]
        best.append(_mean(chosen, examples, parts) - float(np.mean(plain)))
        published.append(_mean([candidates[0] for candidates in runs], examples, parts))
    protocol = _protocol(items)
    counts = ", ".join(f"{name} {taken.count(name)}" for name in dict.fromkeys(taken))
    learned = f"{protocol}; trained on the other folds, a fifth of them validating; {BACKBONE} features"
    return [
        Figure(
            "products.p10_plain", float(np.mean(plain)), None, "share", "higher", f"{protocol}; {BACKBONE} features"
        ),
        Figure.over_seeds("products.p10_published", published, None, "share", "higher", learned),
        Figure.over_seeds(
            "products.p10_head_lift",
            best,
            AIM,
            "share",
            "higher",
            f"{learned}; best of {', '.join(one.name for one in selection.RECIPES)} by validation in each fold, less "
            f"plain features; taken: {counts}",
            BOUND,
        ),
    ]


def _candidates(items: LabelledPictures, examples: Examples, train: NDArray[np.int64], seed: int) -> list[Candidate]:
    """Return a head by each recipe, trained on the places `train` alone."""
    marks = contents(items.paths[place] for place in train)
    split = validation_split([items.ids[place] for place in train], marks, seed=seed)
    parts = [examples.part(train[split[name]]) for name in ("train", "test")]
    return [selection.train(recipe, *parts, K, seed, None, _silent) for recipe in selection.RECIPES]


@contextlib.contextmanager
def _silent(title: str, settings: loop.Settings) -> Iterator[loop.Progress]:
    yield lambda epoch, best: None


def _mean(heads: Sequence[Candidate], examples: Examples, parts: Sequence[Split]) -> float:
    """Return the mean over folds of what the head of each finds in its unseen part."""
    values = []
    for one, part in zip(heads, parts, strict=True):
        rows = one.head.run(examples.inputs[part["test"]])[EMBEDDING]
        values.append(_judge(rows, one.head.metric, examples.classes[part["test"]], np.arange(len(rows))))
    return float(np.mean(values))


def _judge(rows: Rows, metric: Metric, classes: NDArray[np.int64], places: NDArray[np.int64]) -> float:
    found = nearest(np.ascontiguousarray(rows[places]), None, K, metric)
    return precision(found, classes[places], classes[places])


def _features(given: Path | None, pictures: Path, ids: Sequence[str]) -> Rows:
    if given is None:
        model = export(BACKBONE, REPOSITORY)
        options = ["--model", model, "--repository", REPOSITORY, "--outputs", "features", "--output", FEATURES]
        run("twinset-exporter", "embed", pictures, *options)
    cache = feature_folder.read(given or FEATURES)
    return np.ascontiguousarray(cache.rows[cache.places(ids)])


def _protocol(items: LabelledPictures) -> str:
    return (
        f"{len(items):,} product photographs, five folds by item (seed 0), queries and index both the unseen fold, "
        f"share of the {K} nearest of the query's {LABEL}, the query excluded; {machine('twinset', 'keras', 'numpy')}"
    )


if __name__ == "__main__":
    main()
