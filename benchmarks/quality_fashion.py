"""How well neighbours on Fashion-MNIST are of one class: plain features, the head as published, the best head.

Figures: `fashion.p6.plain`, `fashion.p6.published`, `fashion.p6.frozen` (metric learning on frozen features) and
`fashion.p6.best` (with the backbone's last blocks tuned). Each training is one of `twinset-exporter train`, kept in
build/quality/fashion: run this again after a stop, and it goes on.

With --model, the figure is that of an exported model, asked through Triton: `fashion.p6.model`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import fashion
from benchmarks.data import DataOption
from benchmarks.exported_model import embed, metric_of
from benchmarks.fashion import Part
from benchmarks.figures import Figure, machine, write
from benchmarks.service import ServiceFailed, export, run
from twinset.contract import Metric
from twinset_exporter import tensorflow_noise
from twinset_exporter.backbones.efficientnet_lite0 import PRETRAINED
from twinset_exporter.backbones.registry import BACKBONES
from twinset_exporter.errors import ExportError
from twinset_exporter.measures.neighbours import nearest, precision
from twinset_exporter.training import features as feature_folder
from twinset_exporter.training.category import items, tuning
from twinset_exporter.training.category.head import EMBEDDING
from twinset_exporter.training.category.metric_learning import MetricLearning
from twinset_exporter.training.category.published import Published
from twinset_exporter.training.category.recipe import Recipe
from twinset_exporter.training.category.run import BACKBONE_FILE, Request, train_head, tune_backbone
from twinset_exporter.weights import FileWeights

FOLDER = Path("build/quality/fashion")
REPOSITORY = Path("build/model_repository")
BACKBONE = "efficientnet_lite0"
K = 6
BOUND, AIM = 0.875, 0.93
SIDE = 64
EPOCHS = 10

Rows = NDArray[np.float32]


def main() -> None:
    """Train with each seed, and judge on the test pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "fashion-mnist", otherwise=f"{fashion.DEBIAN} is read")
    parser.add_argument("--seeds", type=int, default=3, help="how many trainings of each kind")
    parser.add_argument("--tuned-seeds", type=int, help="how many of the slow kind, 0 for none (default: as --seeds)")
    parser.add_argument("--features", type=Path, help="features that `embed` wrote before, in FOLDER/train and /t10k")
    parser.add_argument("--model", help="judge this exported model instead")
    parser.add_argument("--output", default=EMBEDDING, help="with --model: which of its outputs")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="with --model: where it lies")
    arguments = parser.parse_args()
    folder = data.given(arguments)
    source = folder / "fashion-mnist" if folder and (folder / "fashion-mnist").is_dir() else fashion.DEBIAN
    tensorflow_noise.silence()
    try:
        test = fashion.read(source, "t10k", 2 * fashion.INDEXED, FOLDER)
        if arguments.model:
            write("fashion.model", [_of_model(arguments, test)])
        else:
            write("fashion", _trained(arguments, source, test))
    except (ServiceFailed, ExportError) as error:
        sys.exit(f"quality_fashion: {error}")


def _of_model(arguments: argparse.Namespace, test: Part) -> Figure:
    paths = [test.pictures / f"{name}.png" for name in test.ids]
    rows = embed(arguments.repository, arguments.model, [arguments.output], paths)[arguments.output]
    metric = metric_of(arguments.repository, arguments.model, arguments.output)
    protocol = f"{_protocol()}, output {arguments.output} of {arguments.model} through Triton, {metric.value}"
    return Figure("fashion.p6.model", _judge(rows, metric, test), AIM, "share", "higher", protocol, BOUND)


