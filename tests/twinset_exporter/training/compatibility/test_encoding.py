from __future__ import annotations

import numpy as np
import pytest

from twinset_exporter.training.compatibility import encoding


def _features(count: int = 120) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 10)).astype(np.float32) * 3 + 1


def _fit(features: np.ndarray, landmarks: int = 1000, components: int = 1000) -> encoding.Encoding:
    return encoding.fit(features, 6, landmarks=landmarks, widths=(0.5, 0.2), components=components, seed=0)


def test_likeness_is_a_gaussian_kernel_around_its_mean():
    features = _features()
    code = _fit(features)
    rows = code.rows(features)
    white = code.whitening.rows(features)

    found = rows[:, 6 : 6 + len(code.likeness[0].shift)]

    kernel = np.exp(-np.square(white[:, None] - white[None]).sum(axis=2) / code.likeness[0].width)
    centring = np.eye(len(features)) - 1 / len(features)
    expected = centring @ kernel @ centring
    np.testing.assert_allclose(found @ found.T, expected / np.trace(expected) * len(features), atol=2e-2)


def test_whitened_features_and_each_width_have_the_same_say():
    features = _features()
    rows = _fit(features, components=40).rows(features)

    blocks = rows[:, :6], rows[:, 6:46], rows[:, 46:]
    assert [np.square(block).sum(axis=1).mean() for block in blocks] == pytest.approx([1, 1, 1], rel=1e-3)


def test_there_are_no_more_landmarks_than_asked_for():
    assert len(_fit(_features(), landmarks=30).landmarks) == 30


def test_without_landmarks_rows_are_whitened_features():
    features = _features()
    code = _fit(features, landmarks=0)

    np.testing.assert_array_equal(code.rows(features), code.whitening.rows(features))
    assert code.dimension == 6


def test_squared_distances_of_equal_rows_arent_negative():
    rows = _features() * 100

    found = encoding.squared_distances(rows, rows)

    assert found.min() >= 0
    np.testing.assert_allclose(found, np.square(rows[:, None] - rows[None]).sum(axis=2), rtol=1e-3, atol=1)
