"""The fingerprint, SHA-256 of what a model computes, and the artifact, SHA-256 of the file that computes it.

The fingerprint is over canonical JSON of the architecture, the preprocessing, the picture pipeline and the outputs,
then over the weights. It leaves out what doesn't change a single number: names that Keras makes up, initialisers,
regularisers, versions and times. The file's bytes are the artifact's business.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from twinset.contract import FP32
from twinset.images import PicturePipeline
from twinset_exporter.backbones.saved_model import SavedNetwork
from twinset_exporter.outputs import SMALLEST_SQUARED_NORM, Output
from twinset_exporter.preprocessing import Preprocessing
from twinset_exporter.runtime import PROVIDER

if TYPE_CHECKING:
    import keras

_VERSION = 1

_WITHOUT_EFFECT = {"name", "trainable", "module", "registered_name", "build_config", "compile_config", "momentum"}
_ENDINGS_WITHOUT_EFFECT = ("_initializer", "_regularizer", "_constraint")


def fingerprint(
    model: keras.Model, preprocessing: Preprocessing, pipeline: PicturePipeline, outputs: Sequence[Output]
) -> str:
    """Return the fingerprint, 64 hexadecimal digits.

    The same for two builds of one network with equal weights, in any process, and after saving and loading.
    """
    computed = {
        "version": _VERSION,
        "architecture": architecture(model),
        "preprocessing": json.loads(preprocessing.to_json()),
        "pipeline": json.loads(pipeline.to_json()),
        "outputs": [asdict(output) for output in outputs],
        "smallest_squared_norm": SMALLEST_SQUARED_NORM,
    }
    return _digest(computed, model)


def of_network(described: Mapping[str, Any], model: keras.Model) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of a network and of what `described` says around it."""
    return _digest({**described, "architecture": architecture(model)}, model)


def artifact(onnx_model: bytes, precision: str = FP32) -> str:
    """Return the artifact of an ONNX file: its digest with the arithmetic and the provider that its gate ran on."""
    file = hashlib.sha256(onnx_model).hexdigest()
    return hashlib.sha256(_json({"file": file, "precision": precision, "provider": PROVIDER})).hexdigest()


def architecture(model: keras.Model) -> dict[str, Any]:
    """Return the layers of `model` in their order, with settings and connections but without names.

    A SavedModel has none: the digest of its frozen graph stands for architecture and weights.
    """
    if isinstance(model, SavedNetwork):
        return {"saved_model": model.digest}
    return _network(model.get_config())


def _network(config: dict[str, Any]) -> dict[str, Any]:
    layers = config["layers"]
    index = {layer["config"]["name"]: number for number, layer in enumerate(layers)}
    return {
        "layers": [
            {
                "class": layer["class_name"],
                "config": _network(layer["config"]) if "layers" in layer["config"] else _settings(layer["config"]),
                "inputs": _connections(layer.get("inbound_nodes", []), index),
            }
            for layer in layers
        ],
        "inputs": _connections(config.get("input_layers", []), index),
        "outputs": _connections(config.get("output_layers", []), index),
    }


def _settings(value: Any) -> Any:
    """Return `value` without what has no effect, and without what is off.

    New releases of Keras add settings that are off (None or False) by default; a setting that is left out stays equal.
    """
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy":
            return value["config"]["name"]
        return {
            key: _settings(entry)
            for key, entry in value.items()
            if key not in _WITHOUT_EFFECT
            and not key.endswith(_ENDINGS_WITHOUT_EFFECT)
            and entry is not None
            and entry is not False
        }
    if isinstance(value, list | tuple):
        return [_settings(entry) for entry in value]
    return value


def _connections(value: Any, index: dict[str, int]) -> Any:
    """Return `value` with each reference to a layer's output, `[name, node, tensor]`, by the layer's number."""
    if isinstance(value, list | tuple):
        if len(value) == 3 and isinstance(value[0], str) and value[0] in index:
            return [index[value[0]], value[1], value[2]]
        return [_connections(entry, index) for entry in value]
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return _connections(value["config"]["keras_history"], index)
        return {key: _connections(entry, index) for key, entry in value.items()}
    return value


def _weights(model: keras.Model) -> Iterator[bytes]:
    """Yield shape and values, little-endian float32 in C order, of every weight, layer by layer."""
    for layer in model.layers:
        for values in layer.get_weights():
            yield _json(list(values.shape))
            yield np.ascontiguousarray(values, dtype="<f4").tobytes()


def _digest(computed: Mapping[str, Any], model: keras.Model) -> str:
    digest = hashlib.sha256()
    for part in (_json(computed), *_weights(model)):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
