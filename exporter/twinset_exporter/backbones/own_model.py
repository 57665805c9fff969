"""A network that the user brings, whole: a `.keras` file or a SavedModel's folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter import keras_file, preprocessing, tensorflow_noise
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.backbones.saved_model import SavedNetwork, is_saved_model
from twinset_exporter.digests import file_sha256
from twinset_exporter.errors import UsageError
from twinset_exporter.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras

_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_PROBABILITIES = {"softmax", "sigmoid", "hard_sigmoid"}


@dataclass(frozen=True, slots=True)
class OwnWeights:
    """The weights that are in the model already."""

    path: Path
    cut: str | None

    @property
    def random(self) -> bool:
        """Return False."""
        return False

    def identity(self) -> str:
        """Return the digest of the file, or of every file of the folder, and where it is cut."""
        files = [self.path] if self.path.is_file() else sorted(p for p in self.path.rglob("*") if p.is_file())
        digests = [[file.relative_to(self.path).as_posix(), file_sha256(file)] for file in files]
        return json.dumps({"model": digests, "cut": self.cut})

    def fill(self, network: Callable[[], keras.Model]) -> keras.Model:
        """Return what `network` makes."""
        return network()


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A model of the user's, loaded and found to be a backbone.

    Attributes:
        height: of its pictures, in pixels, None where it takes any.
        width: likewise.
    """

    backbone: Backbone
    weights: OwnWeights
    height: int | None
    width: int | None


def is_path(text: str) -> bool:
    """Return whether `text` is meant as a path rather than as a backbone's name."""
    return Path(text).suffix != "" or Path(text).name != text or Path(text).is_dir()


def load(path: Path, *, prepared: str, name: str | None = None, cut: str | None = None) -> OwnModel:
    """Load a model.

    Args:
        path: a `.keras` file, or the folder of a SavedModel.
        prepared: its preprocessing, as `preprocessing.parse` reads it.
        name: what to call it, None for the name of the file.
        cut: the layer whose output is the features, None for the last.

    Raises:
        UsageError: there is no such model, or it is no network from RGB pictures to features.
        ExportError: it can't be read, or isn't safe to.
    """
    called = _name(path, name)
    steps = preprocessing.parse(prepared)
    tensorflow_noise.silence()
    network = _load(path, cut)
    shape = network.input_shape
    _check_input(path, shape)
    _, height, width, _ = shape
    side = height or width or 0
    backbone = Backbone(
        name=called,
        summary=f"your own, {path}",
        network=lambda height, width: network,
        size=side,
        smallest_size=side,
        features=0 if isinstance(network, SavedNetwork) else network.output_shape[-1],
        preprocessing=steps,
        preprocess=_on_arrays(prepared, steps),
    )
    return OwnModel(backbone, OwnWeights(path, cut), height, width)


def _name(path: Path, name: str | None) -> str:
    if name is None:
        name = re.sub("[^a-z0-9]+", "_", path.resolve().stem.lower()).strip("_")[:64]
        if not name:
            raise UsageError(f"{path}: no model's name can be made of that; give one with --name")
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: use a to z, 0 to 9 and _, 64 at most")
    return name


def _load(path: Path, cut: str | None) -> Any:
    if is_saved_model(path):
        if cut is not None:
            raise UsageError(f"--cut {cut}: {path} is a SavedModel, which has no layers; cut the Keras model itself")
        return SavedNetwork(path)
    if not path.exists():
        raise UsageError(f"no model {path}: check the path")
    if path.suffix != keras_file.SUFFIX or not path.is_file():
        raise UsageError(
            f"{path}: a model is a {keras_file.SUFFIX} file, as Keras's model.save(...) writes it, or a SavedModel's "
            "folder; the weights of a known backbone go to --weights"
        )
    return _features(path, keras_file.load(path), cut)


