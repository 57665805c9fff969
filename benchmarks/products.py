"""How good the embeddings are on product photographs, asked of the whole service.

Figure: `products.p10_article_type`, the share of the ten neighbours that have the query's article type, over all items;
of another backbone or precision `products.p10_article_type.BACKBONE.PRECISION`.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import track

from benchmarks.data import DataOption
from benchmarks.figures import Figure, machine, write
from benchmarks.service import export, serving
from twinset import Client, Item, Picture
from twinset_exporter.precision.publication import Precision

REPOSITORY = Path("build/model_repository")
DEFAULT_BACKBONE = "efficientnet_lite0"
K = 10


def main() -> None:
    """Put all products, ask for the neighbours of each, and compare article types."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "products/styles.csv and products/images")
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE, help="the network to embed with")
    parser.add_argument("--precision", choices=list(Precision), default="fp32", help="what it computes in")
    arguments = parser.parse_args()
    folder = data.required(arguments) / "products"
    with (folder / "styles.csv").open(newline="", encoding="utf-8") as file:
        types = {row["id"]: row["articleType"] for row in csv.DictReader(file)}

    lower = arguments.precision != Precision.FP32
    calibration = ["--precision", arguments.precision, "--calibration", str(folder / "images")] if lower else []
    model = export(arguments.backbone, REPOSITORY, *calibration)
    with (
        TemporaryDirectory(prefix="twinset-products-") as catalogue,
        serving(repository=REPOSITORY, model=model, data=Path(catalogue), log=Path("build/products.log")) as service,
        Client(service.address) as client,
    ):
        for result in track(client.put_items(_items(folder, types)), "put", total=len(types)):
            if result.error:
                raise result.error
        with ThreadPoolExecutor(4) as threads:
            hits = sum(track(threads.map(lambda i: _hits(client, i, types), types), "ask", total=len(types)))
    network = f"{arguments.backbone} features{f' in {arguments.precision}, calibrated on them' if lower else ''}"
    protocol = (
        f"{len(types):,} product photographs, {network}, cosine, leave-one-out by articleType through PutItems and "
        f"Recommend, hits / {K}; {machine('twinset', 'onnxruntime', 'usearch')}"
    )
    value = hits / (K * len(types))
    name = "products.p10_article_type"
    if arguments.backbone == DEFAULT_BACKBONE and not lower:
        write("products", [Figure(name, value, 0.725, "share", "higher", protocol)])
    else:
        network = f"{arguments.backbone}.{arguments.precision}"
        write(f"products.{network}", [Figure(f"{name}.{network}", value, None, "share", "higher", protocol)])


def _items(folder: Path, types: dict[str, str]) -> Iterator[Item]:
    for item_id, article_type in types.items():
        content = (folder / "images" / f"{item_id}.jpg").read_bytes()
        yield Item(id=item_id, category=article_type, pictures=[Picture(content=content)])


def _hits(client: Client, item_id: str, types: dict[str, str]) -> int:
    found = client.recommend(item=item_id, k=K)
    return sum(types[r.item.id] == types[item_id] for r in found)


if __name__ == "__main__":
    main()
