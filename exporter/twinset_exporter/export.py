"""A backbone's way into the repository: build, convert, compare, publish."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric, ModelContract, SpaceContract
from twinset.images import PicturePipeline
from twinset.known_answer import KnownAnswer, known_input
from twinset_exporter import (
    card,
    graph,
    outputs,
    parity,
    pictures,
    proof,
    speed,
    tensorflow_noise,
    triton_config,
    triton_proof,
)
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.errors import ExportError
from twinset_exporter.fingerprint import artifact, fingerprint
from twinset_exporter.garbage import collected_eagerly
from twinset_exporter.recipe import PARAMETER as RECIPE_PARAMETER
from twinset_exporter.recipe import recipe
from twinset_exporter.reducing import PARAMETER as REDUCTION_PARAMETER
from twinset_exporter.reducing import ReductionRequest, reduce
from twinset_exporter.repository import CONFIG, MODEL, Published, PublishedModel, Repository
from twinset_exporter.runtime import Runtime
from twinset_exporter.steps import Steps
from twinset_exporter.targets import PARAMETER as TARGET_PARAMETER
from twinset_exporter.targets import Target
from twinset_exporter.triton_proof import Staged
from twinset_exporter.weights import Weights

if TYPE_CHECKING:
    import keras

_SPACE = "visual"
_METRIC = Metric.COSINE
_KNOWN_SEED = 20170828
_KNOWN_COUNT = 2  # two rows, so that swapped ones show
_KNOWN_TOLERANCE = 0.01
# TensorFlow unrolls a convolution's windows: 116 MB a picture in VGG16, so that 16 of them took the export to 4.4 GB.
_KERAS_BATCH = 4


@dataclass(frozen=True, slots=True)
class Request:
    """What to export.

    Attributes:
        backbone: the network.
        weights: what to fill it with.
        pipeline: how its pictures are made; its height and width are the network's.
        parity_pictures: folder of pictures for the parity gate, None for the packaged ones.
        target: the machine that it is published for.
        reduction: how to shorten the features, None to leave them as they are.
        triton: ask a Triton too before it is published, where one can be started here.
    """

    backbone: Backbone
    weights: Weights
    pipeline: PicturePipeline
    parity_pictures: Path | None = None
    target: Target = Target.CPU
    reduction: ReductionRequest | None = None
    triton: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What is in the repository now.

    `new` is False where it was there before. `same_file` is False where the one there before is another file that
    computes the same.
    """

    contract: ModelContract
    path: Path
    new: bool
    same_file: bool = True


