"""What the way through Triton and through the service costs, against the same network in process.

For each backbone, in one run and interleaved: pictures a second

- in process from decoded arrays (ONNX Runtime alone), and from encoded JPEG (decoded by threads beside it);
- through Triton from decoded arrays;
- through the service's `StreamEmbed` from encoded JPEG.

Figures: `embed.triton_over_inprocess.BACKBONE` and `embed.stream_over_inprocess.BACKBONE`, each like for like, the
median over the rounds of the ratio within a round. Beside them, the CPU time of each part for one picture.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.data import DataOption
from benchmarks.figures import Figure, machine, write
from benchmarks.processor import seconds_by_part
from benchmarks.service import export, serving
from twinset import Client
from twinset.contract import INPUT
from twinset.images import PicturePipeline, decode
from twinset_server.config import TritonSettings
from twinset_server.domain import UInt8Array
from twinset_server.triton import open_embedder

REPOSITORY = Path("build/model_repository")
SAMPLES = Path("samples/fashion-mnist")
OUTPUT = "embedding"
BATCH = 4
"""Pictures that go through the network together in process: of 1, 2, 4, 8, 16 and 32 the fastest for both backbones."""
PER_MESSAGE = 16

console = Console()


@dataclass(frozen=True, slots=True)
class Backbone:
    """A backbone to measure: its bound, its aim, and how many pictures make a round."""

    name: str
    export_options: tuple[str, ...]
    aim_triton: float
    aim_stream: float
    pictures: int


BACKBONES = (
    Backbone("efficientnet_lite0", (), 0.80, 0.80, 640),
    # Speed doesn't depend on the weights' values, and ResNet50's own can't be shipped.
    Backbone("resnet50", ("--random-weights", "1"), 0.95, 0.90, 160),
)


class InProcess:
    """The network in this process: the limit."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._threads = ThreadPoolExecutor(os.cpu_count())

    def arrays(self, pictures: UInt8Array) -> None:
        """Embed decoded pictures."""
        for start in range(0, len(pictures), BATCH):
            self._session.run([OUTPUT], {INPUT: pictures[start : start + BATCH]})

    def encoded(self, contents: Sequence[bytes], pipeline: PicturePipeline) -> None:
        """Embed encoded pictures; the next ones are decoded while these run."""
        decoded = self._threads.map(lambda content: decode(content, pipeline), contents)
        for start in range(0, len(contents), BATCH):
            batch = [next(decoded) for _ in range(min(BATCH, len(contents) - start))]
            self._session.run([OUTPUT], {INPUT: np.stack(batch)})


def main() -> None:
    """Measure every backbone, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "products/images", otherwise="the samples as 224x224 JPEG")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    parser.add_argument("--backbone", choices=[b.name for b in BACKBONES], help="measure this one alone")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    for backbone in BACKBONES:
        if arguments.backbone in (None, backbone.name):
            figures += measure(backbone, data.given(arguments), arguments.rounds)
    write("embed", figures)


def measure(backbone: Backbone, data: Path | None, rounds: int) -> list[Figure]:
    """Return the figures of one backbone."""
    model = export(backbone.name, REPOSITORY, *backbone.export_options)
    contents, source = _contents(data, backbone.pictures)
    in_process = InProcess(REPOSITORY / model / "1" / "model.onnx")
    with (
        TemporaryDirectory(prefix="twinset-embed-") as folder,
        serving(repository=REPOSITORY, model=model, data=Path(folder), log=Path("build/embed.log")) as service,
        Client(service.address, timeout_s=600) as client,
        _triton(model) as (pipeline, through_triton),
    ):
        pictures = np.stack([decode(content, pipeline) for content in contents])
        arms: dict[str, Callable[[], object]] = {
            "in process, arrays": lambda: in_process.arrays(pictures),
            "in process, JPEG": lambda: in_process.encoded(contents, pipeline),
            "Triton, arrays": lambda: through_triton(pictures),
            "StreamEmbed, JPEG": lambda: _drain(client, contents),
        }
        for arm in arms.values():  # warm up
            arm()
        speeds: dict[str, list[float]] = {name: [] for name in arms}
        used: dict[str, Counter[str]] = {name: Counter() for name in arms}
        for _ in range(rounds):
            for name, arm in arms.items():
                before = seconds_by_part(os.getpid())
                start = time.perf_counter()
                arm()
                speeds[name].append(len(contents) / (time.perf_counter() - start))
                after = seconds_by_part(os.getpid())
                used[name] += after - before
    _print(backbone.name, speeds, used, rounds * len(contents))
    protocol = (
        f"{len(contents)} pictures a round ({source}), {rounds} interleaved rounds, median of the ratio in a round; "
        f"in process by {BATCH}, {PER_MESSAGE} pictures a message; {machine('twinset', 'onnxruntime', 'tritonclient')}"
    )
    ratios = {
        "triton": _ratio(speeds["Triton, arrays"], speeds["in process, arrays"]),
        "stream": _ratio(speeds["StreamEmbed, JPEG"], speeds["in process, JPEG"]),
    }
    aims = {"triton": backbone.aim_triton, "stream": backbone.aim_stream}
    return [
        Figure(f"embed.{way}_over_inprocess.{backbone.name}", ratio, aims[way], "ratio", "higher", protocol)
        for way, ratio in ratios.items()
    ]


@contextmanager
def _triton(model: str) -> Iterator[tuple[PicturePipeline, Callable[[UInt8Array], None]]]:
    """Yield the model's pipeline, and a function that embeds decoded pictures through a Triton of its own."""
    with asyncio.Runner() as runner:
        context = open_embedder(TritonSettings(model_repository=REPOSITORY, model=model))
        embedder = runner.run(context.__aenter__())

        def embed(pictures: UInt8Array) -> None:
            runner.run(embedder.embed(pictures, [OUTPUT], timeout_s=600))  # type: ignore[arg-type]

        try:
            yield embedder.contract.pipeline, embed
        finally:
            runner.run(context.__aexit__(None, None, None))


def _contents(data: Path | None, count: int) -> tuple[list[bytes], str]:
    """Return `count` JPEG files, and in words which."""
    if data is not None:
        files = sorted((data / "products" / "images").glob("*.jpg"))[:count]
        contents = [file.read_bytes() for file in files]
        source = "product photographs, 224x224 JPEG"
    else:
        contents = [_as_jpeg(file) for file in sorted(SAMPLES.rglob("*.png"))[:count]]
        source = "Fashion-MNIST samples as 224x224 JPEG"
    return (contents * -(-count // len(contents)))[:count], source


def _as_jpeg(file: Path) -> bytes:
    target = io.BytesIO()
    Image.open(file).convert("RGB").resize((224, 224)).save(target, "JPEG", quality=90)
    return target.getvalue()


def _drain(client: Client, contents: Sequence[bytes]) -> None:
    for result in client.stream_embed(contents, batch=PER_MESSAGE):
        if result.error:
            raise result.error


def _ratio(ours: Sequence[float], limit: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, limit, strict=True))


def _print(backbone: str, speeds: dict[str, list[float]], used: dict[str, Counter[str]], pictures: int) -> None:
    table = Table(title=backbone, title_justify="left")
    table.add_column("way")
    table.add_column("pictures/s", justify="right")
    table.add_column("CPU ms a picture, by process")
    for name, values in speeds.items():
        parts = ", ".join(f"{part} {s / pictures * 1e3:.2f}" for part, s in used[name].most_common() if s)
        table.add_row(name, f"{statistics.median(values):.1f}", parts)
    console.print(table)


if __name__ == "__main__":
    main()
