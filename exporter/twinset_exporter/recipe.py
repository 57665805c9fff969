"""The recipe of an export: a digest of all that goes into it, known before TensorFlow is even loaded.

An export whose recipe is in the repository already would make the same model again. The recipe is no fingerprint: it
changes with every tool and every line of the exporter, whether or not that changes what is computed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator
from pathlib import Path

from twinset import contract
from twinset.images import PicturePipeline
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.digests import file_sha256
from twinset_exporter.weights import Weights

PARAMETER = "twinset.recipe"
"""Under which the recipe lies in a model's config, beside the contract."""

_TOOLS = ("keras", "numpy", "onnx", "onnxruntime", "tensorflow", "tensorflow-cpu", "tf2onnx")


def recipe(backbone: Backbone, weights: Weights, pipeline: PicturePipeline, reduction: str = "") -> str:
    """Return the recipe, 64 hexadecimal digits. `reduction` identifies how features are reduced, if they are."""
    ingredients = {
        "backbone": backbone.name,
        "preprocessing": backbone.preprocessing.to_json(),
        "weights": weights.identity(),
        "pipeline": pipeline.to_json(),
        "reduction": reduction,
        "tools": {tool: _version(tool) for tool in _TOOLS},
        "platform": [platform.python_version(), platform.machine()],
        "source": [file_sha256(path) for path in _source()],
    }
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()


def _version(tool: str) -> str | None:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return None  # TensorFlow goes by one of two names


def _source() -> Iterator[Path]:
    yield Path(contract.__file__)
    yield from sorted(Path(__file__).parent.rglob("*.py"))
