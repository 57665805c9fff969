"""Heads that take an item's category beside its features: what they compute, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from google.protobuf import text_format
from keras import layers
from tritonclient.grpc import model_config_pb2 as pb

from fakes.heads import save_head
from fakes.steps import RecordedSteps
from twinset import contract
from twinset.contract import Metric
from twinset.head_contract import CATEGORY
from twinset.known_answer import known_categories, known_input
from twinset_exporter import pictures
from twinset_exporter.errors import UsageError
from twinset_exporter.export import Result
from twinset_exporter.heads.chain import open_runtime
from twinset_exporter.heads.publication import Request, publish
from twinset_exporter.heads.specification import Head, Specification, Use
from twinset_exporter.repository import CONFIG, PublishedHead, PublishedModel, Repository

FEATURES = 4
TYPES = ("sofa", "lamp", "rug")
OUTPUTS = {"look": 2, "match": 3}

Publish = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A head whose output `match` depends on the category, and whose `look` doesn't."""
    return save_head(tmp_path / "both.keras", FEATURES, OUTPUTS, categories=len(TYPES), plain={"look"})


@pytest.fixture
def publish_heads(repository: Repository, tiny_model: Callable[[int], Result]) -> Publish:
    backbone = tiny_model(1)

    def run(*asked: Head) -> Result:
        return publish(Request(Specification(asked, "shop")), repository, backbone, RecordedSteps())

    return run


def model(result: Result) -> PublishedModel:
    found = Repository(result.path.parent).model(result.path.name)
    assert isinstance(found, PublishedModel)
    return found


def test_an_output_is_what_keras_computes_of_known_and_unknown_categories(publish_heads: Publish, file: Path) -> None:
    result = publish_heads(Head("both", file, categories=TYPES))
    real = pictures.load(pictures.PACKAGED, result.contract.pipeline)
    categories = known_categories(len(real), TYPES)
    runtime = open_runtime(model(result))
    rows, unknown = runtime.run(real, categories=categories), runtime.run(real)
    expected = keras.saving.load_model(file).predict([categories, rows["features"]], verbose=0)
    np.testing.assert_allclose(rows["match"], expected["match"], atol=1e-5)
    np.testing.assert_array_equal(rows["look"], unknown["look"])
    differs = np.abs(rows["match"] - unknown["match"]).max(axis=1) > 0.1
    np.testing.assert_array_equal(differs, categories.ravel() != 0)


def test_the_contract_names_categories_and_the_outputs_that_take_them(publish_heads: Publish, file: Path) -> None:
    told = publish_heads(Head("both", file, categories=TYPES)).contract
    assert told.categories == TYPES
    assert {name for name, output in told.outputs.items() if output.takes_category} == {"match"}


def test_the_known_answer_holds_an_unknown_and_the_last_category(publish_heads: Publish, file: Path) -> None:
    result = publish_heads(Head("both", file, categories=TYPES))
    known, pipeline = result.contract.known_answer, result.contract.pipeline
    noise = known_input(known.seed, known.count, pipeline.height, pipeline.width)
    runtime = open_runtime(model(result))
    assert known_categories(known.count, TYPES)[:2].ravel().tolist() == [0, len(TYPES)]
    assert known.mismatch(runtime.run(noise, categories=known_categories(known.count, TYPES))) is None
    assert str(known.mismatch(runtime.run(noise))).startswith("output 'match' differs")


def test_other_names_or_another_order_make_another_output_of_those_that_take_it_alone(
    publish_heads: Publish, file: Path
) -> None:
    before = publish_heads(Head("both", file, categories=TYPES)).contract
    after = publish_heads(Head("both", file, categories=tuple(reversed(TYPES)))).contract
    changed = {name for name in before.outputs if before.fingerprint_of(name) != after.fingerprint_of(name)}
    assert changed == {"match"}


def test_an_output_beside_one_that_takes_a_category_is_the_output_of_a_head_without(
    publish_heads: Publish, file: Path, tmp_path: Path
) -> None:
    alone = save_head(tmp_path / "alone.keras", FEATURES, {"look": 2})
    before = publish_heads(Head("look", alone)).contract
    after = publish_heads(Head("both", file, categories=TYPES)).contract
    assert before.fingerprint_of("look") == after.fingerprint_of("look")


