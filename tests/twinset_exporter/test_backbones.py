from __future__ import annotations

import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from fakes.steps import RecordedSteps
from twinset.images import PicturePipeline, decode
from twinset_exporter.backbones.efficientnet_lite0 import BACKBONE as LITE0
from twinset_exporter.backbones.pack import fold
from twinset_exporter.backbones.registry import BACKBONES
from twinset_exporter.export import Request, export
from twinset_exporter.repository import Repository
from twinset_exporter.weights import FileWeights, RandomWeights, read_packed, unpack

WEIGHTS = LITE0.packaged_weights
assert WEIGHTS is not None

data = pytest.mark.skipif("TWINSET_DATA" not in os.environ, reason="TWINSET_DATA doesn't name the data folder")


def folder() -> Path:
    return Path(os.environ["TWINSET_DATA"])


def test_names_are_fit_for_a_folder() -> None:
    for name, backbone in BACKBONES.items():
        assert name == backbone.name
        assert re.fullmatch("[a-z0-9_]+", name)


def test_lite0_has_the_size_of_the_published_network() -> None:
    model = LITE0.build(FileWeights(WEIGHTS), 224, 224)
    # 3,413,024 weights of the trained network, less its BatchNormalizations' 4 per channel, plus a bias each.
    assert model.count_params() == 3_350_000
    assert model.output_shape == (None, LITE0.features)


def test_the_packaged_weights_are_finite_half_floats_under_8_mb() -> None:
    packed = read_packed(WEIGHTS)
    assert {array.dtype for array in packed.values()} == {np.dtype(np.float16)}
    assert all(np.isfinite(array).all() for array in packed.values())
    assert WEIGHTS.stat().st_size < 8_000_000


def test_the_licence_lies_beside_the_weights() -> None:
    assert "Apache License, Version 2.0" in WEIGHTS.with_suffix(".LICENSE").read_text()


def test_lite0_takes_pictures_of_another_size() -> None:
    model = LITE0.build(FileWeights(WEIGHTS), 96, 96)
    assert model.predict(np.zeros((1, 96, 96, 3), np.float32), verbose=0).shape == (1, LITE0.features)


def test_vgg16_keeps_every_place_apart_and_its_pooled_form_their_average() -> None:
    pictures = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    flat, pooled = (BACKBONES[name].build(RandomWeights(0), 64, 64) for name in ("vgg16", "vgg16_pooled"))
    pooled.set_weights(flat.get_weights())
    places = flat.predict(pictures, verbose=0).reshape(1, 4, 512)
    np.testing.assert_allclose(pooled.predict(pictures, verbose=0), places.mean(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "features", "size"),
    [
        ("efficientnet_lite0", 1280, 224),
        ("resnet50", 2048, 224),
        ("vgg16", 25_088, 224),
        ("vgg16_pooled", 512, 224),
        ("inception_v3", 2048, 299),
    ],
)
def test_the_backbones_have_these_sizes(name: str, features: int, size: int) -> None:
    backbone = BACKBONES[name]
    assert (backbone.features, backbone.size) == (features, size)
    assert f"{features:,} features" in backbone.summary
    assert backbone.build(RandomWeights(0), size, size).output_shape == (None, features)


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_the_features_that_it_says_and_takes_its_smallest_size(name: str) -> None:
    backbone = BACKBONES[name]
    assert backbone.build(RandomWeights(0), backbone.size, backbone.size).output_shape == (None, backbone.features)
    backbone.build(RandomWeights(0), backbone.smallest_size, backbone.smallest_size)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "densenet121"])
def test_the_others_export_too(name: str, tmp_path: Path) -> None:
    side = BACKBONES[name].smallest_size
    request = Request(BACKBONES[name], RandomWeights(0), PicturePipeline(side, side))
    assert export(request, Repository(tmp_path), RecordedSteps()).new


def _trained(folded: bool) -> keras.Model:
    pictures = keras.Input((8, 8, 3))
    x = pictures
    for kind, name in ((layers.Conv2D, "one"), (layers.DepthwiseConv2D, "two")):
        sizes = (5, 3) if kind is layers.Conv2D else (3,)
        x = kind(*sizes, padding="same", use_bias=folded, name=name)(x)
        if not folded:
            x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
        x = layers.ReLU(6.0, name=f"{name}_relu6")(x)
    return keras.Model(pictures, layers.GlobalAveragePooling2D()(x))


def test_folding_keeps_what_is_computed_even_where_a_variance_is_zero() -> None:
    random = np.random.default_rng(0)
    trained, folded = _trained(folded=False), _trained(folded=True)
    for variable in trained.variables:
        values = random.uniform(0.1, 1, variable.shape).astype(np.float32)
        if variable.name == "moving_variance":
            values[0] = 0
        variable.assign(values)
    unpack(fold(trained), folded)
    pixels = random.normal(size=(4, 8, 8, 3)).astype(np.float32)
    expected, given = (model.predict(pixels, verbose=0) for model in (trained, folded))
    np.testing.assert_allclose(given, expected, rtol=5e-3)


def test_folding_refuses_what_a_half_float_can_t_hold() -> None:
    trained = _trained(folded=False)
    trained.get_layer("two_bn").beta.assign([0, 0, 0, 0, 1e6])
    with pytest.raises(ValueError, match=r"two: .* too large for float16"):
        fold(trained)


@pytest.mark.data
@pytest.mark.slow
@data
def test_packing_the_trained_network_makes_the_packaged_weights() -> None:
    trained = keras.saving.load_model(folder() / "weights" / "efficientnet_lite0_imagenet.keras", compile=False)
    packed = read_packed(WEIGHTS)
    again = fold(trained)
    assert again.keys() == packed.keys()
    assert all(np.array_equal(again[name], packed[name]) for name in packed)


@pytest.mark.data
@pytest.mark.slow
@data
def test_lite0_agrees_with_the_trained_network_on_photographs() -> None:
    trained = keras.saving.load_model(folder() / "weights" / "efficientnet_lite0_imagenet.keras", compile=False)
    model = LITE0.build(FileWeights(WEIGHTS), 224, 224)
    files = sorted((folder() / "products" / "images").glob("*.jpg"))[::10]
    assert len(files) >= 100
    pixels = np.stack([decode(file.read_bytes(), PicturePipeline(224, 224)) for file in files])
    expected = trained.predict((pixels.astype(np.float32) - 127) / 128, verbose=0)
    given = model.predict(LITE0.preprocess(pixels), verbose=0)
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(given, axis=1)
    assert ((expected * given).sum(axis=1) / norms).min() >= 0.9999
