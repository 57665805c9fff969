"""Where a network's weights come from: the package, a file, Keras's own download, or a seed."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.digests import file_sha256
from twinset_exporter.errors import ExportError, UsageError

if TYPE_CHECKING:
    import keras

PACKED_SUFFIX = ".npz"
_KERAS_SUFFIXES = (".keras", ".h5")
# What the readers of these files raise at a file of something else; UserWarning: see `_load_weights`.
_UNREADABLE = (OSError, EOFError, ValueError, TypeError, KeyError, UserWarning, zipfile.BadZipFile)


class Weights(Protocol):
    """A source of weights."""

    @property
    def random(self) -> bool:
        """Whether the weights are noise: good for speed, useless for likeness."""

    def identity(self) -> str:
        """Return text that differs wherever the weights do."""

    def fill(self, network: Callable[[], keras.Model]) -> keras.Model:
        """Return what `network` makes, with these weights in it.

        Raises:
            ExportError: the weights can't be read, or are another network's.
        """


@dataclass(frozen=True, slots=True)
class FileWeights:
    """Weights from a file: `.npz` as `backbones/pack.py` writes it, or `.weights.h5`, `.h5` and `.keras` of Keras."""

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise UsageError(f"no weights file {self.path}: check the path given to --weights")
        if self.path.suffix not in (PACKED_SUFFIX, *_KERAS_SUFFIXES):
            raise UsageError(f"{self.path}: weights must be a {', '.join(_KERAS_SUFFIXES)} or {PACKED_SUFFIX} file")

    @property
    def random(self) -> bool:
        """Return False."""
        return False

    def identity(self) -> str:
        """Return the digest of the file."""
        return json.dumps({"sha256": file_sha256(self.path)})

    def fill(self, network: Callable[[], keras.Model]) -> keras.Model:
        """Return what `network` makes, with the file's weights in it."""
        model = network()
        try:
            if self.path.suffix == PACKED_SUFFIX:
                unpack(read_packed(self.path), model)
            elif self.path.suffix == ".keras":
                model.set_weights(_load_model(self.path).get_weights())
            else:
                _load_weights(self.path, model)
        except _UNREADABLE as error:
            reason = str(error).strip().split("\n")[0]
            raise ExportError(
                f"{self.path}: these are not the weights of {model.name} without its classifier ({reason})"
            ) from error
        return model


@dataclass(frozen=True, slots=True)
class ImagenetWeights:
    """The weights that Keras downloads, once, into its cache (`~/.keras/models`, or below KERAS_HOME).

    Attributes:
        backbone: whose they are.
        trained: `(height, width)` to the network with them.
    """

    backbone: str
    trained: Callable[[int, int], keras.Model]

    @property
    def random(self) -> bool:
        """Return False."""
        return False

    def identity(self) -> str:
        """Return whose they are; which file that is, each release of Keras says itself, with its hash."""
        return json.dumps({"imagenet": self.backbone})

    def fill(self, network: Callable[[], keras.Model]) -> keras.Model:
        """Return what `network` makes, with the downloaded weights in it."""
        model = network()
        _, height, width, _ = model.input_shape
        try:
            # Keras tells of its download on stdout, which is the export's.
            with contextlib.redirect_stdout(sys.stderr):
                trained = self.trained(height, width)
        except Exception as error:  # Keras raises a bare Exception where the download fails
            reason = str(error).strip().partition("\n")[0]
            raise ExportError(
                f"Keras's ImageNet weights of {self.backbone} can't be had ({reason}): fetch that file where there is "
                "internet, and give it with --weights FILE"
            ) from error
        model.set_weights(trained.get_weights())
        return model


@dataclass(frozen=True, slots=True)
class RandomWeights:
    """Weights drawn by the layers' own initialisers; the same for the same seed and release of Keras."""

    seed: int

    @property
    def random(self) -> bool:
        """Return True."""
        return True

    def identity(self) -> str:
        """Return the seed."""
        return json.dumps({"seed": self.seed})

    def fill(self, network: Callable[[], keras.Model]) -> keras.Model:
        """Return what `network` makes, initialised from the seed."""
        import keras

        keras.utils.set_random_seed(self.seed)
        return network()


def check_finite(network: str, weights: Iterable[tuple[str, Any]]) -> None:
    """Let the weights of `network`, each a name and an array, through where all are numbers.

    Raises:
        ExportError: one is NaN or infinite: it would poison every answer, or hide where an activation cuts it off.
    """
    for name, array in weights:
        values = np.asarray(array)
        wrong = values.size - np.count_nonzero(np.isfinite(values))
        if wrong:
            raise ExportError(
                f"{wrong} of the {values.size} weights in {name} of {network} are NaN or infinite: its training went "
                "astray, or the file is damaged; give sound weights"
            )


def read_packed(path: Path) -> dict[str, NDArray[np.float16]]:
    """Return the arrays of a packed file by `layer/variable`.

    Raises:
        ValueError, OSError, EOFError, zipfile.BadZipFile: the file is no such thing.
    """
    # Opened here, since numpy leaves the file open where it isn't a zip.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def unpack(packed: Mapping[str, NDArray[np.float16]], model: keras.Model) -> None:
    """Fill `model` with packed weights.

    Raises:
        ValueError: the names or shapes are another network's.
    """
    variables = {f"{layer.name}/{variable.name}": variable for layer in model.layers for variable in layer.variables}
    if variables.keys() != packed.keys():
        odd = min(variables.keys() ^ packed.keys())
        raise ValueError(f"{odd} is only in one of the two")
    for name, variable in variables.items():
        variable.assign(packed[name].astype(np.float32))


def _load_model(path: Path) -> keras.Model:
    import keras

    return keras.saving.load_model(path, compile=False)


def _load_weights(path: Path, model: keras.Model) -> None:
    if path.name.endswith(".weights.h5"):
        # Keras would take the first layers of a larger network and leave the rest unread, without a word.
        stored = _datasets(path)
        if stored != len(model.variables):
            raise ValueError(f"{stored} arrays where the network has {len(model.variables)}")
    with warnings.catch_warnings():
        # Keras only warns where it leaves a layer as it was initialised.
        warnings.simplefilter("error", UserWarning)
        model.load_weights(path)


def _datasets(path: Path) -> int:
    import h5py  # type: ignore[import-untyped]  # Keras brings it

    names: list[str] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
    return len(names)
