from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from twinset.factors import FactorsError, FoldIn, open_factors
from twinset_exporter.training.taste import factor_files

RNG = np.random.default_rng(0)
ITEMS = RNG.normal(size=(3, 5)).astype(np.float32)
USERS = RNG.normal(size=(4, 5)).astype(np.float32)
FOLD_IN = FoldIn(
    RNG.normal(size=(3, 4)).astype(np.float32),
    RNG.normal(size=(3, 4)).astype(np.float32),
    RNG.normal(size=4).astype(np.float32),
    0.25,
)
ITEM_IDS, USER_IDS = ("a", "b c", "ü"), ("1", "2", "3", "4")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "factors")
    return tmp_path / "factors"


def write(folder: Path, *, users: NDArray[np.float32] = USERS, items: NDArray[np.float32] = ITEMS) -> str:
    manifest = factor_files.write(
        folder,
        item_ids=ITEM_IDS,
        items=items,
        user_ids=USER_IDS[: len(users)],
        users=factor_files.blocks(users, 3),
        fold_in=FOLD_IN,
    )
    return manifest.fingerprint


def test_what_was_written_is_read(folder: Path) -> None:
    found = open_factors(folder)
    found.check()
    np.testing.assert_array_equal(found.items.values, ITEMS)
    assert tuple(found.items.ids()) == ITEM_IDS
    batches = list(found.users.batches(3))
    assert [ids for ids, _ in batches] == [["1", "2", "3"], ["4"]]
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in batches]), USERS)
    np.testing.assert_array_equal(found.fold_in.factors(np.array([1]), np.array([2])), expected([1], [2]))


def test_arrays_are_mapped_and_not_read(folder: Path) -> None:
    assert isinstance(open_factors(folder).users.values, np.memmap)


def expected(likes: list[int], known: list[int]) -> NDArray[np.float32]:
    """The formula of the documentation, in one line each."""
    z = FOLD_IN.start + (FOLD_IN.liked[likes].sum(axis=0) + FOLD_IN.known[known].sum(axis=0)) / np.sqrt(
        1 + len(likes) + len(known), dtype=np.float32
    )
    return np.append(z / np.linalg.norm(z) / 0.25, 1).astype(np.float32)


@pytest.mark.parametrize(("likes", "known"), [([], []), ([0], []), ([], [2]), ([0, 2], [1])])
def test_a_user_folds_in_by_the_formula(likes: list[int], known: list[int]) -> None:
    found = FOLD_IN.factors(np.array(likes, np.int64), np.array(known, np.int64))
    np.testing.assert_allclose(found, expected(likes, known), rtol=1e-5)


def test_users_fold_in_together_as_they_do_alone() -> None:
    users, items = np.array([0, 0, 2]), np.array([1, 2, 0])
    found = FOLD_IN.of_users(users, items, np.array([True, False, True]), 3)
    for row, (likes, known) in zip(found, [([1], [2]), ([], []), ([0], [])], strict=True):
        np.testing.assert_allclose(row, expected(likes, known), rtol=1e-5)


def test_the_fingerprint_is_of_items_and_not_of_users(tmp_path: Path) -> None:
    fingerprint = write(tmp_path / "one")
    assert write(tmp_path / "two", users=USERS[:2]) == fingerprint
    assert write(tmp_path / "three", items=ITEMS + 1) != fingerprint


def test_no_users_are_fine(tmp_path: Path) -> None:
    write(tmp_path / "factors", users=USERS[:0])
    assert list(open_factors(tmp_path / "factors").users.batches()) == []


@pytest.mark.parametrize("name", ["items.npy", "items.txt", "users.npy", "users.txt", "fold_in_known.npy"])
def test_a_flipped_bit_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(FactorsError, match=f"{name}: SHA-256 is"):
        open_factors(folder).check()


@pytest.mark.parametrize("name", ["items.npy", "users.npy", "fold_in_start.npy"])
def test_a_file_cut_short_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-4])
    with pytest.raises(FactorsError, match=name):
        open_factors(folder)


def test_a_pickle_is_never_loaded(folder: Path) -> None:
    np.save(folder / "items.npy", np.array([{"no": "array"}], object), allow_pickle=True)
    with pytest.raises(FactorsError, match=r"items\.npy is damaged"):
        open_factors(folder)


def test_files_of_another_shape_are_refused(folder: Path) -> None:
    np.save(folder / "users.npy", USERS[:, :4])
    with pytest.raises(FactorsError, match=r"users\.npy is float32 \[4, 4\], the manifest says float32 \[4, 5\]"):
        open_factors(folder)


def test_ids_that_are_too_few_are_told(folder: Path) -> None:
    (folder / "users.txt").write_text("1\n2\n")
    with pytest.raises(FactorsError, match=r"users\.txt has 2 lines for 4 rows"):
        list(open_factors(folder).users.batches(2))


def test_a_factor_that_is_not_finite_is_told(folder: Path) -> None:
    bad = USERS.copy()
    bad[2, 1] = np.nan
    np.save(folder / "users.npy", bad)
    with pytest.raises(FactorsError, match="row 2 of users"):
        list(open_factors(folder).users.batches())


@pytest.mark.parametrize(
    ("key", "value"),
    [("version", 2), ("metric", "cosine"), ("dimension", "5"), ("fingerprint", "x"), ("temperature", 0), ("files", {})],
)
def test_a_manifest_that_says_something_else_is_refused(folder: Path, key: str, value: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(FactorsError, match=r"manifest\.json"):
        open_factors(folder)


def test_files_of_another_training_are_refused_with_both_fingerprints_named(tmp_path: Path) -> None:
    first, second = write(tmp_path / "one"), write(tmp_path / "two", items=ITEMS + 1)
    path = tmp_path / "one" / "manifest.json"
    path.write_text(path.read_text().replace(first, second))
    with pytest.raises(FactorsError, match=f"manifest.json.*{second}.*{first}"):
        open_factors(tmp_path / "one")


def test_a_folder_without_a_manifest_is_unfinished(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(FactorsError, match=r"manifest\.json is missing"):
        open_factors(folder)


def test_an_id_with_a_line_break_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line break"):
        factor_files.write(tmp_path / "f", item_ids=("a\nb",), items=ITEMS[:1], user_ids=(), users=(), fold_in=FOLD_IN)
    assert not (tmp_path / "f" / "manifest.json").exists()
