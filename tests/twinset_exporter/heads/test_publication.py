"""Heads on a published backbone: what is computed, what is called the same, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from google.protobuf import text_format
from keras import layers
from tritonclient.grpc import model_config_pb2 as pb

from fakes.heads import save_head
from fakes.published import Run
from fakes.steps import RecordedSteps
from twinset.card import FileDigest, problems, read_card
from twinset.contract import CATEGORY, Metric, ModelContract
from twinset.pair_contract import PairContract
from twinset_exporter import pictures, triton_proof
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.export import Result
from twinset_exporter.heads.chain import open_runtime
from twinset_exporter.heads.publication import Request, publish
from twinset_exporter.heads.specification import Head, Specification, Use
from twinset_exporter.proving import prove
from twinset_exporter.repository import CONFIG, MODEL, PublishedHead, PublishedModel, Repository

FEATURES = 4
PAIR = {"source": Use("pair_source", Metric.EUCLIDEAN), "target": Use("pair_target", Metric.EUCLIDEAN)}
TYPES = ("sofa", "lamp", "rug")
CALIBRATED = PairContract(offset=1.5, scale=0.5, shift=-0.25, prior=0.5, ece=0.02)

Publish = Callable[..., Result]


def save_files(folder: Path) -> Path:
    folder.mkdir()
    save_head(folder / "category.keras", FEATURES, {"out": 3})
    save_head(folder / "kind.keras", FEATURES, {"out": 2}, activation="softmax")
    save_head(folder / "pair.keras", FEATURES, {"target": 5, "source": 5}, categories=len(TYPES))
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The heads' files: category, kind and pair."""
    return save_files(tmp_path / "files")


@pytest.fixture
def backbone(tiny_model: Callable[[int], Result]) -> Result:
    return tiny_model(1)


def heads(files: Path) -> tuple[Head, ...]:
    return (
        Head("category", files / "category.keras", Use("category", Metric.COSINE)),
        Head("kind", files / "kind.keras", Use(classes=("boot", "sandal"))),
        Head("pair", files / "pair.keras", outputs=PAIR, categories=TYPES, pair=CALIBRATED),
    )


@pytest.fixture
def publish_heads(repository: Repository, backbone: Result) -> Publish:
    def run(*asked: Head, name: str | None = "shop") -> Result:
        return publish(Request(Specification(asked, name)), repository, backbone, RecordedSteps())

    return run


@pytest.fixture(scope="module")
def published_shop(tmp_path_factory: pytest.TempPathFactory, exported_tiny: Callable[[int], Result]) -> Result:
    """All heads on the tiny backbone, published once."""
    folder, backbone = tmp_path_factory.mktemp("shop"), exported_tiny(1)
    shutil.copytree(backbone.path, folder / "models" / backbone.path.name)
    asked = Request(Specification(heads(save_files(folder / "files")), "shop"))
    return publish(asked, Repository(folder / "models"), backbone, RecordedSteps())


@pytest.fixture
def shop(repository: Repository, published_shop: Result) -> Result:
    """The same, as the test's own."""
    shutil.copytree(published_shop.path.parent, repository.root, dirs_exist_ok=True)
    return dataclasses.replace(published_shop, path=repository.root / published_shop.path.name)


def model(result: Result) -> PublishedModel:
    found = Repository(result.path.parent).model(result.path.name)
    assert isinstance(found, PublishedModel)
    return found


def test_every_output_is_what_keras_computes(shop: Result, files: Path) -> None:
    real = pictures.load(pictures.PACKAGED, shop.contract.pipeline)
    rows = open_runtime(model(shop)).run(real)
    features = rows["features"]
    category = keras.saving.load_model(files / "category.keras").predict(features, verbose=0)
    unit = category / np.linalg.norm(category, axis=1, keepdims=True)
    np.testing.assert_allclose(rows["category"], unit, atol=1e-5)
    kind = keras.saving.load_model(files / "kind.keras").predict(features, verbose=0)
    np.testing.assert_allclose(rows["kind"], kind, atol=1e-5)
    unknown = np.zeros((len(features), 1), np.int32)
    pair = keras.saving.load_model(files / "pair.keras").predict([unknown, features], verbose=0)
    np.testing.assert_allclose(rows["source"], pair["source"], atol=1e-5)
    np.testing.assert_allclose(rows["target"], pair["target"], atol=1e-5)
    assert not np.allclose(rows["source"], rows["target"], atol=0.1)


