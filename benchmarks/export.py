"""What each precision of each backbone costs and keeps, all from one run.

For each backbone and each precision: seconds to export, size of the file, pictures a second at batch 1, 8 and
32 in process (ONNX Runtime, all cores, precisions interleaved), smallest cosine and neighbours' recall@10 against fp32
over pictures that didn't calibrate.

Figures: `export.speedup.BACKBONE.PRECISION`, the median over the rounds of the ratio to fp32 within a round, at
batch 4, by which the server computes; `export.recall_at_10.BACKBONE.PRECISION`; and of fp32
against Keras over real pictures, through ONNX Runtime and Triton, `export.parity_cosine.BACKBONE` and
`export.parity_max_abs.BACKBONE`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

from benchmarks.data import DataOption
from benchmarks.figures import Figure, machine, write
from twinset.card import read_card
from twinset.contract import INPUT
from twinset.images import PicturePipeline
from twinset_exporter import parity, pictures
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.backbones.registry import BACKBONES
from twinset_exporter.errors import ExportError
from twinset_exporter.export import Request, Result, export
from twinset_exporter.precision import calibration
from twinset_exporter.precision.gate import neighbours_recall
from twinset_exporter.precision.publication import Precision, Reduction, reduce
from twinset_exporter.repository import MODEL, Repository
from twinset_exporter.runtime import Runtime
from twinset_exporter.steps import ConsoleSteps
from twinset_exporter.weights import FileWeights, RandomWeights

SAMPLES = Path("samples/fashion-mnist")
OUTPUT = "embedding"
MEASURED = ("efficientnet_lite0", "resnet50")
SERVED_BATCH = 4
BATCHES = (1, 8, 32)
_CALM_S = 0.1
LONGEST_S = 30.0
"""Of the rounds at one batch size: VGG16 takes seconds for one."""
FEWEST_ROUNDS = 5

# In a pipe 80 columns would cut the table.
console = Console(width=None if sys.stdout.isatty() else 160)


@dataclass(slots=True)
class Row:
    """One precision of one backbone; speeds in pictures a second by batch, one a round."""

    precision: Precision
    export_s: float
    session: onnxruntime.InferenceSession
    size_mb: float
    smallest_cosine: float
    recall: float
    speeds: dict[int, list[float]] = field(default_factory=dict)


def main() -> None:
    """Export and measure every backbone, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "products/images", otherwise="the samples")
    parser.add_argument("--repository", type=Path, default=Path("build/export_benchmark"), help="where models go")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds, at most (default: 15)")
    parser.add_argument(
        "--backbone",
        nargs="+",
        choices=list(BACKBONES),
        default=MEASURED,
        metavar="NAME",
        help=f"measure these (default: {' '.join(MEASURED)})",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=list(Precision),
        default=tuple(Precision),
        metavar="NAME",
        help="measure these beside fp32 (default: all)",
    )
    arguments = parser.parse_args()
    given = data.given(arguments)
    folder = SAMPLES if given is None else given / "products" / "images"
    figures: list[Figure] = []
    lower = [precision for precision in Precision if precision in arguments.precision and precision != Precision.FP32]
    for name in arguments.backbone:
        figures += measure(BACKBONES[name], lower, Repository(arguments.repository), folder, arguments.rounds)
    write("export", figures)


def measure(
    backbone: Backbone, lower: Sequence[Precision], repository: Repository, folder: Path, rounds: int
) -> list[Figure]:
    """Return the figures of one backbone, and print its table."""
    pipeline = PicturePipeline(backbone.size, backbone.size)
    # Speed doesn't depend on the weights' values, and not every backbone's own can be shipped.
    random = backbone.packaged_weights is None
    weights = FileWeights(backbone.packaged_weights) if backbone.packaged_weights else RandomWeights(1)
    # With pictures of its own the export always works: its seconds are those of an export.
    request = Request(backbone, weights, pipeline, pictures.PACKAGED, triton=True)
    start = time.perf_counter()
    fp32 = export(request, repository, ConsoleSteps(console))
    seconds = time.perf_counter() - start
    judges = calibration.load(folder, pipeline, calibrates=True).judge
    reference = Runtime((fp32.path / MODEL).read_bytes()).run(judges)[OUTPUT]
    rows = [_row(Precision.FP32, seconds, fp32, judges, reference)]
    for precision in lower:
        start = time.perf_counter()
        try:
            # Measured, whatever the gate says: noise for weights gives int8 nothing to keep.
            wanted = Reduction(precision, folder, accept_loss=True, triton=True)
            reduced = reduce(wanted, repository, fp32, ConsoleSteps(console))
        except ExportError as error:
            console.print(f"{backbone.name} {precision}: {error}", style="yellow", markup=False)
            continue
        rows.append(_row(precision, time.perf_counter() - start, reduced, judges, reference))
    for batch in (SERVED_BATCH, *BATCHES):
        _time(rows, judges[:batch], rounds)
    _print(backbone.name, rows, random)
    done = len(rows[0].speeds[SERVED_BATCH])
    protocol = (
        f"{len(judges)} pictures of {folder.name} that didn't calibrate{', random weights' if random else ''}; "
        f"in process by {SERVED_BATCH}, {done} interleaved rounds, median of the ratio in a round; "
        f"{machine('twinset', 'onnxruntime')}"
    )
    return [*_reduced_figures(backbone.name, rows, protocol), *_parity_figures(backbone, fp32)]


