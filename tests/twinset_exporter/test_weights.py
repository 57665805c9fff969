from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.weights import FileWeights, ImagenetWeights, RandomWeights, check_finite, read_packed

Save = Callable[[keras.Model, Path], Path]


def save_keras(model: keras.Model, folder: Path) -> Path:
    model.save(folder / "it.keras")
    return folder / "it.keras"


def save_weights_h5(model: keras.Model, folder: Path) -> Path:
    model.save_weights(folder / "it.weights.h5")
    return folder / "it.weights.h5"


def save_legacy_h5(model: keras.Model, folder: Path) -> Path:
    """Write what keras.applications downloads: `resnet50_..._notop.h5` and its like."""
    path = folder / "it.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [variable.path.encode() for variable in layer.weights]
            for variable in layer.weights:
                group[variable.path] = variable.numpy()
    return path


def save_packed(model: keras.Model, folder: Path) -> Path:
    path = folder / "it.npz"
    arrays = {f"{layer.name}/{v.name}": v.numpy() for layer in model.layers for v in layer.variables}
    np.savez(path, **{name: array.astype(np.float16) for name, array in arrays.items()})
    return path


def named_network(height: int, width: int, *, filters: int = 4, convolutions: int = 2) -> keras.Model:
    """Convolutions whose names don't change from one build to the next."""
    x = pictures = keras.Input((height, width, 3), name="pictures")
    for number in range(convolutions):
        x = layers.Conv2D(filters, 3, name=f"convolution{number}")(x)
    return keras.Model(pictures, layers.GlobalAveragePooling2D(name="features")(x), name="named")


def weights_of(model: keras.Model) -> list[np.ndarray]:
    return [np.asarray(values) for values in model.get_weights()]


@pytest.mark.parametrize("save", [save_keras, save_weights_h5, save_legacy_h5, save_packed])
def test_a_file_of_weights_fills_the_network(save: Save, tmp_path: Path) -> None:
    trained = RandomWeights(7).fill(lambda: named_network(16, 16))
    for variable in trained.variables:
        variable.assign(np.round(np.asarray(variable.numpy()) * 8 + 0.25, 2).astype(np.float16).astype(np.float32))
    filled = FileWeights(save(trained, tmp_path)).fill(lambda: named_network(16, 16))
    for given, expected in zip(weights_of(filled), weights_of(trained), strict=True):
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("save", [save_keras, save_weights_h5, save_legacy_h5, save_packed])
@pytest.mark.parametrize("change", [{"filters": 5}, {"convolutions": 1}, {"convolutions": 3}])
def test_the_weights_of_another_network_are_refused(save: Save, change: dict[str, int], tmp_path: Path) -> None:
    path = save(named_network(16, 16, **change), tmp_path)
    with pytest.raises(ExportError, match=r"it\..*not the weights of named without its classifier"):
        FileWeights(path).fill(lambda: named_network(16, 16))


@pytest.mark.parametrize("name", ["it.keras", "it.weights.h5", "it.h5", "it.npz"])
@pytest.mark.parametrize("content", [b"", b"no such thing", b"PK\x03\x04 cut off"])
def test_a_file_of_something_else_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ExportError, match="not the weights of named") as refused:
        FileWeights(tmp_path / name).fill(lambda: named_network(16, 16))
    assert "\n" not in str(refused.value)


def test_keras_s_own_weights_fill_the_network_and_its_talk_leaves_stdout_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def trained(height: int, width: int) -> keras.Model:
        print("Downloading data")
        return RandomWeights(7).fill(lambda: named_network(height, width))

    filled = ImagenetWeights("named", trained).fill(lambda: named_network(16, 16))
    for given, expected in zip(weights_of(filled), weights_of(trained(16, 16)), strict=True):
        np.testing.assert_array_equal(given, expected)
    assert capsys.readouterr().err == "Downloading data\n"


def test_without_internet_keras_s_weights_are_one_line_that_says_what_to_do() -> None:
    def trained(height: int, width: int) -> keras.Model:
        raise Exception("URL fetch failure on https://host/it.h5: None -- [Errno -2]\nmore")  # as Keras does

    weights = ImagenetWeights("named", trained)
    reason = r"ImageNet weights of named can't be had \(URL .*https://host/it\.h5.*\): .*--weights FILE"
    with pytest.raises(ExportError, match=reason) as refused:
        weights.fill(lambda: named_network(16, 16))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(wrong: float) -> None:
    check_finite("named", [("good", np.ones(3))])
    with pytest.raises(ExportError, match="1 of the 2 weights in bad of named are NaN or infinite"):
        check_finite("named", [("good", np.ones(3)), ("bad", np.array([1, wrong]))])


def test_packed_weights_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "it.npz", **{"convolution0/kernel": np.array([{"an": "object"}], dtype=object)})
    with pytest.raises(ValueError, match="pickle"):
        read_packed(tmp_path / "it.npz")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.h5.*--weights"):
        FileWeights(tmp_path / "none.h5")


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "it.pth").touch()
    with pytest.raises(UsageError, match=r"\.keras, \.h5 or \.npz"):
        FileWeights(tmp_path / "it.pth")


def test_random_weights_are_the_same_for_the_same_seed_only(tiny: Backbone) -> None:
    one, again, other = (weights_of(tiny.build(RandomWeights(seed), 16, 16)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_only_random_weights_are_random(tmp_path: Path) -> None:
    (tmp_path / "it.npz").touch()
    assert RandomWeights(0).random
    assert not FileWeights(tmp_path / "it.npz").random
    assert not ImagenetWeights("named", named_network).random
