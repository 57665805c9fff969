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

from twinset.contract import CATEGORY, ContractError, ModelContract, OutputContract, SpaceContract, check_pair
from twinset.contract import INPUT as PICTURES
from twinset.head_contract import INPUT
from twinset.known_answer import KnownAnswer, known_categories, known_input
from twinset.pair_contract import PairContract
from twinset_exporter import card, parity, pictures, proof, speed, tensorflow_noise, triton_proof
from twinset_exporter.digests import file_sha256
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.export import Result, check_target
from twinset_exporter.heads import card_sections, fingerprint, judging, network, triton_config
from twinset_exporter.heads.card_sections import Part
from twinset_exporter.heads.chain import Chain
from twinset_exporter.heads.components import Backbone, Component, open_backbone, publish_copy, publish_head
from twinset_exporter.heads.network import HeadNetwork
from twinset_exporter.heads.specification import Specification
from twinset_exporter.outputs import OUTPUTS
from twinset_exporter.proof import Rows
from twinset_exporter.recipe import PARAMETER as RECIPE_PARAMETER
from twinset_exporter.repository import CONFIG, PublishedModel, Repository
from twinset_exporter.runtime import Runtime
from twinset_exporter.steps import Steps
from twinset_exporter.triton_proof import Staged

VERSION_FILE = "1/README.md"
"""Triton wants a folder for the version, and a file keeps it alive in copies and object stores."""

_VERSION_TEXT = b"An ensemble has no graph of its own: see config.pbtxt for the models that it is made of.\n"
_PROBABILITY_TOLERANCE = 1e-3
_TOOLS = ("keras", "numpy", "onnx", "onnxruntime", "tf2onnx")


@dataclass(frozen=True, slots=True)
class Request:
    """What to put on a backbone.

    Attributes:
        specification: the heads.
        parity_pictures: folder of pictures for the comparison with Keras, None for those in the box.
        triton: ask a Triton too before the ensemble is published, where one can be started here.
    """

    specification: Specification
    parity_pictures: Path | None = None
    triton: bool = False


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
    below = open_backbone(backbone)
    recipe = _recipe(request.specification, below)
    if request.parity_pictures is None and (published := _published(repository, recipe)):
        return Result(published.contract, published.path, new=False)
    pipeline = below.contract.pipeline
    with steps.step("Decode the pictures for the heads' parity gate"):
        real = pictures.load(request.parity_pictures or pictures.PACKAGED, pipeline)
    with steps.step(f"Compute the features with {below.name}"):
        rows = below.runtime.run(real)
        features = rows[INPUT]
    with steps.step("Load TensorFlow"):
        tensorflow_noise.silence()
        import tf2onnx  # noqa: F401 - it brings TensorFlow and Keras; loaded here so that the step's time is theirs
    networks = [network.load(head, below.runtime.dimensions[INPUT]) for head in request.specification.heads]
    _check_together(networks, below.contract)
    categories = _categories(networks)
    if (record := below.contract.gate) is not None and record.serves_reference:
        with steps.step(f"Judge the heads' spaces on {below.contract.precision} features"):
            judging.judge(networks, features, judging.fp32_features(repository, below.contract, real), record)
    heads = []
    for one in networks:
        with steps.step(f"Convert head {one.head.name}, compare it with Keras, publish it"):
            heads.append(publish_head(one, below, features, request.parity_pictures, repository))
    copy = publish_copy(below, repository)
    chain = Chain(below.runtime, [Runtime(head.graph, INPUT) for head in heads])
    with steps.step(f"Compare the ensemble with Keras on {len(real)} pictures"):
        given = known_categories(len(real), categories)
        expected = dict(rows)
        for one in networks:
            expected |= one.run(features, given)
        batches = proof.compare(expected, chain.run, real, given)
    worst = proof.worst(batches)
    for line in worst:
        if line.output not in below.runtime.dimensions:
            steps.note(str(line))
    parity.gate(worst)
    contract = _contract(request.specification, below, [copy, *heads], networks, chain, categories, expected)
    for name in (name for name, one in contract.outputs.items() if one.classes and not one.probabilities):
        steps.note(f"{name}: no probabilities of its classes, so that no class is predicted by it")
    extra = {RECIPE_PARAMETER: recipe}
    config = triton_config.render_ensemble(
        contract, copy.contract, [head.contract for head in heads], chain.dimensions, extra, below.target
    )
    files = {CONFIG: config.encode(), VERSION_FILE: _VERSION_TEXT}
    triton = triton_proof.unproved(triton_proof.NOT_ASKED)
    if request.triton:
        components = [repository.root / name for name in contract.components]
        staged = Staged(contract, files, below.target, components)
        # Not with Keras, which has no backbone here: what ONNX Runtime answers was proved above and at its export.
        answers = chain.run(real, categories=given)
        triton = staged.prove(
            "onnxruntime", answers, real, pictures.name(request.parity_pictures), steps, given if categories else None
        )
    with steps.step("Measure its speed and memory"):
        measured = speed.measure(below.graph, pipeline, [head.graph for head in heads])
    parts = [Part("backbone", below.contract, below.card)]
    parts += [Part(part.kind, part.contract, part.card) for part in (copy, *heads)]
    details = card_sections.of_ensemble(
        contract, parts, chain.dimensions, batches, request.parity_pictures, triton, measured
    )
    with steps.step("Publish the ensemble"):
        new = repository.publish(contract, card.with_card(contract, files, details))
    there = repository.model(contract.model)
    if not isinstance(there, PublishedModel):
        raise ExportError(f"{there.path} broke while it was published: export again")
    check_target(there, below.target)
    return Result(there.contract, there.path, new, same_file=there.contract.artifact == contract.artifact)


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
    """Let heads through whose outputs and spaces have names of their own, and both sides of a pair or none.

    Raises:
        UsageError: two share one, or a side is missing.
    """
    outputs = {output.name: "the backbone" for output in OUTPUTS}
    spaces = {space.name: "the backbone" for space in backbone.spaces}
    for one in networks:
        owner = f"head {one.head.name}"
        for output in one.outputs:
            if output.name in (PICTURES, CATEGORY):
                raise UsageError(f"{owner}: an ensemble's input is named {output.name}: rename the output")
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
    try:
        check_pair((space for one in networks for space in _spaces(one)), _pair(networks))
    except ContractError as error:
        raise UsageError(f"the heads make no pair: {error}") from error


