from __future__ import annotations

import numpy as np

from twinset_exporter.training.compatibility import whitening


def _features(count: int = 500) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((count, 3)) @ rng.standard_normal((3, 40)) * 5 + 7).astype(np.float32)


def test_directions_are_uncorrelated_alike_and_of_length_one_together():
    features = _features()

    rows = whitening.fit(features, 3, seed=0).rows(features)

    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(3) / 3, atol=1e-4)


def test_directions_that_features_dont_have_are_left_out():
    assert whitening.fit(_features(), 32, seed=0).dimension == 3


def test_the_directions_are_those_of_the_exact_decomposition():
    rng = np.random.default_rng(1)
    features = (rng.standard_normal((300, 60)) * 0.8 ** np.arange(60)).astype(np.float32)
    _, _, directions = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)

    found, _ = np.linalg.qr(whitening.fit(features, 5, seed=0).matrix)

    cosines = np.linalg.svd(found.T @ directions[:5].T)[1]
    np.testing.assert_allclose(cosines, 1, atol=1e-3)


def test_rows_mapped_from_a_file_are_whitened_alike(tmp_path):
    features = _features()
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")

    given, read = whitening.fit(features, 3, seed=0), whitening.fit(mapped, 3, seed=0)

    np.testing.assert_array_equal(given.rows(features), read.rows(mapped))
