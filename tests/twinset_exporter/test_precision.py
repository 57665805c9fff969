from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from fakes.steps import RecordedSteps
from twinset import card
from twinset.contract import ModelContract
from twinset.images import PicturePipeline, decode
from twinset.known_answer import known_input
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.export import Request, Result, export
from twinset_exporter.precision import fp16, gate, int8, publication
from twinset_exporter.precision.equalisation import equalise
from twinset_exporter.precision.layout import transpose_first
from twinset_exporter.precision.publication import Precision, Reduction, reduce
from twinset_exporter.repository import MODEL, PublishedModel, Repository
from twinset_exporter.runtime import Runtime
from twinset_exporter.targets import PARAMETER as TARGET_PARAMETER
from twinset_exporter.targets import Target
from twinset_exporter.weights import RandomWeights

FP32_VECTORS = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
FP32_VECTORS /= np.linalg.norm(FP32_VECTORS, axis=1, keepdims=True)


def judged(given: NDArray[np.float32], *, accept_loss: bool = False) -> gate.Gate:
    return gate.judge(FP32_VECTORS, given, accept_loss=accept_loss, reference_fingerprint="f" * 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """210 pictures, each of two colours."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(1)
    for number in range(210):
        colours = random.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((16, 16)).save(folder / f"{number:03}.png")
    return folder


@pytest.fixture
def fp32(tiny_model: Callable[[int], Result]) -> Result:
    return tiny_model(3)


def test_the_same_vectors_may_serve_the_fp32_fingerprint() -> None:
    record = judged(FP32_VECTORS.copy())
    assert (record.queries_recall, record.neighbours_recall, record.pictures) == (1.0, 1.0, 60)
    assert record.serves_reference
    assert not record.loss_accepted


def test_recall_is_the_share_of_the_expected() -> None:
    assert gate.recall(np.array([[1, 2], [0, 3]]), np.array([[2, 1], [3, 9]])) == 0.75


def test_a_rotated_space_keeps_its_neighbours_but_may_not_answer_for_the_other() -> None:
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))[0].astype(np.float32)
    record = judged(FP32_VECTORS @ rotation)
    assert record.neighbours_recall > gate.SERVES_ITSELF
    assert not record.serves_reference
    assert not record.loss_accepted


def test_lost_neighbours_are_refused_with_the_figure() -> None:
    noise = np.random.default_rng(3).normal(size=FP32_VECTORS.shape).astype(np.float32)
    with pytest.raises(ExportError, match=r"refused: neighbours' recall@10 against fp32 is 0\.\d{4} over 60 pictures"):
        judged(noise)
    assert judged(noise, accept_loss=True).loss_accepted


def test_nan_is_refused_whatever_is_accepted() -> None:
    broken = FP32_VECTORS.copy()
    broken[7, 3] = np.nan
    with pytest.raises(ExportError, match="NaN"):
        judged(broken, accept_loss=True)


def test_transposing_first_changes_no_bit(fp32: Result) -> None:
    content = (fp32.path / MODEL).read_bytes()
    model = onnx.load_from_string(content)
    transpose_first(model)
    assert model.graph.node[0].op_type == "Transpose"
    pictures = known_input(1, 4, 16, 16)
    before, after = Runtime(content).run(pictures), Runtime(model.SerializeToString()).run(pictures)
    np.testing.assert_array_equal(before["features"], after["features"])


def test_equal_channels_compute_the_same() -> None:
    shape = onnx.helper.make_tensor_value_info
    random = np.random.default_rng(4)
    first = random.normal(size=(3, 3, 1, 1)).astype(np.float32) * np.array([20, 1, 5], np.float32).reshape(3, 1, 1, 1)
    second = random.normal(size=(4, 3, 1, 1)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Cast", ["pictures"], ["pixels"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        onnx.helper.make_node("Conv", ["planes", "first"], ["wide"], name="writer"),
        onnx.helper.make_node("Conv", ["wide", "second"], ["answer"], name="reader"),
        onnx.helper.make_node("GlobalAveragePool", ["answer"], ["pooled"]),
        onnx.helper.make_node("Flatten", ["pooled"], ["embedding"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "two",
        [shape("pictures", onnx.TensorProto.UINT8, ["N", 8, 8, 3])],
        [shape("embedding", onnx.TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    pictures = known_input(1, 4, 8, 8)
    before = Runtime(model.SerializeToString()).run(pictures)["embedding"]
    equalise(model, pictures)
    after = Runtime(model.SerializeToString()).run(pictures)["embedding"]
    np.testing.assert_allclose(after, before, rtol=1e-4)
    scaled = numpy_helper.to_array(model.graph.initializer[0])
    outputs = np.abs(np.einsum("nhwc,oc->nhwo", pictures.astype(np.float32), scaled[:, :, 0, 0])).max(axis=(0, 1, 2))
    np.testing.assert_allclose(outputs, outputs.max(), rtol=1e-3)


def test_fp16_halves_the_large_weights_and_serves_fp32(
    fp32: Result, repository: Repository, monkeypatch: pytest.MonkeyPatch, steps: RecordedSteps
) -> None:
    monkeypatch.setattr(fp16, "_SMALLEST", 30)
    result = reduce(Reduction(Precision.FP16), repository, fp32, steps)
    kinds = {tensor.data_type for tensor in onnx.load(result.path / MODEL).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    contract = result.contract
    assert contract.fingerprint == fp32.contract.fingerprint
    assert contract.artifact != fp32.contract.artifact
    assert contract.model == f"{fp32.contract.model}-fp16-{contract.artifact[:8]}"
    assert contract.gate is not None
    assert contract.gate.serves_reference
    assert card.problems(result.path, contract) == []
    told = card.read_card(result.path).content
    assert (told["precision"], told["target"]) == ("fp16", "cpu")
    assert told["gate"]["queries_recall"] == contract.gate.queries_recall
    assert told["source"]["fp32_artifact"] == fp32.contract.artifact


def test_an_fp32_model_that_changed_is_no_source(fp32: Result, repository: Repository) -> None:
    with (fp32.path / MODEL).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ExportError, match=r"is damaged \(1/model.onnx: SHA-256 is "):
        reduce(Reduction(Precision.FP16), repository, fp32, RecordedSteps())


def test_fp16_is_published_for_the_target_of_fp32(
    tiny: Backbone, pipeline: PicturePipeline, repository: Repository
) -> None:
    request = Request(tiny, RandomWeights(3), pipeline, target=Target.GPU)
    result = reduce(
        Reduction(Precision.FP16), repository, export(request, repository, RecordedSteps()), RecordedSteps()
    )
    (model,) = [model for model in repository.models() if model.path == result.path]
    assert isinstance(model, PublishedModel)
    assert model.parameters[TARGET_PARAMETER] == "gpu"


def test_int8_is_published_beside_fp32_with_its_record(
    fp32: Result, repository: Repository, steps: RecordedSteps, folder: Path
) -> None:
    # Four features are too few for int8 to keep ten neighbours in order.
    reduction = Reduction(Precision.INT8, folder, accept_loss=True)
    result = reduce(reduction, repository, fp32, steps)
    assert {model.path.name for model in repository.models()} == {fp32.contract.model, result.contract.model}
    (model,) = [model for model in repository.models() if model.path == result.path]
    assert isinstance(model, PublishedModel)
    assert model.problems() == []
    assert model.contract.precision == "int8"
    record = model.contract.gate
    assert record is not None
    assert record.pictures == 140
    assert record.reference_fingerprint == fp32.contract.fingerprint
    assert record.serves_reference == (model.contract.fingerprint == fp32.contract.fingerprint)
    noise = known_input(model.contract.known_answer.seed, 2, 16, 16)
    assert model.contract.known_answer.mismatch(Runtime((model.path / MODEL).read_bytes()).run(noise)) is None
    again = reduce(reduction, repository, fp32, RecordedSteps())
    assert (again.new, again.contract.model) == (False, result.contract.model)


@pytest.mark.parametrize("factor", [pytest.param(0.02, id="too small"), pytest.param(40.0, id="too large")])
def test_wrecked_scales_are_refused_and_nothing_is_written(
    fp32: Result, repository: Repository, folder: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    sound = int8.Quantiser.quantise

    def wrecked(quantiser: int8.Quantiser, kept: object = ()) -> bytes:
        model = onnx.load_from_string(sound(quantiser, ()))
        for tensor in model.graph.initializer:
            if tensor.name.endswith("_scale") and not tensor.dims:
                tensor.CopyFrom(
                    numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name)
                )
        serialised: bytes = model.SerializeToString()
        return serialised

    monkeypatch.setattr(int8.Quantiser, "quantise", wrecked)
    with pytest.raises(ExportError, match=r"refused: neighbours' recall@10 against fp32 is 0\."):
        reduce(Reduction(Precision.INT8, folder), repository, fp32, RecordedSteps())
    assert [model.path for model in repository.models()] == [fp32.path]


def test_nan_weights_are_refused_and_nothing_is_written(
    fp32: Result, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(content: bytes) -> bytes:
        model = onnx.load_from_string(content)
        weights = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
        weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(np.nan), weights.name))
        serialised: bytes = model.SerializeToString()
        return serialised

    monkeypatch.setattr(publication.fp16, "store_as_fp16", poisoned)
    with pytest.raises(ExportError, match="NaN or infinite"):
        reduce(Reduction(Precision.FP16, accept_loss=True), repository, fp32, RecordedSteps())
    assert [model.path for model in repository.models()] == [fp32.path]


def test_int8_without_or_with_few_pictures_is_a_clear_line(
    fp32: Result, repository: Repository, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="int8 needs --calibration FOLDER: 200 pictures or more"):
        Reduction(Precision.INT8)
    (tmp_path / "few").mkdir()
    with pytest.raises(UsageError, match=r"0 pictures below .*takes a folder with 200 or more"):
        reduce(Reduction(Precision.INT8, tmp_path / "few"), repository, fp32, RecordedSteps())


@pytest.mark.parametrize(
    ("precision", "folder_given", "accept_loss", "line"),
    [
        ("int4", False, False, "no precision 'int4': choose one of fp32, fp16, int8"),
        ("fp32", True, False, "fp32 loses nothing"),
        ("fp32", False, True, "fp32 loses nothing"),
    ],
)
def test_what_does_not_fit_together_is_told(
    precision: str, folder_given: bool, accept_loss: bool, line: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=line):
        publication.parse(precision, tmp_path if folder_given else None, accept_loss=accept_loss, triton=False)


def test_fp32_is_nothing_to_do() -> None:
    assert publication.parse("fp32", None, accept_loss=False, triton=True) is None


def test_the_contract_without_a_precision_is_fp32(fp32: Result) -> None:
    parameters = fp32.contract.to_parameters()
    del parameters["twinset.precision"]
    contract = ModelContract.from_parameters(parameters)
    assert (contract.precision, contract.gate) == ("fp32", None)
    assert contract.model == fp32.contract.model


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif("TWINSET_DATA" not in os.environ, reason="TWINSET_DATA names no data folder")
def test_int8_keeps_the_neighbours_and_the_article_types(lite0: Result) -> None:
    products = Path(os.environ["TWINSET_DATA"]) / "products"
    repository = Repository(lite0.path.parent)
    result = reduce(Reduction(Precision.INT8, products / "images"), repository, lite0, RecordedSteps())
    assert result.contract.gate is not None
    assert result.contract.gate.neighbours_recall >= 0.95
    with (products / "styles.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    types = np.array([row["articleType"] for row in rows])
    pipeline = PicturePipeline(224, 224)
    pictures = np.stack([decode((products / "images" / f"{row['id']}.jpg").read_bytes(), pipeline) for row in rows])
    precision = {}
    for path in (lite0.path, result.path):
        vectors = Runtime((path / MODEL).read_bytes()).run(pictures)["embedding"]
        similarity = vectors @ vectors.T
        np.fill_diagonal(similarity, -np.inf)
        nearest = np.argpartition(-similarity, 10, axis=1)[:, :10]
        precision[path] = float((types[nearest] == types[:, None]).mean())
    assert precision[result.path] >= precision[lite0.path] - 0.01
