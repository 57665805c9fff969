"""Fashion-MNIST (Xiao et al. 2017) as a shop would have it: a folder of pictures and a table of labels.

Debian's package `dataset-fashion-mnist` brings the files.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinset_exporter.datasets import idx

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
TRAINED_ON = 15_000
INDEXED = 5_000
CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Training or test pictures.

    Attributes:
        pictures: folder of `NNNNN.png`, numbered from 1 in the order of the file.
        table: CSV of `id` and `kind`.
        ids: `NNNNN`, in order.
        classes: `[N]` int64, places in `CLASSES`.
    """

    pictures: Path
    table: Path
    ids: tuple[str, ...]
    classes: NDArray[np.int64]


def read(source: Path, part: str, count: int, folder: Path) -> Part:
    """Return the first `count` pictures of `part`, `train` or `t10k`, written out below `folder` once.

    Raises:
        DataError: a file of `source` can't be read.
    """
    pixels = idx.read(source / f"{part}-images-idx3-ubyte.gz")[:count]
    classes = idx.read(source / f"{part}-labels-idx1-ubyte.gz")[:count].astype(np.int64)
    written = Part(
        folder / part, folder / f"{part}.csv", tuple(f"{number:05}" for number in range(1, len(pixels) + 1)), classes
    )
    if not written.table.exists():
        written.pictures.mkdir(parents=True, exist_ok=True)
        for name, picture in zip(written.ids, pixels, strict=True):
            Image.fromarray(picture).save(written.pictures / f"{name}.png")
        # Last, so that a table means that every picture is there.
        with written.table.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("id", "kind"))
            rows.writerows(zip(written.ids, (CLASSES[number] for number in classes), strict=True))
    return written
