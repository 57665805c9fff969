from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from fakes.steps import RecordedSteps
from twinset.images import PicturePipeline
from twinset_exporter.backbones.own_model import OwnModel, OwnWeights, is_path, load
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.export import Request, Result, export
from twinset_exporter.preprocessing import NAMED
from twinset_exporter.repository import Repository

SIZE = 16


def network(*, seed: int = 0, classifier: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(seed)
    pictures = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="convolution")(pictures)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    if classifier is not None:
        x = layers.Dense(3, activation=classifier, name="classes")(x)
    return keras.Model(pictures, x)


Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save(model: keras.Model, name: str = "My Model.v2.keras") -> Path:
        if name.endswith(".keras"):
            model.save(tmp_path / name)
        else:
            model.export(tmp_path / name, verbose=False)
        return tmp_path / name

    return save


def publish(own: OwnModel, repository: Repository) -> Result:
    assert (own.height, own.width) == (SIZE, SIZE)
    request = Request(own.backbone, own.weights, PicturePipeline(SIZE, SIZE))
    return export(request, repository, RecordedSteps())


@pytest.mark.parametrize("name", ["mine.keras", "mine"])
@pytest.mark.parametrize("prepared", [*NAMED, "mean=127.5,std=3,5,7"])
def test_a_model_of_one_s_own_is_published_once(name: str, prepared: str, save: Save, repository: Repository) -> None:
    path = save(network(), name)
    result = publish(load(path, prepared=prepared), repository)
    assert result.new
    assert re.fullmatch("mine-[0-9a-f]{8}", result.path.name)
    assert not result.contract.random_weights
    again = publish(load(path, prepared=prepared), repository)
    assert (again.new, again.contract.fingerprint) == (False, result.contract.fingerprint)


@pytest.mark.parametrize("name", ["mine.keras", "mine"])
def test_saved_again_it_has_its_fingerprint_and_with_another_weight_another(
    name: str, save: Save, tmp_path: Path
) -> None:
    def fingerprint(seed: int, folder: str) -> str:
        (tmp_path / folder).mkdir()
        own = load(save(network(seed=seed), f"{folder}/{name}"), prepared="tf")
        return publish(own, Repository(tmp_path / folder / "models")).contract.fingerprint

    first = fingerprint(0, "one")
    assert fingerprint(0, "two") == first
    assert fingerprint(1, "three") != first


@pytest.mark.parametrize("name", ["mine.keras", "mine"])
def test_the_preprocessing_is_part_of_the_fingerprint(name: str, save: Save, repository: Repository) -> None:
    path = save(network(), name)
    one, other = (publish(load(path, prepared=p), repository).contract.fingerprint for p in ("tf", "torch"))
    assert one != other


def test_a_sequential_model_is_one_too_with_the_same_fingerprint(save: Save, tmp_path: Path) -> None:
    functional = network()
    sequential = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *functional.layers[1:]])
    one, other = (
        publish(load(save(model, f"{number}.keras"), prepared="none", name="x"), Repository(tmp_path / number))
        for number, model in (("1", functional), ("2", sequential))
    )
    assert one.contract.fingerprint == other.contract.fingerprint


@pytest.mark.parametrize(
    ("file", "name"), [("My Model.v2.keras", "my_model_v2"), ("ÜBER-x.keras", "ber_x"), ("..keras.keras", "keras")]
)
def test_its_name_is_the_file_s_made_safe(file: str, name: str, save: Save) -> None:
    assert load(save(network(), file), prepared="tf").backbone.name == name


@pytest.mark.parametrize("name", ["../mine", "a/b", "", ".x", "Mine", "a" * 65, "a\n"])
def test_a_name_that_isn_t_safe_is_refused(name: str, save: Save) -> None:
    with pytest.raises(UsageError, match="--name"):
        load(save(network()), prepared="tf", name=name)


