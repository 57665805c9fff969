"""Each of these is a bad export planted on purpose; none may reach the repository."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from keras import layers
from onnx import numpy_helper

from fakes.steps import RecordedSteps
from twinset.images import PicturePipeline
from twinset_exporter import graph, preprocessing
from twinset_exporter.backbones import own_model
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.export import Request, export
from twinset_exporter.repository import Repository
from twinset_exporter.runtime import Runtime
from twinset_exporter.weights import FileWeights, RandomWeights

Damage = Callable[[onnx.ModelProto], None]


def refuse(request: Request, repository: Repository, reason: str) -> None:
    with pytest.raises(ExportError, match=reason) as refused:
        export(request, repository, RecordedSteps())
    assert "\n" not in str(refused.value)
    assert list(repository.root.iterdir()) == []


def test_the_tiny_backbone_is_published_as_long_as_nothing_is_planted(
    tiny: Backbone, pipeline: PicturePipeline, repository: Repository
) -> None:
    assert export(Request(tiny, RandomWeights(0), pipeline), repository, RecordedSteps()).new


@pytest.mark.parametrize("wrong", preprocessing.NAMED)
def test_another_preprocessing_than_the_network_s(
    wrong: str, tiny: Backbone, pipeline: PicturePipeline, repository: Repository
) -> None:
    planted = dataclasses.replace(tiny, preprocessing=preprocessing.NAMED[wrong])
    refuse(Request(planted, RandomWeights(0), pipeline), repository, "refused.*doesn't compute what Keras does")


def test_a_batch_axis_frozen_in_the_network(tiny: Backbone, pipeline: PicturePipeline, repository: Repository) -> None:
    def network(height: int, width: int) -> keras.Model:
        pictures = keras.Input((height, width, 3))
        x = layers.GlobalAveragePooling2D()(pictures)
        return keras.Model(pictures, keras.ops.reshape(x, (1, 3)), name="frozen")

    planted = dataclasses.replace(tiny, network=network)
    refuse(Request(planted, RandomWeights(0), pipeline), repository, "batch size 3")


def test_a_batch_axis_frozen_in_a_model_of_one_s_own(tmp_path: Path) -> None:
    pictures = keras.Input(batch_shape=(4, 16, 16, 3))
    keras.Model(pictures, layers.Flatten()(pictures)).save(tmp_path / "mine.keras")
    with pytest.raises(UsageError, match="batch axis is frozen at 4"):
        own_model.load(tmp_path / "mine.keras", prepared="tf")


def test_a_batch_axis_frozen_in_a_saved_model(tmp_path: Path) -> None:
    module = tf.Module()
    pictures = tf.TensorSpec((4, 16, 16, 3), tf.float32)
    mean = tf.function(lambda x: {"features": tf.reduce_mean(x, (1, 2))}, input_signature=[pictures])
    tf.saved_model.save(module, str(tmp_path / "mine"), signatures=mean)
    with pytest.raises(UsageError, match="batch axis is frozen at 4"):
        own_model.load(tmp_path / "mine", prepared="tf")


def test_a_saved_model_that_reads_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("1")
    module = tf.Module()

    def read(x: tf.Tensor) -> dict[str, tf.Tensor]:
        number = tf.strings.to_number(tf.io.read_file(str(secret)))
        return {"features": tf.reduce_mean(x, (1, 2)) * number}

    pictures = tf.TensorSpec((None, 16, 16, 3), tf.float32)
    signature = tf.function(read, input_signature=[pictures])
    tf.saved_model.save(module, str(tmp_path / "mine"), signatures=signature)
    with pytest.raises(ExportError, match="refused: its graph holds ReadFile"):
        own_model.load(tmp_path / "mine", prepared="tf")


def test_nan_weights(tiny: Backbone, pipeline: PicturePipeline, repository: Repository, tmp_path: Path) -> None:
    keras.utils.clear_session()
    model = tiny.build(RandomWeights(0), 16, 16)
    model.layers[1].kernel.assign(np.full(model.layers[1].kernel.shape, np.nan, np.float32))
    model.save_weights(tmp_path / "nan.weights.h5")
    weights = FileWeights(tmp_path / "nan.weights.h5")
    refuse(Request(tiny, weights, pipeline), repository, "108 of the 108 weights in conv2d.*/kernel of tiny are NaN")


def test_a_nan_that_an_activation_would_hide(tiny: Backbone, pipeline: PicturePipeline, repository: Repository) -> None:
    class Poisoned(RandomWeights):
        def fill(self, network: Callable[[], keras.Model]) -> keras.Model:
            model = network()
            model.layers[2].moving_variance.assign([1, 1, 1, np.inf])  # whose channel is 0 everywhere
            return model

    refuse(Request(tiny, Poisoned(0), pipeline), repository, "1 of the 4 weights in .*moving_variance")


def _swap_weights(model: onnx.ModelProto) -> None:
    """Let two filters change places."""
    kernel = next(constant for constant in model.graph.initializer if len(constant.dims) == 4)
    values = numpy_helper.to_array(kernel).copy()
    values[[0, 1]] = values[[1, 0]]
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))


def _nan(model: onnx.ModelProto) -> None:
    kernel = next(constant for constant in model.graph.initializer if len(constant.dims) == 4)
    values = np.full(list(kernel.dims), np.nan, np.float32)
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))


def _freeze(model: onnx.ModelProto) -> None:
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    batch.ClearField("dim_param")
    batch.dim_value = 1


def _point_outside(model: onnx.ModelProto) -> None:
    constant = model.graph.initializer[0]
    constant.ClearField("raw_data")
    constant.data_location = onnx.TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="../../secret")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_swap_weights, "refused.*doesn't compute what Keras does"),
        (_nan, "refused.*nan"),
        (_freeze, "batch size 3"),
        (_point_outside, r"refused: constant .* lies in another file, '\.\./\.\./secret'"),
    ],
)
def test_a_conversion_gone_wrong(
    damage: Damage,
    reason: str,
    tiny: Backbone,
    pipeline: PicturePipeline,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to_onnx = graph.to_onnx

    def damaged(*arguments: object) -> bytes:
        model = onnx.load_model_from_string(to_onnx(*arguments))  # type: ignore[arg-type]
        damage(model)
        serialised: bytes = model.SerializeToString()
        return serialised

    monkeypatch.setattr(graph, "to_onnx", damaged)
    refuse(Request(tiny, RandomWeights(0), pipeline), repository, reason)


def test_a_conversion_cut_off(
    tiny: Backbone, pipeline: PicturePipeline, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_onnx = graph.to_onnx
    monkeypatch.setattr(graph, "to_onnx", lambda *arguments: to_onnx(*arguments)[:-100])
    refuse(Request(tiny, RandomWeights(0), pipeline), repository, "can't load the graph")


def test_data_outside_the_file_is_found_in_nodes_and_subgraphs_too(tiny: Backbone, pipeline: PicturePipeline) -> None:
    model = onnx.load_model_from_string(graph.to_onnx(tiny.network(16, 16), tiny.preprocessing, pipeline))
    inner = onnx.helper.make_graph([], "inner", [], [])
    inner.initializer.add(name="hidden", data_location=onnx.TensorProto.EXTERNAL)
    inner.initializer[0].external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))
    with pytest.raises(ExportError, match="'hidden' of the graph lies in another file, '/etc/passwd'"):
        Runtime(model.SerializeToString())


@pytest.mark.parametrize("name", ["../tiny", "/tmp/tiny", "..", "tiny/../../x"])
def test_a_name_that_leads_out_of_the_repository(
    name: str, tiny: Backbone, pipeline: PicturePipeline, repository: Repository
) -> None:
    planted = dataclasses.replace(tiny, name=name)
    refuse(Request(planted, RandomWeights(0), pipeline), repository, "is no name for a model")
    assert sorted(entry.name for entry in repository.root.parent.iterdir()) == ["models"]


def test_two_weights_that_change_places_are_another_model(
    tiny: Backbone, pipeline: PicturePipeline, repository: Repository
) -> None:
    class Swapped(RandomWeights):
        def fill(self, network: Callable[[], keras.Model]) -> keras.Model:
            model = RandomWeights.fill(self, network)
            kernel = model.layers[1].kernel.numpy()
            model.layers[1].kernel.assign(kernel[..., [1, 0, 2, 3]])
            return model

        def identity(self) -> str:
            return json.dumps({"swapped": True})

    one = export(Request(tiny, RandomWeights(0), pipeline), repository, RecordedSteps())
    other = export(Request(tiny, Swapped(0), pipeline), repository, RecordedSteps())
    assert one.contract.fingerprint != other.contract.fingerprint
    assert one.path != other.path