def _row(precision: Precision, seconds: float, result: Result, judges: np.ndarray, reference: np.ndarray) -> Row:
    path = result.path / MODEL
    given = Runtime(path.read_bytes()).run(judges)[OUTPUT]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = os.cpu_count() or 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    cosine = float((reference * given).sum(axis=1).min())
    return Row(precision, seconds, session, path.stat().st_size / 1e6, cosine, neighbours_recall(reference, given))


def _time(rows: list[Row], batch: np.ndarray, rounds: int) -> None:
    repeats = max(1, 64 // len(batch))
    for row in rows:  # warm up
        row.session.run([OUTPUT], {INPUT: batch})
    begun = time.perf_counter()
    for done in range(rounds):
        if done >= FEWEST_ROUNDS and time.perf_counter() - begun > LONGEST_S:
            break
        for row in rows:
            # The threads of the session before spin for a while after its last batch.
            time.sleep(_CALM_S)
            row.session.run([OUTPUT], {INPUT: batch})
            start = time.perf_counter()
            for _ in range(repeats):
                row.session.run([OUTPUT], {INPUT: batch})
            speed = repeats * len(batch) / (time.perf_counter() - start)
            row.speeds.setdefault(len(batch), []).append(speed)


def _reduced_figures(backbone: str, rows: list[Row], protocol: str) -> list[Figure]:
    figures = []
    fp32 = rows[0].speeds[SERVED_BATCH]
    for row in rows[1:]:
        name = f"{backbone}.{row.precision}"
        speedup = statistics.median(a / b for a, b in zip(row.speeds[SERVED_BATCH], fp32, strict=True))
        int8 = row.precision is Precision.INT8
        figures += [
            Figure(f"export.speedup.{name}", speedup, 2.2 if int8 else None, "ratio", "higher", protocol),
            Figure(f"export.recall_at_10.{name}", row.recall, 0.97 if int8 else 0.99, "share", "higher", protocol),
        ]
    return figures


def _parity_figures(backbone: Backbone, fp32: Result) -> list[Figure]:
    """Return the worst of what the card tells of the features: at every batch size, and through Triton too."""
    card = read_card(fp32.path).content
    asked = [section for section in (card["parity"], card["triton"]) if "batches" in section]
    batches = [batch for section in asked for batch in section["batches"].values()]
    found = [batch["outputs"]["features"] for batch in batches]
    triton = f"Triton {card['triton']['version']}" if card["triton"]["proved"] else "no Triton"
    protocol = (
        f"features of {max(batch['pictures'] for batch in batches)} real pictures, {card['source']['weights']['kind']} "
        f"weights, by {', '.join(map(str, BATCHES))}: ONNX Runtime and {triton} against Keras, the worst of all; the "
        f"difference as a share of the scale; {machine('keras', 'onnxruntime', 'tf2onnx')}"
    )
    cosine = min(output["smallest_cosine"] for output in found)
    share = max(output["share"] for output in found)
    return [
        Figure(f"export.parity_cosine.{backbone.name}", cosine, parity.SMALLEST_COSINE, "cosine", "higher", protocol),
        Figure(f"export.parity_max_abs.{backbone.name}", share, parity.LARGEST_SHARE, "share", "lower", protocol),
    ]


def _print(backbone: str, rows: list[Row], random: bool) -> None:
    table = Table(title=f"{backbone}{' (random weights)' if random else ''}", title_justify="left")
    headings = (
        "precision",
        "export s",
        "MB",
        *(f"pictures/s by {batch}" for batch in rows[0].speeds),
        "cosine",
        "recall@10",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "precision" else "right")
    for row in rows:
        speeds = [f"{statistics.median(values):.1f}" for values in row.speeds.values()]
        table.add_row(
            row.precision,
            f"{row.export_s:.1f}",
            f"{row.size_mb:.1f}",
            *speeds,
            f"{row.smallest_cosine:.4f}",
            f"{row.recall:.4f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
