from __future__ import annotations

import numpy as np
import pytest

from twinset_exporter.training.category.augmentation import Augmentation

PICTURES = np.random.default_rng(0).integers(1, 256, (40, 8, 10, 3), np.uint8)
NONE = Augmentation(mirror=0, shift=0, hide=0)


def test_nothing_asked_for_changes_nothing() -> None:
    np.testing.assert_array_equal(NONE.apply(PICTURES, np.random.default_rng(0)), PICTURES)


def test_a_mirrored_picture_is_read_from_the_right() -> None:
    changed = Augmentation(mirror=1, shift=0, hide=0).apply(PICTURES, np.random.default_rng(0))
    np.testing.assert_array_equal(changed, PICTURES[:, :, ::-1])


def test_half_of_the_pictures_are_mirrored() -> None:
    changed = Augmentation(mirror=0.5, shift=0, hide=0).apply(PICTURES, np.random.default_rng(0))
    same = (changed == PICTURES).all(axis=(1, 2, 3)).sum()
    assert 10 < same < 30


def test_a_shifted_picture_keeps_its_edge() -> None:
    changed = Augmentation(mirror=0, shift=0.25, hide=0).apply(PICTURES, np.random.default_rng(1))
    offsets = set()
    for before, after in zip(PICTURES, changed, strict=True):
        found = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if np.array_equal(
                after, before[np.clip(np.arange(8) + down, 0, 7)][:, np.clip(np.arange(10) + right, 0, 9)]
            )
        ]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 10


def test_what_is_hidden_is_one_black_rectangle() -> None:
    changed = Augmentation(mirror=0, shift=0, hide=1, hidden=0.5).apply(PICTURES, np.random.default_rng(2))
    sizes = set()
    for before, after in zip(PICTURES, changed, strict=True):
        black = (after == 0).all(axis=2)
        rows, columns = np.flatnonzero(black.any(axis=1)), np.flatnonzero(black.any(axis=0))
        assert black[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        np.testing.assert_array_equal(after[~black], before[~black])
        sizes.add((len(rows), len(columns)))
    assert max(rows for rows, _ in sizes) <= 4
    assert max(columns for _, columns in sizes) <= 5
    assert len(sizes) > 5


@pytest.mark.parametrize("seed", [0, 1])
def test_pictures_change_by_the_seed_alone(seed: int) -> None:
    first, again = (Augmentation().apply(PICTURES, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, Augmentation().apply(PICTURES, np.random.default_rng(seed + 1)))
