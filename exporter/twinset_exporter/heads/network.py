"""A head's Keras network, checked to fit a backbone's features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_exporter import keras_file, outputs
from twinset_exporter.errors import UsageError
from twinset_exporter.heads.specification import Head, Use
from twinset_exporter.outputs import Output
from twinset_exporter.weights import check_finite

if TYPE_CHECKING:
    import keras

_BATCH = 32


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """An output of a head: its name in the ensemble, dimension, use, and the network up to it."""

    output: Output
    dimension: int
    use: Use
    network: keras.Model

    @property
    def name(self) -> str:
        """What it is called."""
        return self.output.name


@dataclass(frozen=True, slots=True)
class HeadNetwork:
    """A head. `model` maps `[N, D]` float32 to a dictionary of its outputs, before any is brought to unit length."""

    head: Head
    model: keras.Model
    outputs: tuple[HeadOutput, ...]

    def run(self, features: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """Return every output, `[N, K]` float32, for `features`, `[N, D]`, as Keras computes them."""
        rows = self.model.predict(features, batch_size=_BATCH, verbose=0)
        return {
            one.name: outputs.normalised(np.asarray(rows[one.name], np.float32), one.output) for one in self.outputs
        }


def load(head: Head, features: int) -> HeadNetwork:
    """Return the network of `head`.

    Args:
        head: what is asked for.
        features: D of the backbone's features.

    Raises:
        UsageError: the file isn't there, or its network doesn't fit the features or the request.
        ExportError: it can't be read, isn't safe to, or its weights aren't finite.
    """
    import keras

    if head.file.suffix != keras_file.SUFFIX or not head.file.is_file():
        raise UsageError(
            f"head {head.name}: no file {head.file}: a head is a {keras_file.SUFFIX} file, as Keras's "
            "model.save(...) writes it"
        )
    model = keras_file.load(head.file)
    _check_input(head, model, features)
    tensors = _outputs(model)
    for name, tensor in tensors.items():
        _check_output(head, name, tensor)
    check_finite(str(head.file), ((variable.path, variable) for variable in model.weights))
    found = []
    for (name, use), tensor in zip(head.uses(list(tensors)).items(), tensors.values(), strict=True):
        dimension = int(tensor.shape[-1])
        if use.classes and len(use.classes) != dimension:
            raise UsageError(
                f"head {head.name}: {len(use.classes)} classes for the output {name}, which has {dimension} components"
            )
        unit = use.metric is Metric.COSINE
        # Around this output alone: what is computed for the others is none of its fingerprint's business.
        network = keras.Model(model.inputs[0], tensor)
        found.append(HeadOutput(Output(name, "l2" if unit else "none"), dimension, use, network))
    whole = keras.Model(model.inputs[0], dict(zip((one.name for one in found), tensors.values(), strict=True)))
    return HeadNetwork(head, whole, tuple(found))


def _check_input(head: Head, model: Any, features: int) -> None:
    if not getattr(model, "inputs", None) or not getattr(model, "layers", None):
        raise UsageError(
            f"{head.file}: it is no Sequential or functional model with a known input: build it with Input"
        )
    if len(model.inputs) != 1:
        raise UsageError(f"{head.file}: it takes {len(model.inputs)} inputs; a head takes one, the features")
    shape = tuple(model.inputs[0].shape)
    if shape != (None, features):
        raise UsageError(
            f"{head.file}: it takes {shape}, and the backbone's features are (None, {features}): train it on the "
            "output `features` of this backbone"
        )
    _check_float32(head, model.inputs[0])


def _outputs(model: Any) -> dict[str, Any]:
    """Return the network's output tensors: by the keys of its dictionary, or else by the names of their layers."""
    import keras

    called = model(keras.KerasTensor(model.inputs[0].shape, model.inputs[0].dtype))
    if isinstance(called, dict):
        return dict(zip(sorted(called), model.outputs, strict=True))  # Keras flattens in the order of the keys
    return {tensor._keras_history.operation.name: tensor for tensor in model.outputs}


def _check_output(head: Head, name: str, tensor: Any) -> None:
    if len(tensor.shape) != 2 or tensor.shape[-1] is None:
        raise UsageError(f"{head.file}: its output {name} is {tuple(tensor.shape)}; twinset serves vectors, (None, K)")
    _check_float32(head, tensor)


def _check_float32(head: Head, tensor: Any) -> None:
    import keras

    if keras.backend.standardize_dtype(tensor.dtype) != "float32":
        raise UsageError(f"{head.file}: it computes {tensor.dtype}; save it with the dtype policy float32")
