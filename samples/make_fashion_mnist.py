"""Makes `samples/fashion-mnist/` and the exporter's parity pictures from the files of Fashion-MNIST.

    apt-get install dataset-fashion-mnist
    python samples/make_fashion_mnist.py

The samples are the first 100 test pictures of each class, the parity pictures the 32 test pictures that follow the last
of those; all are grey PNGs of 28 by 28 pixels, as in the dataset.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import shutil
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
PER_CLASS = 100
PARITY = 32

_HERE = Path(__file__).parent
_SAMPLES = _HERE / "fashion-mnist"
_PARITY_PICTURES = _HERE.parent / "exporter" / "twinset_exporter" / "parity_pictures"
_UNSIGNED_BYTE = 8


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of a gzipped IDX file of unsigned bytes.

    Raises:
        ValueError: the file holds something else.
    """
    content = gzip.decompress(path.read_bytes())
    zero, kind, dimensions = struct.unpack_from(">HBB", content)
    if zero != 0 or kind != _UNSIGNED_BYTE:
        raise ValueError(f"{path} is no IDX file of unsigned bytes")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return `pixels`, `[28, 28]`, as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def main() -> None:
    """Write both folders anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    source: Path = parser.parse_args().source
    pictures = read_idx(source / "t10k-images-idx3-ubyte.gz")
    labels = read_idx(source / "t10k-labels-idx1-ubyte.gz")
    last = write_samples(pictures, labels)
    write_parity_pictures(pictures[last + 1 : last + 1 + PARITY])


def write_samples(pictures: NDArray[np.uint8], labels: NDArray[np.uint8]) -> int:
    """Write the samples with their `labels.csv`; return the index of the last one used."""
    rows: list[tuple[str, str, int]] = []
    for label, name in enumerate(CLASSES):
        folder = _SAMPLES / name.lower().removesuffix("/top").replace(" ", "-")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for index in np.flatnonzero(labels == label)[:PER_CLASS].tolist():
            path = folder / f"{index:04}.png"
            path.write_bytes(png(pictures[index]))
            rows.append((path.relative_to(_SAMPLES).with_suffix("").as_posix(), name, index))
    with (_SAMPLES / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "category", "index"))
        writer.writerows(sorted(rows))
    return max(index for _, _, index in rows)


def write_parity_pictures(pictures: NDArray[np.uint8]) -> None:
    """Write `pictures`, `[N, 28, 28]`."""
    _PARITY_PICTURES.mkdir(exist_ok=True)
    for number, pixels in enumerate(pictures):
        (_PARITY_PICTURES / f"{number:02}.png").write_bytes(png(pixels))


if __name__ == "__main__":
    main()
