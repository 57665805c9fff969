"""How good the embeddings are on product photographs, asked of the whole service.

Figure: `products.p10_article_type`, the share of the ten neighbours that have the query's article type, over all items.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import track

from benchmarks.figures import Figure, machine, write
from benchmarks.service import export, serving
from twinset import Client, Item, Picture

REPOSITORY = Path("build/model_repository")
K = 10


def main() -> None:
    """Put all products, ask for the neighbours of each, and compare article types."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("TWINSET_DATA"),
        help="folder that holds products/styles.csv and products/images (default: TWINSET_DATA)",
    )
    parser.add_argument("--backbone", default="efficientnet_lite0", help="the network to embed with")
    arguments = parser.parse_args()
    if arguments.data is None:
        sys.exit("products: name the data folder with --data or TWINSET_DATA")
    folder = Path(arguments.data) / "products"
    with (folder / "styles.csv").open(newline="", encoding="utf-8") as file:
        types = {row["id"]: row["articleType"] for row in csv.DictReader(file)}

    model = export(arguments.backbone, REPOSITORY)
    with (
        TemporaryDirectory(prefix="twinset-products-") as data,
        serving(repository=REPOSITORY, model=model, data=Path(data), log=Path("build/products.log")) as service,
        Client(service.address) as client,
    ):
        for result in track(client.put_items(_items(folder, types)), "put", total=len(types)):
            if result.error:
                raise result.error
        with ThreadPoolExecutor(4) as threads:
            hits = sum(track(threads.map(lambda i: _hits(client, i, types), types), "ask", total=len(types)))
    protocol = (
        f"{len(types):,} product photographs, {arguments.backbone} features, cosine, leave-one-out by articleType "
        f"through PutItems and Recommend, hits / {K}; {machine('twinset', 'onnxruntime', 'usearch')}"
    )
    value = hits / (K * len(types))
    write("products", [Figure("products.p10_article_type", value, 0.725, "share", "higher", protocol)])


def _items(folder: Path, types: dict[str, str]) -> Iterator[Item]:
    for item_id, article_type in types.items():
        content = (folder / "images" / f"{item_id}.jpg").read_bytes()
        yield Item(id=item_id, category=article_type, pictures=[Picture(content=content)])


def _hits(client: Client, item_id: str, types: dict[str, str]) -> int:
    found = client.recommend(item=item_id, k=K)
    return sum(types[r.item.id] == types[item_id] for r in found)


if __name__ == "__main__":
    main()
