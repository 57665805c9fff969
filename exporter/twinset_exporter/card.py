"""Writes a model's card: `card.json`, which `twinset.card` reads, and `card.md`, the same for people."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twinset import card
from twinset.card import FileDigest, Identity
from twinset.contract import ModelContract
from twinset_exporter import card_text, parity, pictures
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.proof import BatchParity
from twinset_exporter.targets import Target
from twinset_exporter.weights import Weights

TRITON = "triton"
"""The section that tells what Triton answered."""

_TOOLS = ("twinset", "keras", "tensorflow", "tensorflow-cpu", "tf2onnx", "onnx", "onnxruntime", "numpy")


def with_card(
    contract: ModelContract, files: Mapping[str, bytes], details: Mapping[str, Any] | None = None
) -> dict[str, bytes]:
    """Return `files`, the whole model, together with its two cards.

    Args:
        contract: what the model promises.
        files: contents by path within the model's folder.
        details: sections of the card besides those that follow from the two; see `details_of`.
    """
    parameters = contract.to_parameters()
    spaces = json.loads(parameters["twinset.spaces"])
    promised = {
        "random_weights": contract.random_weights,
        "spaces": [
            {**space, "fingerprint": contract.fingerprint_of(space["output"])} if contract.components else space
            for space in spaces
        ],
        "pipeline": json.loads(parameters["twinset.pipeline"]),
    }
    return with_identity(contract, files, {**promised, **(details or {})})


def with_identity(contract: Identity, files: Mapping[str, bytes], sections: Mapping[str, Any]) -> dict[str, bytes]:
    """Return `files`, of a model of any kind, together with two cards that tell what it is and the `sections`."""
    content: dict[str, Any] = {
        "card": card.VERSION,
        "model": contract.model,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "fingerprint": contract.fingerprint,
        "artifact": contract.artifact,
        **sections,
        "versions": _versions(),
        "files": entries({name: FileDigest.of(data) for name, data in files.items()}),
    }
    return {**files, **_rendered(content)}


def with_section(content: Mapping[str, Any], name: str, section: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the two cards of `content` with one section in place of what it held there; all else stays."""
    return _rendered({**content, name: section})


def details_of(
    backbone: Backbone,
    weights: Weights,
    target: Target,
    batches: tuple[BatchParity, ...],
    parity_pictures: Path | None,
    triton: Mapping[str, Any],
    speed: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what the card of an export tells of its source, its proof and its speed.

    Args:
        backbone: the network.
        weights: what it was filled with.
        target: the machine that it was published for.
        batches: its parity with Keras.
        parity_pictures: the folder of the pictures behind that, None for those in the box.
        triton: what Triton answered, or why none was asked.
        speed: what `speed.measure` returned.
    """
    return {
        "target": target.value,
        "precision": "fp32",
        "source": {"backbone": backbone.name, "weights": _weights(backbone, weights)},
        "preprocessing": json.loads(backbone.preprocessing.to_json()),
        "parity": {
            "between": ["keras", "onnxruntime"],
            "pictures": pictures.name(parity_pictures),
            "batches": {str(batch.batch): batch.to_json() for batch in batches},
        },
        TRITON: dict(triton),
        "gate": {
            "kind": "parity",
            "largest_share": parity.LARGEST_SHARE,
            "smallest_cosine": parity.SMALLEST_COSINE,
            "passed": True,  # otherwise nothing is published
        },
        "speed": dict(speed),
    }


def _rendered(content: Mapping[str, Any]) -> dict[str, bytes]:
    return {
        card.CARD: f"{json.dumps(content, indent=2)}\n".encode(),
        card.CARD_TEXT: card_text.render(content).encode(),
    }


def _weights(backbone: Backbone, weights: Weights) -> dict[str, Any]:
    identity: dict[str, Any] = json.loads(weights.identity())
    if weights.random:
        return {"kind": "random", **identity}
    path: Path | None = getattr(weights, "path", None)
    if path is not None and path == backbone.packaged_weights:
        return {"kind": "in the box", "file": path.name, **identity}
    return {"kind": "file", **({"file": path.name} if path is not None else {}), **identity}


def entries(files: Mapping[str, FileDigest]) -> dict[str, Any]:
    """Return the digests of files as a card holds them."""
    return {name: {"sha256": digest.sha256, "bytes": digest.size_bytes} for name, digest in files.items()}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for tool in _TOOLS:
        try:
            found[tool] = importlib.metadata.version(tool)
        except importlib.metadata.PackageNotFoundError:
            continue  # TensorFlow goes by one of two names
    return found
