"""A head's Keras network, checked to fit a backbone's features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset.head_contract import CATEGORY
from twinset.known_answer import unknown_categories
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
    """An output of a head: its name in the ensemble, dimension, use, and the network up to it.

    `takes_category` tells whether that network has two inputs.
    """

    output: Output
    dimension: int
    use: Use
    network: keras.Model
    takes_category: bool

    @property
    def name(self) -> str:
        """What it is called."""
        return self.output.name


@dataclass(frozen=True, slots=True)
class HeadNetwork:
    """A head.

    `model` maps `[N, D]` float32, or a list of those and of categories, `[N, 1]` int32, to a dictionary of its outputs,
    before any is brought to unit length.
    """

    head: Head
    model: keras.Model
    outputs: tuple[HeadOutput, ...]

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of what its second input counts from 1 on; empty where it takes the features alone."""
        return self.head.categories

    def run(
        self, features: NDArray[np.float32], categories: NDArray[np.int32] | None = None
    ) -> Mapping[str, NDArray[np.float32]]:
        """Return every output, `[N, K]` float32, as Keras computes them.

        Args:
            features: `[N, D]`.
            categories: `[N, 1]`, for a head that takes them; None means that all are unknown.
        """
        given: Any = features
        if self.categories:
            given = [features, unknown_categories(len(features)) if categories is None else categories]
        rows = self.model.predict(given, batch_size=_BATCH, verbose=0)
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
    given = _check_inputs(head, model, features)
    tensors = _outputs(model)
    if CATEGORY in tensors and len(given) > 1:
        raise UsageError(f"{head.file}: an output is named as its input {CATEGORY}: rename the output")
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
        takes_category = any(given[1] is source for source in _sources(tensor)) if len(given) > 1 else False
        # Around this output alone: what is computed for the others is none of its fingerprint's business.
        network = keras.Model(given if takes_category else given[0], tensor)
        found.append(HeadOutput(Output(name, "l2" if unit else "none"), dimension, use, network, takes_category))
    if len(given) > 1 and not any(one.takes_category for one in found):
        raise UsageError(f"{head.file}: nothing depends on its input {CATEGORY}: leave it out")
    inputs = given if len(given) > 1 else given[0]
    whole = keras.Model(inputs, dict(zip((one.name for one in found), tensors.values(), strict=True)))
    return HeadNetwork(head, whole, tuple(found))


def _check_inputs(head: Head, model: Any, features: int) -> list[Any]:
    """Return the input tensors: the features, and the category where the head takes it."""
    if not getattr(model, "inputs", None) or not getattr(model, "layers", None):
        raise UsageError(
            f"{head.file}: it is no Sequential or functional model with a known input: build it with Input"
        )
    category = [tensor for tensor in model.inputs if tensor.name == CATEGORY]
    others = [tensor for tensor in model.inputs if tensor.name != CATEGORY]
    if len(others) != 1:
        names = ", ".join(tensor.name for tensor in model.inputs)
        raise UsageError(
            f"{head.file}: it takes {len(model.inputs)} inputs ({names}); a head takes one, the features, and may take "
            f"a second that is named {CATEGORY}"
        )
    _check_category(head, category)
    shape = tuple(others[0].shape)
    if shape != (None, features):
        raise UsageError(
            f"{head.file}: it takes {shape}, and the backbone's features are (None, {features}): train it on the "
            "output `features` of this backbone"
        )
    _check_float32(head, others[0])
    return [*others, *category]


def _check_category(head: Head, category: Sequence[Any]) -> None:
    import keras

    if not category:
        if head.categories:
            raise UsageError(
                f"head {head.name}: {len(head.categories)} categories are named, and {head.file} has no input named "
                f"{CATEGORY}"
            )
        return
    if not head.categories:
        raise UsageError(
            f"head {head.name}: {head.file} takes a category: name them in a file for --heads, as "
            f"heads.{head.name}.categories, in the order of their numbers from 1 on"
        )
    shape, kind = tuple(category[0].shape), keras.backend.standardize_dtype(category[0].dtype)
    if shape != (None, 1) or kind != "int32":
        raise UsageError(f"{head.file}: its input {CATEGORY} is {kind} {shape}; it must be int32 (None, 1)")


def _sources(tensor: Any) -> Iterator[Any]:
    """Yield the input tensors that `tensor` is computed from."""
    waiting, seen = [tensor], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        history = one._keras_history
        given = history.operation._inbound_nodes[history.node_index].input_tensors
        if not given:
            yield one
        waiting += given


def _outputs(model: Any) -> dict[str, Any]:
    """Return the network's output tensors: by the keys of its dictionary, or else by the names of their layers."""
    import keras

    # As the model names them, which for several may be a list or a dictionary.
    given = model.input if len(model.inputs) > 1 else model.inputs[0]
    called = model(keras.tree.map_structure(lambda one: keras.KerasTensor(one.shape, one.dtype), given))
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
