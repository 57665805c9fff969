"""Heads' way onto a published backbone: convert, compare, publish each, and an ensemble of all.

The backbone is not exported again and not touched; any number of ensembles share it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.card import Card, CardError, read_card
from twinset.contract import KnownAnswer, ModelContract, OutputContract, SpaceContract, known_input
from twinset.head_contract import INPUT, HeadContract
from twinset_exporter import card, graph, parity, pictures, proof, speed, tensorflow_noise
from twinset_exporter.digests import file_sha256
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.export import Result, check_target
from twinset_exporter.fingerprint import artifact
from twinset_exporter.heads import card_sections, fingerprint, judging, network, triton_config
from twinset_exporter.heads.card_sections import Part
from twinset_exporter.heads.chain import Chain
from twinset_exporter.heads.network import HeadNetwork
from twinset_exporter.heads.specification import Specification
from twinset_exporter.outputs import OUTPUTS
from twinset_exporter.recipe import PARAMETER as RECIPE_PARAMETER
from twinset_exporter.repository import CONFIG, MODEL, PublishedHead, PublishedModel, Repository
from twinset_exporter.runtime import Runtime
from twinset_exporter.steps import Steps
from twinset_exporter.targets import Target

VERSION_FILE = "1/README.md"
"""Triton wants a folder for the version, and a file keeps it alive in copies and object stores."""

_VERSION_TEXT = b"An ensemble has no graph of its own: see config.pbtxt for the models that it is made of.\n"
_TOOLS = ("keras", "numpy", "onnx", "onnxruntime", "tf2onnx")


@dataclass(frozen=True, slots=True)
class Request:
    """What to put on a backbone.

    Attributes:
        specification: the heads.
        parity_pictures: folder of pictures for the comparison with Keras, None for those in the box.
    """

    specification: Specification
    parity_pictures: Path | None = None


@dataclass(frozen=True, slots=True)
class _Backbone:
    """The published backbone, sound and loaded."""

    model: PublishedModel
    card: Card
    graph: bytes
    runtime: Runtime
    target: Target


@dataclass(frozen=True, slots=True)
class _Head:
    """A published head, its graph, and the Keras network that it was made of."""

    model: PublishedHead
    card: Card
    graph: bytes
    runtime: Runtime
    network: HeadNetwork


def publish(request: Request, repository: Repository, backbone: Result, steps: Steps) -> Result:
    """Publish the heads, and the ensemble of the backbone and them, after each output proved to be what Keras computes.

    Args:
        request: the heads.
        repository: where the backbone is, and where heads and ensemble go.
        backbone: the backbone as it is published.
        steps: told of the work.

    Raises:
        UsageError: a file named by the caller is of no use, or the heads don't fit together.
        ExportError: a head, its graph, the gate or the repository fail. The ensemble wasn't published then.
    """
    below = _open(backbone)
    recipe = _recipe(request.specification, below)
    if request.parity_pictures is None and (published := _published(repository, recipe)):
        return Result(published.contract, published.path, new=False)
    pipeline = below.model.contract.pipeline
    with steps.step("Decode the pictures for the heads' parity gate"):
        real = pictures.load(request.parity_pictures or pictures.PACKAGED, pipeline)
    with steps.step(f"Compute the features with {below.model.path.name}"):
        rows = below.runtime.run(real)
    with steps.step("Load TensorFlow"):
        tensorflow_noise.silence()
        import tf2onnx  # noqa: F401 - it brings TensorFlow and Keras; loaded here so that the step's time is theirs
    networks = [network.load(head, below.runtime.dimensions[INPUT]) for head in request.specification.heads]
    _check_together(networks, below.model.contract)
    if (record := below.model.contract.gate) is not None and record.serves_reference:
        with steps.step(f"Judge the heads' spaces on {below.model.contract.precision} features"):
            judging.judge(networks, rows[INPUT], judging.fp32_features(repository, below.model.contract, real), record)
    heads = [_publish_head(one, below, rows[INPUT], repository, request, steps) for one in networks]
    chain = Chain(below.runtime, [head.runtime for head in heads])
    with steps.step(f"Compare the ensemble with Keras on {len(real)} pictures"):
        expected = dict(rows)
        for one in networks:
            expected |= one.run(rows[INPUT])
        batches = proof.compare(expected, chain.run, real)
    worst = proof.worst(batches)
    for line in worst:
        if line.output not in below.runtime.dimensions:
            steps.note(str(line))
    parity.gate(worst)
    contract = _contract(request.specification, below, heads, chain)
    with steps.step("Measure its speed and memory"):
        measured = speed.measure(below.graph, pipeline, [head.graph for head in heads])
    components = [(below.model.path.name, list(below.runtime.dimensions))]
    components += [(head.model.path.name, list(head.runtime.dimensions)) for head in heads]
    extra = {RECIPE_PARAMETER: recipe}
    config = triton_config.render_ensemble(contract, components, chain.dimensions, extra, below.target)
    parts = [Part("backbone", below.model.contract, below.card)]
    parts += [Part("head", head.model.contract, head.card) for head in heads]
    details = card_sections.of_ensemble(contract, parts, chain.dimensions, batches, request.parity_pictures, measured)
    with steps.step("Publish the ensemble"):
        files = {CONFIG: config.encode(), VERSION_FILE: _VERSION_TEXT}
        new = repository.publish(contract, card.with_card(contract, files, details))
    there = repository.model(contract.model)
    if not isinstance(there, PublishedModel):
        raise ExportError(f"{there.path} broke while it was published: export again")
    check_target(there, below.target)
    return Result(there.contract, there.path, new, same_file=there.contract.artifact == contract.artifact)


def _open(backbone: Result) -> _Backbone:
    if backbone.contract.components:
        raise UsageError(
            f"{backbone.path.name} is an ensemble: put heads on its backbone, {backbone.contract.components[0]}"
        )
    try:
        told = read_card(backbone.path)
        problems = told.differences(backbone.path, backbone.contract)
    except CardError as error:
        raise ExportError(f"{backbone.path} is damaged ({error}): move it away, then export again") from error
    if problems:
        raise ExportError(f"{backbone.path} is damaged ({'; '.join(problems)}): move it away, then export again")
    content = (backbone.path / MODEL).read_bytes()
    target = Target(told.content["target"])
    return _Backbone(PublishedModel(backbone.path, backbone.contract, {}), told, content, Runtime(content), target)


def _published(repository: Repository, recipe: str) -> PublishedModel | None:
    for model in repository.models():
        if (
            isinstance(model, PublishedModel)
            and model.parameters.get(RECIPE_PARAMETER) == recipe
            and not model.problems()
        ):
            return model
    return None


def _check_together(networks: Sequence[HeadNetwork], backbone: ModelContract) -> None:
    """Let heads through whose outputs and spaces have names of their own.

    Raises:
        UsageError: two share one.
    """
    outputs = {output.name: "the backbone" for output in OUTPUTS}
    spaces = {space.name: "the backbone" for space in backbone.spaces}
    for one in networks:
        owner = f"head {one.head.name}"
        for output in one.outputs:
            if output.name in outputs:
                raise UsageError(
                    f"{owner}: {outputs[output.name]} has an output {output.name} too: rename one of them in Keras, or "
                    "the head"
                )
            outputs[output.name] = owner
            space = output.use.space
            if space is None:
                continue
            if space in spaces:
                raise UsageError(f"{owner}: {spaces[space]} fills the space {space} already: name another")
            spaces[space] = owner


def _publish_head(
    one: HeadNetwork,
    below: _Backbone,
    features: NDArray[np.float32],
    repository: Repository,
    request: Request,
    steps: Steps,
) -> _Head:
    """Publish one head, and return it as it is in the repository: where it was there before, that file counts."""
    head, expected = one.head, one.run(features)
    with steps.step(f"Convert head {head.name} to ONNX"):
        content = graph.head_to_onnx(one.model, [output.output for output in one.outputs])
        runtime = Runtime(content, INPUT)
        runtime.check_batch_axis(features[0])
    with steps.step(f"Compare head {head.name} with Keras"):
        batches = proof.compare(expected, runtime.run, features)
    parity.gate(proof.worst(batches))
    base = below.model.contract.fingerprint
    outputs = {output.name: fingerprint.of_output(base, output) for output in one.outputs}
    contract = HeadContract(head.name, fingerprint.of_head(base, outputs), artifact(content), base, outputs)
    dimensions = {output.name: output.dimension for output in one.outputs}
    config = triton_config.render_head(contract, below.runtime.dimensions[INPUT], dimensions, below.target)
    sections = card_sections.of_head(contract, one, below.card, batches, request.parity_pictures)
    files = {CONFIG: config.encode(), MODEL: content}
    repository.publish(contract, card.with_identity(contract, files, sections))
    there = repository.model(contract.model)
    if not isinstance(there, PublishedHead):
        raise ExportError(f"{there.path} broke while it was published: export again")
    check_target(there, below.target)
    content = (there.path / MODEL).read_bytes()
    return _Head(there, read_card(there.path), content, Runtime(content, INPUT), one)


def _contract(specification: Specification, below: _Backbone, heads: Sequence[_Head], chain: Chain) -> ModelContract:
    backbone = below.model.contract
    outputs = {name: OutputContract(backbone.fingerprint) for name in below.runtime.dimensions}
    spaces = list(backbone.spaces)
    for head in heads:
        for output in head.network.outputs:
            use = output.use
            outputs[output.name] = OutputContract(head.model.contract.outputs[output.name], use.classes)
            if use.space is not None and use.metric is not None:
                spaces.append(SpaceContract(use.space, output.name, output.dimension, use.metric))
    known, pipeline = backbone.known_answer, backbone.pipeline
    noise = known_input(known.seed, known.count, pipeline.height, pipeline.width)
    return ModelContract(
        backbone=backbone.backbone,
        fingerprint=fingerprint.of_ensemble(outputs, spaces),
        artifact=fingerprint.artifact([backbone.artifact, *(head.model.contract.artifact for head in heads)]),
        pipeline=pipeline,
        spaces=tuple(spaces),
        known_answer=KnownAnswer(known.seed, known.count, known.tolerance, chain.run(noise)),
        random_weights=backbone.random_weights,
        precision=backbone.precision,
        gate=backbone.gate,
        name=specification.name or f"{backbone.backbone}_heads",
        outputs=outputs,
        components=(below.model.path.name, *(head.model.path.name for head in heads)),
    )


def _recipe(specification: Specification, below: _Backbone) -> str:
    """Return the recipe, 64 hexadecimal digits: a digest of all that goes into the ensemble.

    Raises:
        UsageError: a head's file isn't there.
    """
    heads = []
    for head in specification.heads:
        if not head.file.is_file():
            raise UsageError(f"head {head.name}: no file {head.file}: check the path")
        heads.append([head.name, file_sha256(head.file), repr(head.only), repr(sorted(head.outputs.items()))])
    ingredients = {
        "backbone": [below.model.path.name, below.model.contract.artifact],
        "target": below.target.value,
        "name": specification.name,
        "heads": heads,
        "tools": {tool: importlib.metadata.version(tool) for tool in _TOOLS},
        "source": [file_sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))],
    }
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()
