"""What the cards of heads and ensembles tell besides their contracts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from twinset.card import Card
from twinset.contract import FP32, ModelContract
from twinset.head_contract import HeadContract
from twinset_exporter import card, parity, pictures
from twinset_exporter.digests import file_sha256
from twinset_exporter.heads.network import HeadNetwork
from twinset_exporter.proof import BatchParity


@dataclass(frozen=True, slots=True)
class Part:
    """A component of an ensemble, as it is published."""

    kind: Literal["backbone", "head", "copy"]
    contract: ModelContract | HeadContract
    card: Card


def of_head(
    contract: HeadContract,
    network: HeadNetwork,
    backbone: Card,
    batches: Sequence[BatchParity],
    parity_pictures: Path | None,
) -> dict[str, Any]:
    """Return what the card of a head tells.

    Args:
        contract: the head's.
        network: what it was made of.
        backbone: the card of the backbone below it.
        batches: its parity with Keras on that backbone's features.
        parity_pictures: the folder of the pictures behind those, None for those in the box.
    """
    file = network.head.file
    return {
        "target": backbone.content["target"],
        "precision": FP32,
        "source": {"backbone": backbone.model, "head": {"file": file.name, "sha256": file_sha256(file)}},
        "outputs": {
            output.name: {
                "dimension": output.dimension,
                "classes": [],  # the ensemble's to name, like spaces
                "fingerprint": contract.outputs[output.name],
            }
            for output in network.outputs
        },
        "parity": _parity(batches, parity_pictures),
        "gate": _gate(),
    }


def of_copy(contract: HeadContract, backbone: Card, dimension: int) -> dict[str, Any]:
    """Return what the card of the copy of the features tells: it has nothing to prove."""
    outputs = {
        name: {"dimension": dimension, "classes": [], "fingerprint": fingerprint}
        for name, fingerprint in contract.outputs.items()
    }
    return {
        "target": backbone.content["target"],
        "precision": FP32,
        "source": {"backbone": backbone.model},
        "outputs": outputs,
    }


def of_ensemble(
    contract: ModelContract,
    parts: Sequence[Part],
    dimensions: Mapping[str, int],
    batches: Sequence[BatchParity],
    parity_pictures: Path | None,
    triton: Mapping[str, Any],
    speed: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what the card of an ensemble tells: its components with their files, its proof and its speed.

    Args:
        contract: the ensemble's.
        parts: its components, the backbone first.
        dimensions: of every output.
        batches: the parity of the whole. What it says of the backbone's outputs, whose Keras network isn't here, gives
            way to the backbone's own card.
        parity_pictures: the folder of the pictures behind that, None for those in the box.
        triton: what Triton answered, or why none was asked.
        speed: what `speed.measure` returned.
    """
    backbone = parts[0].card.content
    section = _parity(batches, parity_pictures)
    proved = backbone.get("parity", {}).get("batches", {})
    of_heads = {name for part in parts if isinstance(part.contract, HeadContract) for name in part.contract.outputs}
    for batch, measured in section["batches"].items():
        own = {name: row for name, row in measured["outputs"].items() if name in of_heads}
        measured["outputs"] = {**proved.get(batch, {}).get("outputs", {}), **own}
    return {
        **{key: backbone[key] for key in ("target", "preprocessing", "reduction") if key in backbone},
        "precision": contract.precision,
        "source": backbone["source"],
        "components": {
            part.card.model: {
                "kind": part.kind,
                "fingerprint": part.contract.fingerprint,
                "artifact": part.contract.artifact,
                "files": card.entries(part.card.files),
            }
            for part in parts
        },
        "outputs": {
            name: {
                "dimension": dimensions[name],
                "classes": list(one.classes),
                "fingerprint": one.fingerprint,
                "takes_category": one.takes_category,
            }
            for name, one in contract.outputs.items()
        },
        "categories": list(contract.categories),
        **({} if contract.pair is None else {"pair": asdict(contract.pair)}),
        "parity": section,
        card.TRITON: dict(triton),
        "gate": _gate(),
        "speed": dict(speed),
    }


def _parity(batches: Sequence[BatchParity], parity_pictures: Path | None) -> dict[str, Any]:
    return {
        "between": ["keras", "onnxruntime"],
        "pictures": pictures.name(parity_pictures),
        "batches": {str(batch.batch): batch.to_json() for batch in batches},
    }


def _gate() -> dict[str, Any]:
    return {
        "kind": "parity",
        "largest_share": parity.LARGEST_SHARE,
        "smallest_cosine": parity.SMALLEST_COSINE,
        "passed": True,  # otherwise nothing is published
    }