def test_triton_is_told_of_the_second_input_and_warms_up_with_an_unknown_category(
    publish_heads: Publish, file: Path, repository: Repository, tmp_path: Path
) -> None:
    plain = save_head(tmp_path / "plain.keras", FEATURES, {"out": 2})
    result = publish_heads(Head("both", file, categories=TYPES), Head("plain", plain))
    config = text_format.Parse((result.path / CONFIG).read_text(), pb.ModelConfig())
    assert [(given.name, given.data_type) for given in config.input] == [
        ("pictures", pb.TYPE_UINT8),
        (contract.CATEGORY, pb.TYPE_INT32),
    ]
    assert list(config.input[1].dims) == [1]
    assert [step.input_map.get(CATEGORY) for step in config.ensemble_scheduling.step] == [
        contract.CATEGORY,
        *[None] * 3,
    ]
    head = repository.model(result.contract.components[2])
    assert isinstance(head, PublishedHead)
    assert head.contract.categories == TYPES
    config = text_format.Parse((head.path / CONFIG).read_text(), pb.ModelConfig())
    assert [given.name for given in config.input] == ["features", CATEGORY]
    assert all(warmup.inputs[CATEGORY].zero_data for warmup in config.model_warmup)


def test_the_card_tells_of_categories(publish_heads: Publish, file: Path) -> None:
    text = (publish_heads(Head("both", file, categories=TYPES)).path / "card.md").read_text()
    assert "- match: 3 dimensions, by the category too, fingerprint" in text
    assert "- 3: rug" in text


def _odd(file: Path, category: keras.KerasTensor) -> Path:
    features = keras.Input((FEATURES,))
    code = layers.Flatten()(layers.CategoryEncoding(4)(category))
    keras.Model([features, category], layers.Dense(2)(layers.Concatenate()([features, code]))).save(file)
    return file


def _useless(file: Path) -> Path:
    features, category = keras.Input((FEATURES,)), keras.Input((1,), dtype="int32", name=CATEGORY)
    keras.Model([features, category], layers.Dense(2)(features)).save(file)
    return file


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda f: [Head("both", f / "both.keras")], "takes a category: name them .* as heads.both.categories"),
        (
            lambda f: [Head("a", save_head(f / "a.keras", FEATURES, {"out": 2}), categories=TYPES)],
            "3 categories are named, and .*a.keras has no input named category",
        ),
        (
            lambda f: [Head("a", _odd(f / "a.keras", keras.Input((1,), name=CATEGORY)), categories=TYPES)],
            r"its input category is float32 \(None, 1\); it must be int32 \(None, 1\)",
        ),
        (
            lambda f: [Head("a", _odd(f / "a.keras", keras.Input((1,), dtype="int32", name="type")), categories=TYPES)],
            r"takes 2 inputs \(.*, type\); a head takes one, the features, and may take a second",
        ),
        (
            lambda f: [Head("item_category", save_head(f / "a.keras", FEATURES, {"out": 2}))],
            "an ensemble's input is named item_category: rename the output",
        ),
        (lambda f: [Head("a", _useless(f / "a.keras"), categories=TYPES)], "nothing depends on its input category"),
        (
            lambda f: [
                Head("both", f / "both.keras", categories=TYPES),
                Head("b", save_head(f / "b.keras", FEATURES, {"out": 2}, categories=3), categories=("a", "b", "c")),
            ],
            "heads both and b name other categories",
        ),
        (
            lambda f: [
                Head(
                    "both", f / "both.keras", outputs={"match": Use("pair_source", Metric.EUCLIDEAN)}, categories=TYPES
                )
            ],
            "make no pair: it fills the space pair_source and not pair_target",
        ),
    ],
)
def test_heads_that_make_no_sense_are_refused(
    publish_heads: Publish, file: Path, change: Callable[[Path], list[Head]], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        publish_heads(*change(file.parent))
