from __future__ import annotations

import collections
import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinset_exporter import pictures

SAMPLES = Path(__file__).parents[2] / "samples" / "fashion-mnist"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (SAMPLES / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pixels(path: Path) -> np.ndarray:
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (28, 28))
        return np.asarray(image)


def test_every_picture_has_its_label_by_path_without_extension(rows: list[dict[str, str]]) -> None:
    paths = sorted(path.relative_to(SAMPLES).with_suffix("").as_posix() for path in SAMPLES.rglob("*.png"))
    assert list(rows[0]) == ["id", "category", "index"]
    assert [row["id"] for row in rows] == paths


def test_there_are_100_of_each_of_ten_classes(rows: list[dict[str, str]]) -> None:
    assert set(collections.Counter(row["category"] for row in rows).values()) == {100}
    assert len({row["category"] for row in rows}) == 10
    assert len({(row["id"].partition("/")[0], row["category"]) for row in rows}) == 10


def test_the_name_is_the_index_among_the_test_pictures(rows: list[dict[str, str]]) -> None:
    assert all(row["id"].rpartition("/")[2] == f"{int(row['index']):04}" for row in rows)
    assert len({row["index"] for row in rows}) == 1000


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 1_000_000


def test_no_parity_picture_is_a_sample() -> None:
    samples = {pixels(path).tobytes() for path in SAMPLES.rglob("*.png")}
    parity = {pixels(path).tobytes() for path in pictures.PACKAGED.glob("*.png")}
    assert len(parity) == 32
    assert not samples & parity
