"""A Keras network as one ONNX file: pictures in, outputs out, with the preprocessing inside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError, Message

from twinset import contract, head_contract, interaction_contract
from twinset.images import PicturePipeline
from twinset_exporter.errors import ExportError
from twinset_exporter.outputs import EMBEDDING, FEATURES, OUTPUTS, SMALLEST_SQUARED_NORM, Output
from twinset_exporter.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

OPSET = 17
_IR_VERSION = 8  # that of the opset

COPIED = "given"
"""Name of the input of a copy, which can't have that of its output."""

_BATCH = "N"


def to_onnx(model: keras.Model, preprocessing: Preprocessing, pipeline: PicturePipeline) -> bytes:
    """Return the serialised ONNX model; the same bytes for the same network and tools.

    Its input is `contract.INPUT`, `[N, H, W, 3]` uint8 RGB with H and W from `pipeline` and N free; its outputs are
    `OUTPUTS`, `[N, D]` float32.

    Raises:
        ExportError: the converter fails, or its result is no valid ONNX.
    """
    import tensorflow as tf

    # An explicit signature, because `model.export` names its outputs `Identity:0` and fixes what it likes.
    signature = [tf.TensorSpec((None, pipeline.height, pipeline.width, 3), tf.float32, name=contract.INPUT)]

    def serve(pictures: tf.Tensor) -> dict[str, tf.Tensor]:
        features = model(pictures, training=False)
        embedding = tf.math.l2_normalize(features, axis=-1, epsilon=SMALLEST_SQUARED_NORM)
        return {FEATURES.name: features, EMBEDDING.name: embedding}

    converted = _convert(serve, signature, model.name)
    preprocessing.prepend(converted)
    return _finish(converted, model.name, {contract.INPUT, *(output.name for output in OUTPUTS)})


def head_to_onnx(model: keras.Model, outputs: Sequence[Output]) -> bytes:
    """Return the serialised ONNX model of a head.

    Its input is `head_contract.INPUT`, `[N, D]` float32 with N free, and for a model of two inputs the second is
    `head_contract.CATEGORY`, `[N, 1]` int32; its outputs are `outputs`, `[N, K]` float32.

    Args:
        model: the head, from the features or from a list of them and the category, to a dictionary with the outputs as
            they are.
        outputs: which of them are brought to unit length.

    Raises:
        ExportError: the converter fails, or its result is no valid ONNX.
    """
    import tensorflow as tf

    signature = [tf.TensorSpec((None, model.inputs[0].shape[-1]), tf.float32, name=head_contract.INPUT)]
    if len(model.inputs) > 1:
        signature.append(tf.TensorSpec((None, 1), tf.int32, name=head_contract.CATEGORY))

    def serve(features: tf.Tensor, *category: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = model([features, *category] if category else features, training=False)
        return {
            output.name: tf.math.l2_normalize(rows[output.name], axis=-1, epsilon=SMALLEST_SQUARED_NORM)
            if output.normalisation == "l2"
            else rows[output.name]
            for output in outputs
        }

    converted = _convert(serve, signature, model.name)
    return _finish(converted, model.name, {*(spec.name for spec in signature), *(output.name for output in outputs)})


def interaction_to_onnx(model: keras.Model) -> bytes:
    """Return the serialised ONNX model that scores pairs of factors.

    Its inputs are `interaction_contract.USER` and `ITEM`, `[N, D]` float32 each with N free; its output is `SCORE`,
    `[N, 1]` float32.

    Raises:
        ExportError: the converter fails, or its result is no valid ONNX.
    """
    import tensorflow as tf

    names = (interaction_contract.USER, interaction_contract.ITEM)
    dimension = model.inputs[0].shape[-1]
    signature = [tf.TensorSpec((None, dimension), tf.float32, name=name) for name in names]

    def serve(user: tf.Tensor, item: tf.Tensor) -> dict[str, tf.Tensor]:
        return {interaction_contract.SCORE: model([user, item], training=False)}

    converted = _convert(serve, signature, model.name)
    return _finish(converted, model.name, {*names, interaction_contract.SCORE})


def copy_to_onnx(given: str, copied: str, dimension: int) -> bytes:
    """Return the serialised ONNX model that copies its input `given`, `[N, D]` float32, to its output `copied`."""
    tensors = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [_BATCH, dimension])
        for name in (given, copied)
    ]
    node = onnx.helper.make_node("Identity", [given], [copied])
    graph = onnx.helper.make_graph([node], "twinset", tensors[:1], tensors[1:])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="twinset"
    )
    copy: bytes = model.SerializeToString(deterministic=True)
    return copy


def _convert(serve: Callable[..., dict[str, tf.Tensor]], signature: list[tf.TensorSpec], name: str) -> onnx.ModelProto:
    import tensorflow as tf
    import tf2onnx

    try:
        converted: onnx.ModelProto
        converted, _ = tf2onnx.convert.from_function(tf.function(serve), signature, opset=OPSET)
    except Exception as error:  # whatever it or TensorFlow comes to raise: it declares nothing
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ExportError(f"tf2onnx can't convert {name} to ONNX: {reason}") from error
    return converted


def _finish(converted: onnx.ModelProto, name: str, tensors: Collection[str]) -> bytes:
    """Return the serialised graph; `tensors` are the names that stay, those of its inputs and outputs."""
    _make_canonical(converted, tensors)
    try:
        onnx.checker.check_model(converted, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        # Also where the network holds a layer that the converter doesn't know.
        reason = str(error).partition("\n")[0]
        raise ExportError(f"{name} has no valid ONNX: {reason}") from error
    serialised: bytes = converted.SerializeToString(deterministic=True)
    return serialised


def check_self_contained(model: bytes) -> None:
    """Let a graph through that brings all its constants.

    Raises:
        ExportError: it isn't ONNX, or a constant lies in another file, which could be any file of the machine.
    """
    try:
        parsed = onnx.ModelProto.FromString(model)
    except DecodeError as error:
        raise ExportError("ONNX Runtime can't load the graph: it is no ONNX file, or cut off") from error
    for constant in _constants(parsed):
        if constant.data_location == onnx.TensorProto.EXTERNAL or constant.external_data:
            place = next((entry.value for entry in constant.external_data if entry.key == "location"), "")
            raise ExportError(f"refused: constant {constant.name!r} of the graph lies in another file, {place!r}")


def _constants(message: Message) -> Iterator[onnx.TensorProto]:
    """Yield every tensor below `message`: of graphs, their nodes' attributes, subgraphs and functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                yield from _constants(part)


def _make_canonical(model: onnx.ModelProto, tensors: Collection[str]) -> None:
    """Rename everything but inputs and outputs by its place in the graph.

    The converter's names hold counters of the process (the second export of a process would be another file).
    """
    graph = model.graph
    graph.name = "twinset"
    graph.ClearField("doc_string")
    names = {name: name for name in tensors}
    constants = {constant.name: constant for constant in graph.initializer}
    used: list[onnx.TensorProto] = []
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
        for place, name in enumerate(node.input):
            if name and name not in names:  # an empty name is an optional input left out
                names[name] = f"constant_{len(used)}"
                used.append(constants[name])
            node.input[place] = names.get(name, name)
        for place, name in enumerate(node.output):
            names.setdefault(name, f"{node.name}_out{place}")
            node.output[place] = names[name]
    for constant in used:
        constant.name = names[constant.name]
    ordered = [onnx.TensorProto.FromString(constant.SerializeToString()) for constant in used]
    del graph.initializer[:]
    graph.initializer.extend(ordered)
    del graph.value_info[:]
    for tensor in (*graph.input, *graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = _BATCH