def _pair(networks: Sequence[HeadNetwork]) -> PairContract | None:
    # One at most: a second would fill the same spaces.
    return next((one.head.pair for one in networks if one.head.pair is not None), None)


def _spaces(network: HeadNetwork) -> list[SpaceContract]:
    return [
        SpaceContract(output.use.space, output.name, output.dimension, output.use.metric)
        for output in network.outputs
        if output.use.space is not None and output.use.metric is not None
    ]


def _categories(networks: Sequence[HeadNetwork]) -> tuple[str, ...]:
    """Return the names of the categories that heads take, all the same ones; empty where none does.

    Raises:
        UsageError: two heads count different ones. An ensemble has one category a picture.
    """
    taking = [one.head for one in networks if one.categories]
    for head in taking[1:]:
        if head.categories != taking[0].categories:
            raise UsageError(
                f"heads {taking[0].name} and {head.name} name other categories, or in another order: train them with "
                "the same, or export two ensembles"
            )
    return taking[0].categories if taking else ()


def _contract(
    specification: Specification,
    below: Backbone,
    parts: Sequence[Component],
    networks: Sequence[HeadNetwork],
    chain: Chain,
    categories: tuple[str, ...],
    real: Rows,
) -> ModelContract:
    backbone = below.contract
    fingerprints = {name: digest for part in parts for name, digest in part.contract.outputs.items()}
    outputs = {name: OutputContract(backbone.fingerprint) for name in below.runtime.dimensions}
    spaces = [*backbone.spaces, *(space for one in networks for space in _spaces(one))]
    for output in (output for one in networks for output in one.outputs):
        outputs[output.name] = OutputContract(
            fingerprints[output.name],
            output.use.classes,
            output.takes_category,
            bool(output.use.classes) and _are_probabilities(real[output.name]),
        )
    known, pipeline = backbone.known_answer, backbone.pipeline
    noise = known_input(known.seed, known.count, pipeline.height, pipeline.width)
    answer = chain.run(noise, categories=known_categories(known.count, categories))
    pair = _pair(networks)
    return ModelContract(
        backbone=backbone.backbone,
        fingerprint=fingerprint.of_ensemble(outputs, spaces, pair),
        artifact=fingerprint.artifact([backbone.artifact, *(part.contract.artifact for part in parts)]),
        pipeline=pipeline,
        spaces=tuple(spaces),
        known_answer=KnownAnswer(known.seed, known.count, known.tolerance, answer),
        random_weights=backbone.random_weights,
        precision=backbone.precision,
        gate=backbone.gate,
        name=specification.name or f"{backbone.backbone}_heads",
        outputs=outputs,
        components=(below.name, *(part.contract.model for part in parts)),
        categories=categories,
        pair=pair,
    )


def _are_probabilities(rows: NDArray[np.float32]) -> bool:
    """Return whether each row of `[N, K]` holds probabilities, as of a softmax: none below 0, together 1."""
    return bool((rows >= 0).all() and (np.abs(rows.sum(axis=1) - 1) < _PROBABILITY_TOLERANCE).all())


def _recipe(specification: Specification, below: Backbone) -> str:
    """Return the recipe, 64 hexadecimal digits: a digest of all that goes into the ensemble.

    Raises:
        UsageError: a head's file isn't there.
    """
    heads = []
    for head in specification.heads:
        if not head.file.is_file():
            raise UsageError(f"head {head.name}: no file {head.file}: check the path")
        asked = [repr(head.only), repr(sorted(head.outputs.items())), list(head.categories), repr(head.pair)]
        heads.append([head.name, file_sha256(head.file), *asked])
    ingredients = {
        "backbone": [below.name, below.contract.artifact],
        "target": below.target.value,
        "name": specification.name,
        "heads": heads,
        "tools": {tool: importlib.metadata.version(tool) for tool in _TOOLS},
        "source": [file_sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))],
    }
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()
