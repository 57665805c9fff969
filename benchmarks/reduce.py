"""How much of the neighbours a reduction of long features keeps, and how much memory long features take.

Figures: `reduce.BACKBONE.recall_at_10`, the share of the ten neighbours by the full features that the reduced ones
keep, over the product photographs; `reduce.BACKBONE.peak_mb`, the most memory that all processes together take in any
of: the export with its reduction, generated rows through file, reduction and search, and 500 pictures through Triton
and server.
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

from benchmarks.figures import Figure, machine, write
from benchmarks.memory import peak
from benchmarks.service import export, serving
from twinset import Client, Item, Picture
from twinset.contract import Metric
from twinset_exporter.reducing import PARAMETER
from twinset_exporter.reduction import FeatureFile, fit, recall
from twinset_exporter.repository import PublishedModel, Repository

REPOSITORY = Path("build/model_repository")
DIMENSION = 512
PICTURES = 500
_BLOCK = 250


def main() -> None:
    """Export with a reduction, reduce generated rows, serve pictures; watch the memory of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("TWINSET_DATA"),
        help="folder that holds products/images (default: TWINSET_DATA)",
    )
    parser.add_argument("--backbone", default="vgg16", help="the network whose features are reduced")
    parser.add_argument("--weights", help="a file with its weights")
    parser.add_argument("--rows", type=int, default=25_000, help="rows generated")
    arguments = parser.parse_args()
    if arguments.data is None:
        sys.exit("reduce: name the data folder with --data or TWINSET_DATA")
    pictures = Path(arguments.data) / "products" / "images"

    weights = ("--weights", arguments.weights) if arguments.weights else ()
    options = (*weights, "--reduce", str(DIMENSION), "--reduce-on", str(pictures))
    with peak(os.getpid()) as exporting:
        name = export(arguments.backbone, REPOSITORY, *options)
    model = Repository(REPOSITORY).model(name)
    if not isinstance(model, PublishedModel):
        sys.exit(f"reduce: {model.path} is broken: {model.reason}")
    report = json.loads(model.parameters[PARAMETER])
    with peak(os.getpid()) as generated:
        _reduce_generated(arguments.rows, report["features"])
    with peak(os.getpid()) as serving_them:
        _serve(name, pictures)

    parts = {"export": exporting.mb, "generated rows": generated.mb, "serving": serving_them.mb}
    memory = ", ".join(f"{part} {mb:,.0f} MB" for part, mb in parts.items())
    protocol = (
        f"{arguments.backbone}, {report['features']:,} features to {DIMENSION} by uncentred SVD of "
        f"{report['pictures']:,} product photographs, neighbours of up to 1,000 of them among all, cosine, exact, "
        f"variance kept {report['variance_kept']}; PSS of all processes: {memory} ({arguments.rows:,} generated rows, "
        f"{PICTURES} pictures served); {machine('twinset', 'onnxruntime', 'numpy')}"
    )
    prefix = f"reduce.{arguments.backbone}"
    write(
        "reduce",
        [
            Figure(f"{prefix}.recall_at_10", report["recall_at_10"], 0.90, "share", "higher", protocol),
            Figure(f"{prefix}.peak_mb", max(parts.values()), 2000, "MB", "lower", protocol),
        ],
    )


def _reduce_generated(count: int, dimension: int) -> None:
    """Take non-negative rows, as features are after their ReLU, through file, fit and search."""
    random = np.random.default_rng(0)
    causes = random.standard_normal((64, dimension), dtype=np.float32)
    with TemporaryDirectory(prefix="twinset-generated-", dir="build") as folder:
        features = FeatureFile(Path(folder) / "features", dimension)
        for start in range(0, count, _BLOCK):
            mixed = random.standard_normal((min(_BLOCK, count - start), 64), dtype=np.float32) @ causes
            features.append(np.maximum(mixed, 0))
        reduction = fit(features, DIMENSION, Metric.COSINE)
        share = recall(features, reduction, Metric.COSINE)
        print(f"{count:,} generated rows of {dimension:,}: recall {share:.4f}")


def _serve(model: str, folder: Path) -> None:
    """Put pictures through client, server and Triton, and ask for the neighbours of one."""
    with (
        TemporaryDirectory(prefix="twinset-reduce-") as data,
        serving(repository=REPOSITORY, model=model, data=Path(data), log=Path("build/reduce.log")) as service,
        Client(service.address, timeout_s=600) as client,
    ):
        paths = sorted(itertools.islice(folder.glob("*.jpg"), PICTURES))
        for result in client.put_items(Item(p.stem, [Picture(p.read_bytes())]) for p in paths):
            if result.error:
                raise result.error
        client.recommend(item=paths[0].stem, k=10)


if __name__ == "__main__":
    main()