def test_a_file_without_a_name_asks_for_one(save: Save) -> None:
    with pytest.raises(UsageError, match="give one with --name"):
        load(save(network(), "___.keras"), prepared="tf")


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_classifier_s_end_is_not_cut_silently(activation: str, save: Save) -> None:
    with pytest.raises(UsageError, match=rf"'classes', Dense with {activation}.*probabilities.*--cut LAYER .*pool"):
        load(save(network(classifier=activation)), prepared="tf")


def test_a_classifier_inside_the_last_layer_is_found(save: Save) -> None:
    around = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.ReLU(), network(classifier="softmax")])
    with pytest.raises(UsageError, match="'classes', Dense with softmax"):
        load(save(around), prepared="tf")


def test_a_saved_classifier_is_refused(save: Save) -> None:
    with pytest.raises(UsageError, match=r"classifier.*Softmax"):
        load(save(network(classifier="softmax"), "mine"), prepared="tf")


def test_cut_before_its_classifier_it_is_the_network_without(save: Save, tmp_path: Path) -> None:
    whole = load(save(network(classifier="softmax"), "whole.keras"), prepared="tf", name="x", cut="pool")
    without = load(save(network(), "without.keras"), prepared="tf", name="x")
    one, other = (publish(m, Repository(tmp_path / n)) for n, m in (("1", whole), ("2", without)))
    assert one.contract.fingerprint == other.contract.fingerprint
    assert [space.dimension for space in one.contract.spaces] == [4]


def test_who_names_the_classifier_keeps_it(save: Save) -> None:
    own = load(save(network(classifier="softmax")), prepared="tf", cut="classes")
    assert own.backbone.features == 3


@pytest.mark.parametrize(
    ("cut", "reason"),
    [("convolution", r"features are \(None, D\)"), ("head", "no such layer; it has --cut LAYER .*pool")],
)
def test_a_cut_that_leaves_no_features_is_refused(cut: str, reason: str, save: Save) -> None:
    with pytest.raises(UsageError, match=reason):
        load(save(network(classifier="softmax")), prepared="tf", cut=cut)


def _flat(pictures: keras.KerasTensor) -> keras.Model:
    return keras.Model(pictures, layers.Flatten()(pictures))


def _two_inputs() -> keras.Model:
    inputs = [keras.Input((SIZE, SIZE, 3)), keras.Input((SIZE, SIZE, 3))]
    return keras.Model(inputs, layers.Flatten()(layers.Add()(inputs)))


def _two_outputs() -> keras.Model:
    model = network(classifier="relu")
    return keras.Model(model.inputs, [model.get_layer("pool").output, model.output])


def _half_floats() -> keras.Model:
    pictures = keras.Input((SIZE, SIZE, 3))
    return keras.Model(pictures, layers.GlobalAveragePooling2D(dtype="float16")(pictures))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda: _flat(keras.Input((3, SIZE, SIZE))), "channels first.*RGB", id="channels first"),
        pytest.param(lambda: _flat(keras.Input((SIZE, SIZE, 1))), "RGB pictures", id="grey"),
        pytest.param(lambda: _flat(keras.Input((8,))), "RGB pictures", id="no pictures"),
        pytest.param(_two_inputs, "takes 2 inputs", id="two inputs"),
        pytest.param(_two_outputs, "has 2 outputs", id="two outputs"),
    ],
)
@pytest.mark.parametrize("name", ["mine.keras", "mine"])
def test_what_is_no_backbone_is_one_clear_line(
    name: str, make: Callable[[], keras.Model], reason: str, save: Save
) -> None:
    with pytest.raises(UsageError, match=reason) as refused:
        load(save(make(), name), prepared="tf")
    assert "\n" not in str(refused.value)


def test_half_floats_are_refused(save: Save) -> None:
    with pytest.raises(UsageError, match=r"computes float16.*float32"):
        load(save(_half_floats()), prepared="tf")


