from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from twinset.images import PicturePipeline
from twinset_exporter import graph
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.export import Result
from twinset_exporter.fingerprint import artifact, fingerprint
from twinset_exporter.outputs import FEATURES, OUTPUTS
from twinset_exporter.weights import RandomWeights


@pytest.fixture
def of(tiny: Backbone, pipeline: PicturePipeline) -> Callable[[keras.Model], str]:
    return lambda model: fingerprint(model, tiny.preprocessing, pipeline, OUTPUTS)


@pytest.fixture
def model(tiny: Backbone) -> keras.Model:
    return tiny.build(RandomWeights(0), 16, 16)


def dense(*sizes: int, activation: str = "relu") -> keras.Model:
    network = keras.Sequential([keras.Input((3,)), *(layers.Dense(n, activation=activation) for n in sizes)])
    for variable in network.variables:
        variable.assign(np.full(variable.shape, 0.5, np.float32))
    return network


def test_two_builds_of_one_network_have_one_fingerprint(tiny: Backbone, of: Callable[[keras.Model], str]) -> None:
    one, other = (tiny.build(RandomWeights(0), 16, 16) for _ in range(2))
    assert [layer.name for layer in one.layers] != [layer.name for layer in other.layers]
    assert of(one) == of(other)


def test_saving_and_loading_keeps_the_fingerprint(
    model: keras.Model, of: Callable[[keras.Model], str], tmp_path: Path
) -> None:
    model.save(tmp_path / "tiny.keras")
    assert of(keras.saving.load_model(tmp_path / "tiny.keras")) == of(model)


def test_freezing_layers_keeps_the_fingerprint(model: keras.Model, of: Callable[[keras.Model], str]) -> None:
    before = of(model)
    model.trainable = False
    assert of(model) == before


def test_one_changed_weight_changes_it(model: keras.Model, of: Callable[[keras.Model], str]) -> None:
    before = of(model)
    kernel = model.layers[1].kernel
    values = kernel.numpy()
    values[0, 0, 0, 0] = np.nextafter(values[0, 0, 0, 0], np.float32(9))
    kernel.assign(values)
    assert of(model) != before


@pytest.mark.parametrize(
    "change", [{"interpolation": "nearest"}, {"resize": "pad"}, {"antialias": False}, {"scaled_decoding": False}]
)
def test_another_picture_pipeline_changes_it(
    model: keras.Model, tiny: Backbone, pipeline: PicturePipeline, change: dict[str, object]
) -> None:
    other = dataclasses.replace(pipeline, **change)  # type: ignore[arg-type]
    one, two = (fingerprint(model, tiny.preprocessing, p, OUTPUTS) for p in (pipeline, other))
    assert one != two


def test_another_version_of_the_picture_pipeline_changes_it(
    model: keras.Model, tiny: Backbone, pipeline: PicturePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(model, tiny.preprocessing, pipeline, OUTPUTS)
    monkeypatch.setattr("twinset.images.pipeline.VERSION", 2)
    later = dataclasses.replace(pipeline, version=2)
    assert fingerprint(model, tiny.preprocessing, later, OUTPUTS) != before


def test_another_release_of_the_converter_makes_another_file_of_the_same_fingerprint(
    export_tiny: Callable[[int], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export_tiny(0)
    to_onnx = graph.to_onnx

    def by_another_release(*arguments: Any) -> bytes:
        model = onnx.load_model_from_string(to_onnx(*arguments))
        assert model.producer_name == "tf2onnx"
        model.producer_version = "99.0 123abc"
        return bytes(model.SerializeToString(deterministic=True))

    monkeypatch.setattr(graph, "to_onnx", by_another_release)
    monkeypatch.setattr("twinset_exporter.recipe._version", lambda tool: "99.0")  # else the export would be skipped
    second = export_tiny(0)
    assert second.contract.fingerprint == first.contract.fingerprint
    assert (second.new, second.same_file) == (False, False)


def test_another_preprocessing_changes_it(model: keras.Model, tiny: Backbone, pipeline: PicturePipeline) -> None:
    other = dataclasses.replace(tiny.preprocessing, channels="BGR")
    one, two = (fingerprint(model, p, pipeline, OUTPUTS) for p in (tiny.preprocessing, other))
    assert one != two


def test_other_outputs_change_it(model: keras.Model, tiny: Backbone, pipeline: PicturePipeline) -> None:
    one, two = (fingerprint(model, tiny.preprocessing, pipeline, o) for o in (OUTPUTS, (FEATURES,)))
    assert one != two


def test_another_activation_changes_it(of: Callable[[keras.Model], str]) -> None:
    assert of(dense(4, activation="relu")) != of(dense(4, activation="tanh"))


def test_another_epsilon_changes_it(of: Callable[[keras.Model], str]) -> None:
    one, two = (keras.Sequential([keras.Input((3,)), layers.BatchNormalization(epsilon=e)]) for e in (1e-3, 1e-5))
    assert of(one) != of(two)


def test_other_connections_change_it(of: Callable[[keras.Model], str]) -> None:
    def network(*, from_first: bool) -> keras.Model:
        x = keras.Input((3,))
        first = layers.ReLU(1.0)(x)
        second = layers.ReLU(2.0)(first)
        return keras.Model(x, layers.Add()([x, first if from_first else second]) + 0 * second)

    assert of(network(from_first=True)) != of(network(from_first=False))


def test_weights_that_change_places_change_it(of: Callable[[keras.Model], str]) -> None:
    model = dense(3, 3)
    model.layers[0].bias.assign([1.0, 2.0, 3.0])
    before = of(model)
    model.layers[0].bias.assign([0.5, 0.5, 0.5])
    model.layers[1].bias.assign([1.0, 2.0, 3.0])
    assert of(model) != before


def test_a_network_in_a_network_counts(of: Callable[[keras.Model], str]) -> None:
    def around(inner: keras.Model) -> keras.Model:
        x = keras.Input((3,))
        return keras.Model(x, inner(x))

    assert of(around(dense(4))) == of(around(dense(4)))
    assert of(around(dense(4))) != of(around(dense(4, activation="tanh")))


def test_the_artifact_is_the_file_s() -> None:
    assert artifact(b"one") == artifact(b"one")
    assert artifact(b"one") != artifact(b"two")
