from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fakes.taste import held_out
from twinset_exporter import graph, keras_file
from twinset_exporter.heads import network
from twinset_exporter.heads.specification import read
from twinset_exporter.runtime import Runtime
from twinset_exporter.training.taste import pictures, two_tower
from twinset_exporter.training.taste.pictures import Preparation
from twinset_exporter.training.taste.run import heads_toml

FEATURES = np.random.default_rng(0).normal(2, 3, (60, 12)).astype(np.float32)
SETTINGS = two_tower.Settings(dimension=6, epochs=3)


@pytest.fixture(scope="module")
def trained() -> tuple[Preparation, two_tower.Towers]:
    preparation = Preparation.of(FEATURES, 8)
    return preparation, two_tower.train(held_out().train, SETTINGS, preparation.apply(FEATURES))


def test_prepared_features_are_uncorrelated_and_of_one_scale() -> None:
    rows = Preparation.of(FEATURES, 8).apply(FEATURES)
    np.testing.assert_allclose(rows.T @ rows / 60, np.eye(8) / 8, atol=1e-5)


def test_features_that_never_change_are_no_trouble() -> None:
    constant = FEATURES.copy()
    constant[:, 3] = 5
    assert np.isfinite(Preparation.of(constant, 8).apply(constant)).all()


def test_fewer_pictures_than_components_give_fewer_components() -> None:
    assert Preparation.of(FEATURES[:5], 8).apply(FEATURES).shape == (60, 4)


def test_one_picture_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Preparation.of(FEATURES[:1])


def test_the_head_computes_the_factors(trained: tuple[Preparation, two_tower.Towers], tmp_path: Path) -> None:
    pictures.head(*trained).save(tmp_path / "taste.keras")
    (tmp_path / "heads.toml").write_text(heads_toml("a" * 64))
    (head,) = read(tmp_path / "heads.toml").heads
    loaded = network.load(head, 12)
    expected = pictures.factors(*trained, FEATURES)
    np.testing.assert_allclose(loaded.run(FEATURES)["taste"], expected, atol=1e-5)
    served = Runtime(graph.head_to_onnx(loaded.model, [one.output for one in loaded.outputs]), "features")
    np.testing.assert_allclose(served.run(FEATURES)["taste"], expected, atol=1e-5)
    assert keras_file.load(tmp_path / "taste.keras").output_shape == (None, 6)


def test_a_new_item_has_the_median_bias(trained: tuple[Preparation, two_tower.Towers]) -> None:
    found = pictures.factors(*trained, FEATURES)
    np.testing.assert_array_equal(found[:, -1], np.median(trained[1].bias))
    np.testing.assert_allclose(np.linalg.norm(found[:, :-1], axis=1), 1, rtol=1e-5)


def test_towers_without_pictures_have_no_head() -> None:
    towers = two_tower.train(held_out().train, SETTINGS)
    with pytest.raises(ValueError, match="trained without pictures"):
        pictures.factors(Preparation.of(FEATURES, 8), towers, FEATURES)
    with pytest.raises(ValueError, match="trained without pictures"):
        pictures.head(Preparation.of(FEATURES, 8), towers)