def _features(path: Path, model: Any, cut: str | None) -> keras.Model:
    """Return `model` up to its features."""
    import keras

    if not getattr(model, "inputs", None) or not getattr(model, "layers", None):
        raise UsageError(f"{path}: it is no Sequential or functional model, whose layers twinset could read")
    if len(model.inputs) != 1:
        raise UsageError(f"{path}: it takes {len(model.inputs)} inputs; twinset gives it one, pictures")
    outputs = model.outputs if cut is None else [_output_of(path, model, cut)]
    if len(outputs) != 1:
        raise UsageError(f"{path}: it has {len(outputs)} outputs; name the one that is features with {_cuts(model)}")
    (output,) = outputs
    if cut is None and (activation := _classifier(output)):
        raise UsageError(
            f"{path}: it ends in a classifier ({activation}), whose output is probabilities and no features; cut "
            f"before it with {_cuts(model)}, or keep it by naming its own layer there"
        )
    if len(output.shape) != 2 or output.shape[-1] is None:
        raise UsageError(
            f"{path}: its output is {tuple(output.shape)}, and features are (None, D): add a GlobalAveragePooling2D or "
            f"Flatten layer, or choose another layer with {_cuts(model)}"
        )
    if keras.backend.standardize_dtype(output.dtype) != "float32":
        raise UsageError(f"{path}: it computes {output.dtype}; save it with the dtype policy float32")
    # Around a Sequential too: its config has no connections, and then one network has one fingerprint.
    return keras.Model(model.inputs[0], output, name=model.name)


def _output_of(path: Path, model: Any, cut: str) -> Any:
    layer = next((layer for layer in model.layers if layer.name == cut), None)
    if layer is None:
        raise UsageError(f"--cut {cut}: {path} has no such layer; it has {_cuts(model)}")
    try:
        return layer.output
    except (AttributeError, ValueError) as error:  # a layer that is used twice has two
        raise UsageError(f"--cut {cut}: that layer of {path} has not one output") from error


def _cuts(model: Any) -> str:
    """Return the layers fit for a cut, the last ones first."""
    fit = [layer.name for layer in model.layers[:-1] if _has_features(layer)]
    return f"--cut LAYER (its layers with a vector: {', '.join(reversed(fit[-5:])) or 'none'})"


def _has_features(layer: Any) -> bool:
    try:
        return len(layer.output.shape) == 2
    except (AttributeError, TypeError, ValueError):
        return False


def _classifier(output: Any) -> str | None:
    """Return what makes probabilities of the output, None where nothing does."""
    layer = output._keras_history.operation
    while hasattr(layer, "layers"):  # a network in the network
        layer = layer.outputs[0]._keras_history.operation
    kind = type(layer).__name__
    if kind == "Softmax":
        return f"layer {layer.name!r}, Softmax"
    activation = getattr(getattr(layer, "activation", None), "__name__", "")
    return f"layer {layer.name!r}, {kind} with {activation}" if activation in _PROBABILITIES else None


def _check_input(path: Path, shape: tuple[int | None, ...]) -> None:
    if len(shape) != 4 or shape[-1] != 3:
        hint = "; that is channels first" if len(shape) == 4 and shape[1] == 3 else ""
        raise UsageError(f"{path}: it takes {shape}{hint}, and twinset gives RGB pictures, (None, height, width, 3)")
    if shape[0] is not None:
        raise UsageError(
            f"{path}: its batch axis is frozen at {shape[0]}; Triton batches as requests come: build it with "
            "keras.Input(shape) rather than batch_shape"
        )


def _on_arrays(prepared: str, steps: Preprocessing) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return the preprocessing as Keras or NumPy compute it, for the parity gate."""

    def prepare(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = pictures.astype(np.float32)
        if prepared == "none":
            return pixels
        if prepared in preprocessing.NAMED:
            from keras.applications import imagenet_utils

            named: NDArray[np.float32] = imagenet_utils.preprocess_input(pixels, mode=prepared)
            return named
        mean, deviation = np.array(steps.mean, np.float32), np.array(steps.divisor, np.float32)
        own: NDArray[np.float32] = (pixels - mean) / deviation
        return own

    return prepare