def _trained(arguments: argparse.Namespace, source: Path, test: Part) -> list[Figure]:
    train = fashion.read(source, "train", fashion.TRAINED_ON, FOLDER)
    folders = _features(arguments.features, (train, test))
    cache = feature_folder.read(folders[1])
    rows = np.ascontiguousarray(cache.rows[cache.places(test.ids)])
    plain = _judge(rows, Metric.COSINE, test)
    seeds = range(arguments.seeds)

    def frozen(recipe: Recipe) -> list[float]:
        values = []
        for seed in seeds:
            output = FOLDER / f"{recipe.name}-{seed}"
            head = train_head(_request(train, seed), folders[0], [recipe], output).best.head
            values.append(_judge(head.run(rows)[EMBEDDING], head.metric, test))
        return values

    tuned_seeds = arguments.seeds if arguments.tuned_seeds is None else arguments.tuned_seeds
    tuned = [_tuned(train, test, seed) for seed in range(tuned_seeds)]
    network = f"{BACKBONE} of {BACKBONES[BACKBONE].size} pixels"
    learned = f"{_protocol()}; trained on {fashion.TRAINED_ON:,} training pictures, a fifth of them validating"
    values = {"published": frozen(Published()), "frozen": frozen(MetricLearning())}
    figures = [
        Figure("fashion.p6.plain", plain, None, "share", "higher", f"{_protocol()}; {network}"),
        *(
            Figure.over_seeds(f"fashion.p6.{name}", got, None, "share", "higher", f"{learned}; {network}, frozen")
            for name, got in values.items()
        ),
    ]
    if tuned:
        protocol = f"{learned}; {BACKBONE} of {SIDE} pixels, tuned after {tuning.AFTER}"
        figures.append(Figure.over_seeds("fashion.p6.best", tuned, AIM, "share", "higher", protocol, BOUND))
    return figures


def _features(given: Path | None, parts: Sequence[Part]) -> list[Path]:
    """Return the folders with the features of the parts, embedded through Triton where they aren't given."""
    if given is not None:
        return [given / part.pictures.name for part in parts]
    model, folders = export(BACKBONE, REPOSITORY), []
    for part in parts:
        folders.append(FOLDER / f"features-{part.pictures.name}")
        options = ["--model", model, "--repository", REPOSITORY, "--outputs", "features", "--output", folders[-1]]
        run("twinset-exporter", "embed", part.pictures, *options)
    return folders


def _tuned(train: Part, test: Part, seed: int) -> float:
    import keras

    backbone = BACKBONES[BACKBONE]
    output = FOLDER / f"tuned-{seed}"
    settings = tuning.Tuning(tuning.AFTER, tuning.learning(EPOCHS))
    weights = FileWeights(PRETRAINED)
    head = tune_backbone(_request(train, seed), settings, backbone, weights, SIDE, output).best.head
    network = keras.saving.load_model(output / BACKBONE_FILE, compile=False)
    pictures = items.decoded(tuple(test.pictures / f"{name}.png" for name in test.ids), SIDE)
    features = _in_batches(lambda part: network.predict_on_batch(backbone.preprocess(part)), pictures)
    return _judge(head.run(features)[EMBEDDING], head.metric, test)


def _in_batches(compute: Callable[[NDArray[np.uint8]], Rows], pictures: NDArray[np.uint8]) -> Rows:
    return np.concatenate([compute(pictures[start : start + 250]) for start in range(0, len(pictures), 250)])


def _request(train: Part, seed: int) -> Request:
    return Request(items.Source(train.pictures, train.table, "kind"), K, seed)


def _judge(rows: Rows, metric: Metric, test: Part) -> float:
    found = nearest(rows[: fashion.INDEXED], rows[fashion.INDEXED :], K, metric)
    return precision(found, test.classes[: fashion.INDEXED], test.classes[fashion.INDEXED :])


def _protocol() -> str:
    half = f"{fashion.INDEXED:,}"
    return (
        f"Fashion-MNIST, index: test pictures 1 to {half}, queries: the next {half}, share of the {K} nearest of the "
        f"query's class; {machine('twinset', 'keras', 'numpy')}"
    )


if __name__ == "__main__":
    main()
