from __future__ import annotations

import collections
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from keras import layers

from twinset.images import PicturePipeline
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.backbones.registry import BACKBONES
from twinset_exporter.errors import ExportError
from twinset_exporter.export import Result
from twinset_exporter.graph import OPSET, to_onnx
from twinset_exporter.repository import MODEL
from twinset_exporter.runtime import Runtime
from twinset_exporter.weights import RandomWeights

EVERY_VALUE = np.stack([np.arange(256), np.arange(256)[::-1], np.roll(np.arange(256), 99)], axis=-1)
EVERY_VALUE = EVERY_VALUE.reshape(1, 16, 16, 3).astype(np.uint8)


@pytest.fixture
def graph(tiny: Backbone, pipeline: PicturePipeline) -> bytes:
    return to_onnx(tiny.build(RandomWeights(0), 16, 16), tiny.preprocessing, pipeline)


def noise(count: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", BACKBONES)
def test_preprocessing_in_the_graph_is_keras_s_to_the_bit(name: str, pipeline: PicturePipeline) -> None:
    backbone = BACKBONES[name]
    pixels = keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten()])
    runtime = Runtime(to_onnx(pixels, backbone.preprocessing, pipeline))
    features = runtime.run(EVERY_VALUE)["features"].reshape(EVERY_VALUE.shape)
    np.testing.assert_array_equal(features, backbone.preprocess(EVERY_VALUE))


def test_two_conversions_make_the_same_file(tiny: Backbone, pipeline: PicturePipeline) -> None:
    one, other = (to_onnx(tiny.build(RandomWeights(0), 16, 16), tiny.preprocessing, pipeline) for _ in range(2))
    assert one == other


def test_the_file_is_whole_and_says_what_it_takes_and_gives(graph: bytes) -> None:
    model = onnx.load_model_from_string(graph)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
    assert not any(constant.external_data for constant in model.graph.initializer)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (pictures,) = session.get_inputs()
    assert (pictures.name, pictures.type, pictures.shape) == ("pictures", "tensor(uint8)", ["N", 16, 16, 3])
    given = {output.name: (output.type, output.shape) for output in session.get_outputs()}
    assert given == {"features": ("tensor(float)", ["N", 4]), "embedding": ("tensor(float)", ["N", 4])}


def test_the_embedding_is_the_features_at_unit_length(graph: bytes) -> None:
    answer = Runtime(graph).run(noise(5))
    features = answer["features"]
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(answer["embedding"], expected, rtol=1e-5)


def test_a_picture_without_features_has_a_zero_embedding(tiny: Backbone, pipeline: PicturePipeline) -> None:
    model = tiny.build(RandomWeights(0), 16, 16)
    for variable in model.variables:
        variable.assign(np.zeros(variable.shape, np.float32))
    answer = Runtime(to_onnx(model, tiny.preprocessing, pipeline)).run(noise(1))
    np.testing.assert_array_equal(answer["embedding"], np.zeros((1, 4), np.float32))


def test_a_row_doesn_t_depend_on_its_batch(graph: bytes) -> None:
    runtime = Runtime(graph)
    pictures = noise(40)
    alone = np.concatenate([runtime.run(picture[np.newaxis])["embedding"] for picture in pictures])
    np.testing.assert_allclose(runtime.run(pictures)["embedding"], alone, atol=1e-6)


def test_a_fixed_batch_axis_is_refused(graph: bytes) -> None:
    model = onnx.load_model_from_string(graph)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    batch.ClearField("dim_param")
    batch.dim_value = 1
    with pytest.raises(ExportError, match="batch size 3"):
        Runtime(model.SerializeToString()).check_batch_axis(noise(1)[0])


def test_a_batch_axis_that_mixes_rows_is_refused(graph: bytes) -> None:
    model = onnx.load_model_from_string(graph)
    (reduce,) = (node for node in model.graph.node if node.op_type == "ReduceSum")
    axes = next(constant for constant in model.graph.initializer if constant.name == reduce.input[1])
    axes.CopyFrom(onnx.numpy_helper.from_array(np.array([0, 1]), axes.name))
    with pytest.raises(ExportError, match=r"embedding.*batch size 3"):
        Runtime(model.SerializeToString()).check_batch_axis(noise(1)[0])


def test_a_network_that_the_converter_fails_on_is_refused_in_one_line(
    tiny: Backbone, pipeline: PicturePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such op\nand where it was met")

    monkeypatch.setattr("tf2onnx.convert.from_function", fail)
    with pytest.raises(ExportError, match=r"tf2onnx can't convert tiny to ONNX: no such op$") as refused:
        to_onnx(tiny.build(RandomWeights(0), 16, 16), tiny.preprocessing, pipeline)
    assert "\n" not in str(refused.value)


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(ExportError, match="can't load"):
        Runtime(b"no graph")


def test_onnx_runtime_folds_the_batch_normalisation_away(
    tiny: Backbone, pipeline: PicturePipeline, tmp_path: Path
) -> None:
    model = tiny.build(RandomWeights(0), 16, 16)
    for variable in model.layers[2].variables:  # fresh ones normalise nothing
        variable.assign(np.random.default_rng(0).uniform(0.5, 2, variable.shape))
    optimized = _optimized(to_onnx(model, tiny.preprocessing, pipeline), tmp_path)
    assert optimized["Conv"] == 2
    assert optimized["Div"] == 1  # which scales the pixels
    assert optimized["Mul"] == 2  # which make the unit length
    assert optimized["BatchNormalization"] == optimized["Add"] == 0


def test_the_real_graph_transposes_once_and_computes_little_but_convolutions(lite0: Result, tmp_path: Path) -> None:
    optimized = _optimized((lite0.path / MODEL).read_bytes(), tmp_path)
    assert optimized["Conv"] == 49
    assert optimized["Transpose"] == 1
    assert optimized["BatchNormalization"] == optimized["Clip"] == optimized["Add"] == 0


def _optimized(graph: bytes, folder: Path) -> collections.Counter[str]:
    """Count the operators that ONNX Runtime is left with."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return collections.Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)
