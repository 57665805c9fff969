"""A TensorFlow SavedModel as a network: no Keras layers, so its frozen graph says what it computes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.weights import check_finite

if TYPE_CHECKING:
    import tensorflow as tf

_FILE = "saved_model.pb"
_SIGNATURE = "serving_default"
# What reaches out of the graph, to Python or to files; no image network needs it.
_UNSAFE = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "LoadLibrary"}
_CLASSIFIERS = {"Softmax", "Sigmoid"}
# Settings without effect on what is computed.
_NAMES = {"shared_name", "container"}


def is_saved_model(path: Path) -> bool:
    """Return whether `path` is a SavedModel's folder."""
    return (path / _FILE).is_file()


class SavedNetwork:
    """The signature `serving_default` of a SavedModel; to the exporter it is what a Keras model is.

    Attributes:
        name: of its folder.
        input_shape: `(None, height, width, 3)`, None where free.
        digest: of what it computes, 64 hexadecimal digits: the frozen graph without the names of its nodes.
    """

    layers = ()
    weights = ()

    def __init__(self, path: Path) -> None:
        """Load it.

        Raises:
            UsageError: it isn't a network from RGB pictures, channels last, to features.
            ExportError: it can't be read, or reaches out of its graph.
        """
        _refuse_unsafe(path)
        import tensorflow as tf

        self.name = path.name
        try:
            self._loaded = tf.saved_model.load(str(path))  # kept: the signature doesn't hold its variables
        except Exception as error:  # TensorFlow's errors and Python's alike
            raise ExportError(f"{path}: TensorFlow can't load it ({_first_line(error)})") from error
        if _SIGNATURE not in self._loaded.signatures:
            raise UsageError(f"{path}: it has no signature {_SIGNATURE}; save it with Keras's model.export(...)")
        self._signature = self._loaded.signatures[_SIGNATURE]
        self._input, self.input_shape = _input(path, self._signature)
        self._output = _output(path, self._signature)
        check_finite(self.name, ((variable.name, variable) for variable in self._signature.variables))
        graph = _frozen(self._signature)
        root = _root(graph, self._signature)
        if root.op in _CLASSIFIERS:
            raise UsageError(
                f"{path}: it ends in a classifier ({root.op}), whose output is probabilities and no features; cut the "
                "Keras network before it, and export that"
            )
        self.digest = _digest(graph, root.name)

    def __call__(self, pictures: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the features, `[N, D]`, of prepared pictures, `[N, H, W, 3]` float32."""
        return self._signature(**{self._input: pictures})[self._output]

    def predict(self, pictures: NDArray[np.float32], batch_size: int, verbose: int = 0) -> NDArray[np.float32]:
        """Return the features of prepared pictures, some at a time."""
        import tensorflow as tf

        starts = range(0, len(pictures), batch_size)
        return np.concatenate([self(tf.constant(pictures[at : at + batch_size])).numpy() for at in starts])


def _refuse_unsafe(path: Path) -> None:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        saved = saved_model_pb2.SavedModel.FromString((path / _FILE).read_bytes())
    except DecodeError as error:
        raise ExportError(f"{path / _FILE} is damaged: save the model again") from error
    for meta in saved.meta_graphs:
        nodes = [*meta.graph_def.node]
        for function in meta.graph_def.library.function:
            nodes += function.node_def
        unsafe = sorted({node.op for node in nodes} & _UNSAFE)
        if unsafe:
            raise ExportError(
                f"{path} is refused: its graph holds {', '.join(unsafe)}, which reaches for code or files outside it"
            )


def _input(path: Path, signature: Any) -> tuple[str, tuple[int | None, ...]]:
    import tensorflow as tf

    _, inputs = signature.structured_input_signature
    if len(inputs) != 1:
        raise UsageError(f"{path}: it takes {len(inputs)} inputs ({', '.join(inputs)}); twinset gives it one, pictures")
    ((name, spec),) = inputs.items()
    if spec.dtype != tf.float32:
        raise UsageError(f"{path}: it takes {spec.dtype.name}; twinset gives float32 pixels")
    return name, tuple(spec.shape) if spec.shape.rank is not None else ()


def _output(path: Path, signature: Any) -> str:
    outputs = signature.structured_outputs
    if len(outputs) != 1:
        raise UsageError(
            f"{path}: it has {len(outputs)} outputs ({', '.join(outputs)}); save it with the features alone"
        )
    ((name, spec),) = outputs.items()
    if spec.shape.rank != 2 or spec.dtype.name != "float32":
        raise UsageError(f"{path}: its output is {spec.dtype.name} {spec.shape}; features are float32 (None, D)")
    return str(name)


def _frozen(signature: Any) -> Any:
    """Return the signature's GraphDef with functions inlined and variables as constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(signature).graph.as_graph_def()


def _root(graph: Any, signature: Any) -> Any:
    """Return the node that computes the output."""
    nodes = {node.name: node for node in graph.node}
    # Freezing keeps the names of a signature's own outputs.
    node = nodes[signature.outputs[0].op.name]
    while node.op == "Identity":
        node = nodes[_source(node.input[0])[0]]
    return node


def _digest(graph: Any, root: str) -> str:
    """Return a digest of all that node `root` depends on, whatever the nodes' names and order are.

    Each node's is that of its operation, its settings and its inputs' digests; an Identity's is its input's.
    """
    nodes = {node.name: node for node in graph.node}
    digests: dict[str, bytes] = {}
    waiting = [root]
    while waiting:  # a stack, since networks are deeper than Python's
        node = nodes[waiting[-1]]
        sources = [_source(name) for name in node.input if not name.startswith("^")]
        missing = [name for name, _ in sources if name not in digests]
        if missing:
            waiting += missing
            continue
        waiting.pop()
        inputs = [digests[name] + place.encode() for name, place in sources]
        digests[node.name] = inputs[0][:32] if node.op == "Identity" else _node_digest(node, inputs)
    return digests[root].hex()


def _node_digest(node: Any, inputs: list[bytes]) -> bytes:
    digest = hashlib.sha256()
    for part in (node.op.encode(), *_settings(node), *inputs):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _settings(node: Any) -> Iterator[bytes]:
    """Yield the settings of a node, without those at their defaults, which new releases add."""
    from tensorflow import make_ndarray
    from tensorflow.python.framework import op_def_registry

    if node.op == "Placeholder":
        return
    if node.op == "Const":  # its value has several encodings
        values = make_ndarray(node.attr["value"].tensor)
        yield f"{values.dtype} {values.shape}".encode()
        yield values.tobytes()
        return
    defaults = {attr.name: attr.default_value for attr in op_def_registry.get(node.op).attr}
    for key, value in sorted(node.attr.items()):
        if value.HasField("func"):
            raise ExportError(
                f"node {node.name} of the SavedModel is a {node.op}, control flow that twinset can't prove"
            )
        if not key.startswith("_") and key not in _NAMES and value != defaults.get(key):
            yield key.encode()
            yield value.SerializeToString(deterministic=True)


def _source(name: str) -> tuple[str, str]:
    """Return node and number of the output that `name`, `node` or `node:number`, refers to."""
    node, _, number = name.partition(":")
    return node, number or "0"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