def test_the_contract_tells_outputs_spaces_and_components(shop: Result, exported_tiny: Callable[[int], Result]) -> None:
    contract = shop.contract
    assert re.fullmatch("shop-[0-9a-f]{8}", contract.model)
    assert [(s.name, s.output, s.dimension, s.metric) for s in contract.spaces] == [
        ("visual", "embedding", FEATURES, Metric.COSINE),
        ("category", "category", 3, Metric.COSINE),
        ("pair_source", "source", 5, Metric.EUCLIDEAN),
        ("pair_target", "target", 5, Metric.EUCLIDEAN),
    ]
    assert contract.outputs["kind"].classes == ("boot", "sandal")
    assert contract.known_answer.values.keys() == contract.outputs.keys()
    assert contract.outputs.keys() == {"features", "embedding", "category", "kind", "source", "target"}
    first, *others = (re.sub("-[0-9a-f]{8}$", "", name) for name in contract.components)
    assert first == "tiny"
    assert others == ["features", "category", "kind", "pair"]
    assert contract.components[0] == exported_tiny(1).path.name
    assert ModelContract.from_parameters(model(shop).parameters).components == contract.components


def test_without_a_name_it_is_called_after_its_backbone(publish_heads: Publish, files: Path) -> None:
    assert publish_heads(heads(files)[0], name=None).path.name.startswith("tiny_heads-")


def test_a_backbone_s_outputs_keep_their_fingerprint_whatever_heads_there_are(
    publish_heads: Publish, files: Path, backbone: Result
) -> None:
    category, _, pair = heads(files)
    one, both = publish_heads(category).contract, publish_heads(category, pair).contract
    for contract in (one, both):
        assert contract.fingerprint_of("embedding") == backbone.contract.fingerprint
        assert contract.fingerprint_of("features") == backbone.contract.fingerprint
    assert one.fingerprint_of("category") == both.fingerprint_of("category")
    assert one.fingerprint != both.fingerprint


def test_a_retrained_head_changes_its_own_outputs_alone(publish_heads: Publish, files: Path) -> None:
    before = publish_heads(*heads(files)).contract
    save_head(files / "category.keras", FEATURES, {"out": 3}, seed=1)
    after = publish_heads(*heads(files)).contract
    changed = {name for name in before.outputs if before.fingerprint_of(name) != after.fingerprint_of(name)}
    assert changed == {"category"}
    assert before.model != after.model


def test_the_same_weights_in_another_file_are_the_same_head(publish_heads: Publish, files: Path) -> None:
    before = publish_heads(*heads(files))
    save_head(files / "category.keras", FEATURES, {"another_layer_s_name": 3})
    weights = keras.saving.load_model(files / "category.keras")
    donor = save_head(files / "donor.keras", FEATURES, {"out": 3})
    weights.set_weights(keras.saving.load_model(donor).get_weights())
    weights.save(files / "category.keras")
    after = publish_heads(*heads(files))
    assert (after.contract.fingerprint, after.new) == (before.contract.fingerprint, False)


def test_one_output_s_metric_space_or_classes_make_another_ensemble(publish_heads: Publish, files: Path) -> None:
    file = files / "category.keras"
    uses = [
        Use("category", Metric.COSINE),
        Use("category", Metric.EUCLIDEAN),
        Use("category", Metric.INNER_PRODUCT),
        Use("look", Metric.EUCLIDEAN),
        Use(),
        Use(classes=("a", "b", "c")),
    ]
    contracts = [publish_heads(Head("category", file, use)).contract for use in uses]
    assert len({contract.fingerprint for contract in contracts}) == len(uses)
    # Unit length is computed; the rest is what the same numbers are for.
    assert len({contract.fingerprint_of("category") for contract in contracts}) == 2


def test_heads_again_touch_neither_backbone_nor_what_is_there(
    publish_heads: Publish, files: Path, repository: Repository, backbone: Result
) -> None:
    first = publish_heads(*heads(files))
    written = {path: path.stat().st_mtime_ns for path in repository.root.rglob("*")}
    again = publish_heads(*heads(files))
    assert (again.path, again.new) == (first.path, False)
    save_head(files / "kind.keras", FEATURES, {"out": 2}, seed=1, activation="softmax")
    publish_heads(*heads(files))
    assert {path: path.stat().st_mtime_ns for path in written if path.is_file()} == {
        path: time for path, time in written.items() if path.is_file()
    }
    assert len([m for m in repository.models() if isinstance(m, PublishedModel) and not m.contract.components]) == 1