def export(request: Request, repository: Repository, steps: Steps) -> Result:
    """Publish the model, after its ONNX graph proved to compute what Keras does.

    Raises:
        UsageError: a file or folder named by the caller is of no use.
        ExportError: the weights, the graph, the parity gate or the repository fail; nothing was published.
    """
    repository.make()
    export_recipe = recipe(
        request.backbone, request.weights, request.pipeline, request.reduction.identity() if request.reduction else ""
    )
    # Who brings pictures wants to see the figures for them, published or not.
    if request.parity_pictures is None:
        with steps.step("Look for the same export in the repository"):
            published = _published(repository, export_recipe, request.target)
        if published:
            return Result(published.contract, published.path, new=False)
    with steps.step("Decode the pictures for the parity gate"):
        real = pictures.load(request.parity_pictures or pictures.PACKAGED, request.pipeline)
    with steps.step("Load TensorFlow"):
        _load_tensorflow()
    with steps.step(f"Build {request.backbone.name}"):
        model = request.backbone.build(request.weights, request.pipeline.height, request.pipeline.width)
    extra = {RECIPE_PARAMETER: export_recipe}
    if request.reduction:
        with steps.step("Convert it to ONNX as it is"), collected_eagerly():
            whole = Runtime(graph.to_onnx(model, request.backbone.preprocessing, request.pipeline))
        model, report = reduce(model, whole, request.reduction, request.pipeline, _METRIC, steps)
        extra[REDUCTION_PARAMETER] = report.to_json()
        del whole  # a network in memory twice would be once too many
    with steps.step("Convert it to ONNX"), collected_eagerly():
        onnx_model = graph.to_onnx(model, request.backbone.preprocessing, request.pipeline)
    with steps.step("Load it into ONNX Runtime, try several batch sizes"):
        runtime = Runtime(onnx_model)
        runtime.check_batch_axis(real[0])
    with steps.step(f"Compare it with Keras on {len(real)} pictures and on known noise"):
        noise = known_input(_KNOWN_SEED, _KNOWN_COUNT, request.pipeline.height, request.pipeline.width)
        answers = runtime.run(noise)
        expected = _by_keras(model, request.backbone, real)
        batches = proof.compare(expected, runtime.run, real)
        parities = proof.worst(batches)
        noise_parities = parity.compare(_by_keras(model, request.backbone, noise), answers)
    for line in parities:
        steps.note(str(line))
    parity.gate(parities)
    parity.gate(noise_parities)
    contract = ModelContract(
        backbone=request.backbone.name,
        fingerprint=fingerprint(model, request.backbone.preprocessing, request.pipeline, outputs.OUTPUTS),
        artifact=artifact(onnx_model),
        pipeline=request.pipeline,
        spaces=(SpaceContract(_SPACE, outputs.EMBEDDING.name, runtime.dimensions[outputs.EMBEDDING.name], _METRIC),),
        known_answer=KnownAnswer(_KNOWN_SEED, _KNOWN_COUNT, _KNOWN_TOLERANCE, answers),
        random_weights=request.weights.random,
    )
    config = triton_config.render(contract, runtime.dimensions, extra, request.target)
    files = {CONFIG: config.encode(), MODEL: onnx_model}
    triton = triton_proof.unproved(triton_proof.NOT_ASKED)
    if request.triton:
        staged = Staged(contract, files, request.target)
        triton = staged.prove("keras", expected, real, pictures.name(request.parity_pictures), steps)
    with steps.step("Measure its speed and memory"):
        measured = speed.measure(onnx_model, request.pipeline)
    details = card.details_of(
        request.backbone, request.weights, request.target, batches, request.parity_pictures, triton, measured
    )
    if REDUCTION_PARAMETER in extra:
        details["reduction"] = json.loads(extra[REDUCTION_PARAMETER])
    with steps.step("Publish"):
        new = repository.publish(contract, card.with_card(contract, files, details))
    there = repository.model(contract.model)
    if not isinstance(there, PublishedModel):
        raise ExportError(f"{there.path} broke while it was published: export again")
    check_target(there, request.target)
    return Result(there.contract, there.path, new, same_file=there.contract.artifact == contract.artifact)


def check_target(published: Published, target: Target) -> None:
    """Let a model through that is published for `target`: one folder has one config, and that never changes.

    Raises:
        ExportError: it is published for another.
    """
    if (other := published.parameters.get(TARGET_PARAMETER)) != target.value:
        raise ExportError(
            f"{published.path} is published for the target {other}: publish the one for {target.value} in a "
            "repository of its own, with --repository"
        )


def _published(repository: Repository, export_recipe: str, target: Target) -> PublishedModel | None:
    for model in repository.models():
        if (
            isinstance(model, PublishedModel)
            and model.parameters.get(RECIPE_PARAMETER) == export_recipe
            and model.parameters.get(TARGET_PARAMETER) == target.value
            and not model.problems()
        ):
            return model
    return None


def _load_tensorflow() -> None:
    tensorflow_noise.silence()
    import tf2onnx  # noqa: F401 - it brings TensorFlow and Keras; loaded here so that the step's time is theirs


def _by_keras(model: keras.Model, backbone: Backbone, batch: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
    features = model.predict(backbone.preprocess(batch), batch_size=_KERAS_BATCH, verbose=0)
    return outputs.of_features(np.asarray(features, dtype=np.float32))
