"""How much of the neighbours a reduction of long features keeps, and how much memory long features take.

Figures: `reduce.BACKBONE.recall_at_10`, the share of the ten neighbours by the full features that the reduced ones
keep, over the product photographs; `reduce.BACKBONE.peak_mb`, the most memory that all processes together take in any
of: generated rows through file, reduction and search, and 500 pictures through server and Triton, with the reduction
and without; `reduce.BACKBONE.export_peak_mb`, the same of the export with its reduction, TensorFlow and all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.data import DataOption
from benchmarks.figures import Figure, machine, write
from benchmarks.memory import peak
from benchmarks.service import ServiceFailed, export, serving
from twinset import Client, Item, Picture
from twinset.contract import Metric
from twinset_exporter.reducing import PARAMETER
from twinset_exporter.reduction import FeatureFile, fit, recall
from twinset_exporter.repository import PublishedModel, Repository

DIMENSION = 512
PICTURES = 500
_BLOCK = 250


def main() -> None:
    """Export with a reduction, reduce generated rows, serve pictures; watch the memory of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "products/images")
    parser.add_argument("--backbone", default="vgg16", help="the network whose features are reduced")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--weights", metavar="FILE", help="its weights, or imagenet")
    weights.add_argument("--random-weights", metavar="SEED", help="noise for weights; the figures say so")
    parser.add_argument("--rows", type=int, default=25_000, help="rows generated")
    arguments = parser.parse_args()
    pictures = data.required(arguments) / "products" / "images"

    try:
        with TemporaryDirectory(prefix="twinset-reduce-", dir=_build()) as folder:
            figures = measure(arguments, pictures, Path(folder))
    except ServiceFailed as error:
        sys.exit(f"reduce: {error}")
    write("reduce", figures)


def measure(arguments: argparse.Namespace, pictures: Path, repository: Path) -> list[Figure]:
    """Return the figures; `repository` is empty, so that the export works and its memory is that of an export."""
    weights: list[str] = []
    if arguments.weights:
        weights = ["--weights", arguments.weights]
    if arguments.random_weights:
        weights = ["--random-weights", arguments.random_weights]
    with peak(os.getpid()) as exporting:
        name = export(
            arguments.backbone, repository, *weights, "--reduce", str(DIMENSION), "--reduce-on", str(pictures)
        )
    whole = export(arguments.backbone, repository, *weights)
    model = Repository(repository).model(name)
    if not isinstance(model, PublishedModel):
        raise ServiceFailed(f"{model.path} is broken: {model.reason}")
    report = json.loads(model.parameters[PARAMETER])
    with peak(os.getpid()) as generated:
        _reduce_generated(arguments.rows, report["features"])
    with peak(os.getpid()) as serving_them:
        _serve(repository, name, pictures)

    with peak(os.getpid()) as serving_whole:
        _serve(repository, whole, pictures)

    parts = {"generated rows": generated.mb, "serving": serving_them.mb, "serving unreduced": serving_whole.mb}
    memory = ", ".join(f"{part} {mb:,.0f} MB" for part, mb in parts.items())
    network = f"{arguments.backbone}{' with random weights' if model.contract.random_weights else ''}"
    protocol = (
        f"{network}, {report['features']:,} features to {DIMENSION} by uncentred SVD of {report['pictures']:,} product "
        f"photographs, neighbours of up to 1,000 of them among all, cosine, exact, variance kept "
        f"{report['variance_kept']}; PSS of all processes: {memory} ({arguments.rows:,} generated rows of as many "
        f"features; {PICTURES} pictures served, by the reduced model and by one with all features); "
        f"{machine('twinset', 'onnxruntime', 'numpy')}"
    )
    prefix = f"reduce.{arguments.backbone}"
    return [
        Figure(f"{prefix}.recall_at_10", report["recall_at_10"], 0.90, "share", "higher", protocol),
        Figure(f"{prefix}.peak_mb", max(parts.values()), 2000, "MB", "lower", protocol),
        Figure(f"{prefix}.export_peak_mb", exporting.mb, None, "MB", "lower", protocol),
    ]


def _reduce_generated(count: int, dimension: int) -> None:
    """Take non-negative rows, as features are after their ReLU, through file, fit and search."""
    random = np.random.default_rng(0)
    causes = random.standard_normal((64, dimension), dtype=np.float32)
    with TemporaryDirectory(prefix="twinset-generated-", dir=_build()) as folder:
        features = FeatureFile(Path(folder) / "features", dimension)
        for start in range(0, count, _BLOCK):
            mixed = random.standard_normal((min(_BLOCK, count - start), 64), dtype=np.float32) @ causes
            features.append(np.maximum(mixed, 0))
        reduction = fit(features, DIMENSION, Metric.COSINE)
        share = recall(features, reduction, Metric.COSINE)
        print(f"{count:,} generated rows of {dimension:,}: recall {share:.4f}")


def _serve(repository: Path, model: str, folder: Path) -> None:
    """Put pictures through client, server and Triton, and ask for the neighbours of one."""
    with (
        TemporaryDirectory(prefix="twinset-reduce-") as data,
        serving(repository=repository, model=model, data=Path(data), log=Path("build/reduce.log")) as service,
        Client(service.address, timeout_s=600) as client,
    ):
        paths = sorted(itertools.islice(folder.glob("*.jpg"), PICTURES))
        for result in client.put_items(Item(p.stem, [Picture(p.read_bytes())]) for p in paths):
            if result.error:
                raise result.error
        client.recommend(item=paths[0].stem, k=10)


def _build() -> Path:
    """Return the folder for what is made: /tmp may be memory, and is too small for 25,000 rows of 100 KB."""
    folder = Path("build")
    folder.mkdir(exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