def test_the_card_proves_every_output_at_every_batch_size(shop: Result) -> None:
    told = read_card(shop.path)
    batches = told.content["parity"]["batches"]
    assert list(batches) == ["1", "8", "32"]
    for measured in batches.values():
        assert measured["outputs"].keys() == shop.contract.outputs.keys()
        assert all(output["share"] <= 1e-4 for output in measured["outputs"].values())
    assert list(told.content["speed"]["latency_ms"]) == ["1", "8", "32"]
    assert list(told.components) == list(shop.contract.components)
    text = (shop.path / "card.md").read_text()
    assert f"- {shop.contract.components[0]}: backbone, artifact" in text
    assert "- kind: 2 dimensions, classes boot, sandal, fingerprint" in text


def test_the_ensemble_is_asked_of_a_triton_before_it_is_published(
    repository: Repository, backbone: Result, files: Path, steps: RecordedSteps
) -> None:
    result = publish(Request(Specification(heads(files), "shop"), triton=True), repository, backbone, steps)
    told = read_card(result.path).content["triton"]
    assert (told["proved"], told["against"], told["pictures"]) == (True, "onnxruntime", "in the box")
    assert list(told["batches"]) == ["1", "8", "32"]
    for measured in told["batches"].values():
        assert measured["outputs"].keys() == result.contract.outputs.keys()
        assert all(output["share"] <= 1e-4 for output in measured["outputs"].values())
    asked = steps.titles.index("Compare Triton with ONNX Runtime on 32 pictures")
    assert asked < steps.titles.index("Publish the ensemble")


def test_a_proof_of_an_ensemble_is_added_to_a_card_that_lacks_it(run: Run, shop: Result) -> None:
    assert read_card(shop.path).content["triton"] == triton_proof.unproved(triton_proof.NOT_ASKED)
    code, out, _ = run("prove", shop.path.name, "--repository", shop.path.parent, "--record")
    assert (code, out.splitlines()[-1]) == (0, "The card tells of it now.")
    told = read_card(shop.path)
    assert told.content["triton"]["batches"]["1"]["outputs"].keys() == shop.contract.outputs.keys()
    assert told.differences(shop.path, shop.contract) == []


def test_an_edited_component_is_found_though_its_own_card_is_edited_too(shop: Result) -> None:
    name = next(name for name in shop.contract.components if name.startswith("category-"))
    head = shop.path.parent / name
    content = bytearray((head / MODEL).read_bytes())
    content[-1] ^= 1
    (head / MODEL).write_bytes(content)
    written = json.loads((head / "card.json").read_text())
    written["files"][MODEL]["sha256"] = FileDigest.of(bytes(content)).sha256
    (head / "card.json").write_text(json.dumps(written))
    published = Repository(shop.path.parent).model(name)
    assert isinstance(published, PublishedHead)
    assert published.problems() == []
    (found,) = problems(shop.path, shop.contract)
    assert found.startswith(f"{name}/1/model.onnx: SHA-256 is")
    (check,) = prove(model(shop), None, None)
    assert not check.passed


def test_a_component_that_is_gone_is_found(shop: Result) -> None:
    (shop.path.parent / shop.contract.components[2] / MODEL).unlink()
    assert problems(shop.path, shop.contract) == [
        f"{shop.contract.components[2]}/1/model.onnx: No such file or directory"
    ]


def test_prove_runs_the_whole_ensemble(shop: Result) -> None:
    checks = list(prove(model(shop), None, None))
    assert [check.passed for check in checks] == [True, True]
    assert checks[0].told.startswith("12 files of it and its 5 components")


def test_triton_is_told_each_step_and_a_tensor_of_heads_that_is_no_output(shop: Result) -> None:
    config = text_format.Parse((shop.path / CONFIG).read_text(), pb.ModelConfig())
    steps = config.ensemble_scheduling.step
    backbone, *others, pair = shop.contract.components
    # The one that takes the category comes first: Triton needs that, see `render_ensemble`.
    assert [step.model_name for step in steps] == [pair, backbone, *others]
    inside = steps[1].output_map["features"]
    assert inside not in {output.name for output in config.output}
    assert [sorted(step.input_map.values()) for step in steps if step.model_name != backbone] == [
        [inside, CATEGORY],
        [inside],
        [inside],
        [inside],
    ]
    assert {tensor for step in steps for tensor in step.output_map.values()} - {inside} == {
        output.name for output in config.output
    }
    assert (config.platform, config.max_batch_size) == ("ensemble", 64)


