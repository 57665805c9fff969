from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fakes.features import write_features
from twinset_exporter.errors import UsageError
from twinset_exporter.training import features

ROWS = np.arange(12).reshape(4, 3)
IDS = ("red", "shoes/blue", "with space", "last")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_features(tmp_path / "vectors", IDS, ROWS)


def test_features_have_their_ids_and_the_fingerprint_of_what_made_them(folder: Path) -> None:
    read = features.read(folder)
    assert (read.ids, read.dimension, read.model) == (IDS, 3, "tiny-01234567")
    assert read.fingerprint == "01234567" * 8
    np.testing.assert_array_equal(read.rows, ROWS.astype(np.float32))


def test_rows_are_mapped_and_read_only(folder: Path) -> None:
    rows = features.read(folder).rows
    assert isinstance(rows, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        rows[0, 0] = 1


def test_places_follow_the_order_asked_for(folder: Path) -> None:
    assert features.read(folder).places(["last", "red"]).tolist() == [3, 0]


def test_items_without_features_are_counted_and_the_first_is_named(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no features of 2 of 3 items, the first being 'green': embed"):
        features.read(folder).places(["red", "green", "grey"])


def test_a_folder_that_is_no_embedding_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*none: make it with twinset-exporter embed PICTURES"):
        features.read(tmp_path / "none")
    with pytest.raises(UsageError, match="has no manifest"):
        features.read(tmp_path)


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not finished: run the same twinset-exporter embed again"):
        features.read(write_features(tmp_path / "vectors", IDS, ROWS, complete=False))


def test_an_output_that_was_not_embedded_is_named(folder: Path) -> None:
    with pytest.raises(UsageError, match="holds features and no embedding: embed again with --outputs embedding"):
        features.read(folder, "embedding")


def test_another_format_is_refused(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"npy"', '"text"'))
    with pytest.raises(UsageError, match="is in the format text: embed again with --format npy"):
        features.read(folder)


@pytest.mark.parametrize("damage", ["rows", "ids", "cut"])
def test_a_damaged_folder_is_refused(folder: Path, damage: str) -> None:
    if damage == "rows":
        np.save(folder / "features.npy", ROWS.astype(np.float32)[:3])
    elif damage == "ids":
        (folder / "ids.txt").write_text("red\n")
    else:
        (folder / "features.npy").write_bytes((folder / "features.npy").read_bytes()[:-4])
    with pytest.raises(UsageError, match=r"features\.npy is .*: embed again"):
        features.read(folder)


def test_a_row_that_is_not_finite_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    rows = ROWS.astype(np.float32)
    rows[2, 1] = np.nan
    with pytest.raises(UsageError, match=r"features.npy, row 2, 'with space': a number is not finite"):
        features.read(write_features(tmp_path / "vectors", IDS, rows))