def test_a_lambda_is_refused_before_anything_is_loaded(save: Save) -> None:
    pictures = keras.Input((SIZE, SIZE, 3))
    x = layers.Lambda(lambda pixels: pixels / 255, name="scaled")(pictures)
    path = save(keras.Model(pictures, layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(ExportError, match=r"refused: layer 'scaled' is a Lambda.*leave it out, use --preprocessing"):
        load(path, prepared="tf")


def test_a_layer_of_one_s_own_code_is_refused(save: Save, tmp_path: Path) -> None:
    with zipfile.ZipFile(save(network())) as whole, zipfile.ZipFile(tmp_path / "odd.keras", "w") as odd:
        for name in whole.namelist():
            odd.writestr(name, whole.read(name).replace(b'"GlobalAveragePooling2D"', b'"OfMyOwn"'))
    with pytest.raises(ExportError, match=r"can't load it safely.*OfMyOwn.*made of Keras's own layers") as refused:
        load(tmp_path / "odd.keras", prepared="tf")
    assert "\n" not in str(refused.value)


def test_a_model_that_asks_for_another_class_s_code_is_refused(save: Save, tmp_path: Path) -> None:
    with zipfile.ZipFile(save(network())) as whole, zipfile.ZipFile(tmp_path / "evil.keras", "w") as evil:
        for name in whole.namelist():
            config = whole.read(name).replace(b'"module": "keras.layers"', b'"module": "subprocess"')
            evil.writestr(name, config.replace(b'"class_name": "Conv2D"', b'"class_name": "Popen"'))
    with pytest.raises(ExportError, match="can't load it safely"):
        load(tmp_path / "evil.keras", prepared="tf")


@pytest.mark.parametrize("content", [b"", b"no such thing", b"PK\x03\x04 cut off"])
def test_a_file_of_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "it.keras").write_bytes(content)
    with pytest.raises(ExportError, match=r"it\.keras is no \.keras file, or a damaged one"):
        load(tmp_path / "it.keras", prepared="tf")


def test_a_file_without_its_weights_is_refused(save: Save, tmp_path: Path) -> None:
    with zipfile.ZipFile(save(network())) as whole, zipfile.ZipFile(tmp_path / "part.keras", "w") as part:
        for name in ("config.json", "metadata.json"):
            part.writestr(name, whole.read(name))
    with pytest.raises(ExportError, match="can't load it safely"):
        load(tmp_path / "part.keras", prepared="tf")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none.keras", "no model"), ("it.h5", r"a model is a \.keras file"), ("", "SavedModel's folder")],
)
def test_a_path_to_no_model_is_one_clear_line(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "it.h5").touch()
    with pytest.raises(UsageError, match=reason):
        load(tmp_path / name, prepared="tf", name="x")


def test_a_network_that_takes_any_size_says_so(save: Save) -> None:
    pictures = keras.Input((None, None, 3))
    own = load(save(keras.Model(pictures, layers.GlobalAveragePooling2D()(pictures))), prepared="tf")
    assert (own.height, own.width) == (None, None)


def test_another_byte_of_the_model_or_another_cut_is_another_identity(tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    files = [tmp_path / "it.keras", tmp_path / "it" / "saved_model.pb"]
    for file in files:
        file.write_bytes(b"one")
    places = [files[0], tmp_path / "it"]
    before = [OwnWeights(place, None).identity() for place in places]
    assert [OwnWeights(place, "pool").identity() for place in places] != before
    for file in files:
        file.write_bytes(b"two")
    after = [OwnWeights(place, None).identity() for place in places]
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_nan_weights_are_refused(save: Save) -> None:
    model = network()
    model.get_layer("convolution").bias.assign([0.0, np.nan, np.inf, 0.0])
    own = load(save(model), prepared="tf")
    with pytest.raises(ExportError, match=r"2 of the 4 weights in convolution/bias .* are NaN or infinite"):
        own.backbone.build(own.weights, SIZE, SIZE)
    with pytest.raises(ExportError, match=r"2 of the 4 weights in .* are NaN or infinite"):
        load(save(model, "mine"), prepared="tf")


@pytest.mark.parametrize(("text", "path"), [("resnet50", False), ("vgg99", False), ("a.keras", True), ("../a", True)])
def test_a_path_is_told_from_a_name(text: str, path: bool) -> None:
    assert is_path(text) == path