def test_a_head_s_config_batches_and_warms_up(publish_heads: Publish, files: Path, repository: Repository) -> None:
    result = publish_heads(heads(files)[0])
    head = repository.model(result.contract.components[2])
    assert isinstance(head, PublishedHead)
    config = text_format.Parse((head.path / CONFIG).read_text(), pb.ModelConfig())
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [("features", pb.TYPE_FP32, [FEATURES])]
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, 8, 16]
    assert config.parameters["intra_op_thread_count"].string_value == "1"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda f: [Head("a", f / "gone.keras")], "no file .*gone.keras"),
        (lambda f: [Head("embedding", f / "category.keras")], "the backbone has an output embedding too"),
        (
            lambda f: [Head("a", f / "category.keras", Use("visual", Metric.COSINE))],
            "the backbone fills the space visual already",
        ),
        (
            lambda f: [
                Head("a", f / "category.keras", Use("s", Metric.COSINE)),
                Head("b", f / "kind.keras", Use("s", Metric.COSINE)),
            ],
            "head b: head a fills the space s already",
        ),
        (
            lambda f: [Head("source", f / "category.keras"), Head("pair", f / "pair.keras", categories=TYPES)],
            "head pair: head source has an output source too",
        ),
        (lambda f: [Head("a", f / "category.keras", Use(classes=("x",)))], "1 classes for the output a, which has 3"),
        (lambda f: [Head("a", save_head(f / "w.keras", 7, {"out": 2}))], r"takes \(None, 7\).*are \(None, 4\)"),
    ],
)
def test_heads_that_don_t_fit_are_refused_and_no_ensemble_is_published(
    publish_heads: Publish,
    files: Path,
    repository: Repository,
    change: Callable[[Path], list[Head]],
    complaint: str,
) -> None:
    with pytest.raises(UsageError, match=complaint):
        publish_heads(*change(files))
    assert [m.path.name.partition("-")[0] for m in repository.models()] == ["tiny"]


def test_a_head_that_carries_code_is_refused(publish_heads: Publish, tmp_path: Path) -> None:
    given = keras.Input((FEATURES,))
    keras.Model(given, layers.Lambda(lambda x: x)(given)).save(tmp_path / "code.keras")
    with pytest.raises(ExportError, match="Lambda"):
        publish_heads(Head("a", tmp_path / "code.keras"))


def test_a_head_with_nan_weights_is_refused(publish_heads: Publish, files: Path) -> None:
    broken = keras.saving.load_model(files / "category.keras")
    broken.set_weights([np.full_like(weights, np.nan) for weights in broken.get_weights()])
    broken.save(files / "category.keras")
    with pytest.raises(ExportError, match="NaN"):
        publish_heads(*heads(files))


def test_heads_go_on_a_backbone_and_not_on_an_ensemble(
    publish_heads: Publish, files: Path, repository: Repository
) -> None:
    ensemble = publish_heads(heads(files)[0])
    with pytest.raises(UsageError, match="is an ensemble: put heads on its backbone, tiny-"):
        publish(Request(Specification(heads(files)[1:], "two")), repository, ensemble, RecordedSteps())


def test_a_damaged_backbone_gets_no_heads(publish_heads: Publish, files: Path, backbone: Result) -> None:
    (backbone.path / MODEL).write_bytes(b"other")
    with pytest.raises(ExportError, match="is damaged"):
        publish_heads(*heads(files))


def test_the_commands_know_heads_and_ensembles(run: Run, shop: Result) -> None:
    repository = shop.path.parent
    code, out, _ = run("models", "--repository", repository)
    assert code == 0
    assert re.search(r"category-[0-9a-f]{8} +a head, for ensembles", out)
    assert re.search(r"shop-[0-9a-f]{8} +tiny +visual \(4, cosine\), category \(3, cosine\), pair_source", out)
    head = shop.contract.components[2]
    code, out, _ = run("show", head, "--repository", repository)
    assert code == 0
    assert "- head: category.keras, sha256 " in out
    code, _, err = run("prove", head, "--repository", repository)
    assert code == 2
    assert "prove an ensemble that has it" in err
    code, out, _ = run("diff", shop.path.name, shop.contract.components[0], "--repository", repository)
    assert code == 0
    assert json.loads((shop.path / "card.json").read_text())["components"].keys() == set(shop.contract.components)
