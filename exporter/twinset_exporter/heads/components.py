"""The models that an ensemble is made of: the backbone as it is there, and heads, which are published here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twinset.card import Card, CardError, read_card
from twinset.contract import ModelContract
from twinset.head_contract import INPUT, HeadContract
from twinset.known_answer import known_categories
from twinset_exporter import card, graph, parity, proof
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.export import Result, check_target
from twinset_exporter.fingerprint import artifact
from twinset_exporter.heads import card_sections, fingerprint, triton_config
from twinset_exporter.heads.network import HeadNetwork
from twinset_exporter.outputs import FEATURES
from twinset_exporter.repository import CONFIG, MODEL, PublishedHead, Repository
from twinset_exporter.runtime import Runtime
from twinset_exporter.targets import Target


@dataclass(frozen=True, slots=True)
class Backbone:
    """The published backbone, sound and loaded."""

    contract: ModelContract
    card: Card
    graph: bytes
    runtime: Runtime
    target: Target

    @property
    def name(self) -> str:
        """The model's name."""
        return self.contract.model


@dataclass(frozen=True, slots=True)
class Component:
    """A head as it is published, or the copy of the features."""

    kind: Literal["head", "copy"]
    contract: HeadContract
    card: Card
    graph: bytes


def open_backbone(published: Result) -> Backbone:
    """Return the backbone that heads are put on.

    Raises:
        UsageError: it is an ensemble.
        ExportError: it is not what was published.
    """
    contract, path = published.contract, published.path
    if contract.components:
        raise UsageError(f"{path.name} is an ensemble: put heads on its backbone, {contract.components[0]}")
    try:
        told = read_card(path)
        problems = told.differences(path, contract)
    except CardError as error:
        raise ExportError(f"{path} is damaged ({error}): move it away, then export again") from error
    if problems:
        raise ExportError(f"{path} is damaged ({'; '.join(problems)}): move it away, then export again")
    content = (path / MODEL).read_bytes()
    return Backbone(contract, told, content, Runtime(content), Target(told.content["target"]))


def publish_head(
    network: HeadNetwork,
    backbone: Backbone,
    features: NDArray[np.float32],
    parity_pictures: Path | None,
    repository: Repository,
) -> Component:
    """Publish one head, and return it as it is in the repository: where it was there before, that file counts.

    Args:
        network: the head.
        backbone: what it is for.
        features: `[N, D]`, those of real pictures, to compare on.
        parity_pictures: the folder of those pictures, None for those in the box.
        repository: where it goes.

    Raises:
        ExportError: its graph doesn't compute what Keras does, or the repository fails; it wasn't published.
    """
    content = graph.head_to_onnx(network.model, [output.output for output in network.outputs])
    runtime = Runtime(content, INPUT)
    runtime.check_batch_axis(features[0])
    categories = known_categories(len(features), network.categories)
    batches = proof.compare(network.run(features, categories), runtime.run, features, categories)
    parity.gate(proof.worst(batches))
    base = backbone.contract.fingerprint
    outputs = {output.name: fingerprint.of_output(base, output, network.categories) for output in network.outputs}
    contract = HeadContract(
        network.head.name, fingerprint.of_head(base, outputs), artifact(content), base, outputs, network.categories
    )
    dimensions = {output.name: output.dimension for output in network.outputs}
    config = triton_config.render_head(contract, (INPUT, features.shape[1]), dimensions, backbone.target)
    sections = card_sections.of_head(contract, network, backbone.card, batches, parity_pictures)
    return _publish("head", contract, config, content, sections, backbone.target, repository)


def publish_copy(backbone: Backbone, repository: Repository) -> Component:
    """Publish the step through which an ensemble gives `features` out; see `triton_config.render_ensemble`."""
    base, dimension = backbone.contract.fingerprint, backbone.runtime.dimensions[INPUT]
    content = graph.copy_to_onnx(graph.COPIED, FEATURES.name, dimension)
    outputs = {FEATURES.name: base}
    contract = HeadContract(FEATURES.name, fingerprint.of_head(base, outputs), artifact(content), base, outputs)
    config = triton_config.render_head(contract, (graph.COPIED, dimension), {FEATURES.name: dimension}, backbone.target)
    sections = card_sections.of_copy(contract, backbone.card, dimension)
    return _publish("copy", contract, config, content, sections, backbone.target, repository)


def _publish(
    kind: Literal["head", "copy"],
    contract: HeadContract,
    config: str,
    content: bytes,
    sections: Mapping[str, Any],
    target: Target,
    repository: Repository,
) -> Component:
    files = {CONFIG: config.encode(), MODEL: content}
    repository.publish(contract, card.with_identity(contract, files, sections))
    there = repository.model(contract.model)
    if not isinstance(there, PublishedHead):
        raise ExportError(f"{there.path} broke while it was published: export again")
    check_target(there, target)
    return Component(kind, there.contract, read_card(there.path), (there.path / MODEL).read_bytes())
