"""A small shop: pictures of stripes, upright or level, with a table and features that tell them apart."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes.features import write_features

COUNT = 60
SIDE = 32


@dataclass(frozen=True)
class Shop:
    pictures: Path
    table: Path
    features: Path
    labels: tuple[str, ...]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    labels = tuple("upright" if number % 2 else "level" for number in range(COUNT))
    ids = [f"item-{number:03}" for number in range(COUNT)]
    for item_id, label in zip(ids, labels, strict=True):
        stripes = np.arange(SIDE) // 4 % 2 * 150 + random.integers(0, 60, (SIDE, SIDE))
        pixels = stripes if label == "upright" else stripes.T
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pictures" / f"{item_id}.png")
    with (tmp_path / "items.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "stripes", "colour"))
        rows.writerows(zip(ids, labels, ["grey"] * COUNT, strict=True))
    features = random.normal(0, 1, (COUNT, 6))
    features[:, 0] += [9 if label == "upright" else -9 for label in labels]
    return Shop(
        tmp_path / "pictures", tmp_path / "items.csv", write_features(tmp_path / "features", ids, features), labels
    )
