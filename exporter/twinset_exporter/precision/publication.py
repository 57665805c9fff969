"""A published fp32 model's way to a lower precision: convert, judge, publish beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from twinset.card import CardError, read_card
from twinset.contract import Gate, ModelContract
from twinset.known_answer import KnownAnswer, known_input
from twinset_exporter import card, speed, triton_config, triton_proof
from twinset_exporter import pictures as parity_pictures
from twinset_exporter.digests import file_sha256
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.export import Result, check_target
from twinset_exporter.fingerprint import artifact
from twinset_exporter.outputs import EMBEDDING
from twinset_exporter.precision import calibration, fp16, gate, int8, sensitivity
from twinset_exporter.recipe import PARAMETER as RECIPE_PARAMETER
from twinset_exporter.reducing import PARAMETER as REDUCTION_PARAMETER
from twinset_exporter.repository import CONFIG, MODEL, PublishedModel, Repository
from twinset_exporter.runtime import Runtime
from twinset_exporter.steps import Steps
from twinset_exporter.targets import Target
from twinset_exporter.triton_proof import Staged

# Measured on EfficientNet-Lite0's known answer, as a share of its scale: with VNNI int8 answered the same bits at 1, 2
# and 4 threads and at batch 1, 2 and 8, and .023 to .028 off where ONNX Runtime fused less (its graph optimisation at
# extended, basic or none). The fp32 graph in its place is .18 off, blue for red .17, other noise .44: .05 lies between.
# A processor without VNNI adds products in 16 bits, which may saturate; one that goes beyond the tolerance is refused.
_TOLERANCES = {"fp16": 0.01, "int8": 0.05}


class Precision(StrEnum):
    """What the arithmetic of a model runs in; fp32 defines the fingerprint."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class Reduction:
    """What to make of an fp32 model.

    Attributes:
        precision: fp16 or int8.
        calibration: folder of pictures like those that the model will see. int8 needs one; fp16 is judged on the
            packaged pictures without.
        accept_loss: publish it though it keeps too few neighbours; the contract records it.
        triton: ask a Triton too before it is published, where one can be started here.
    """

    precision: Precision
    calibration: Path | None = None
    accept_loss: bool = False
    triton: bool = False

    def __post_init__(self) -> None:
        if self.precision is Precision.INT8 and self.calibration is None:
            raise UsageError(
                f"--precision int8 needs --calibration FOLDER: {calibration.LEAST} pictures or more, like those that "
                "the model will see"
            )


def parse(precision: str, folder: Path | None, *, accept_loss: bool, triton: bool) -> Reduction | None:
    """Return what the command line asks for, None where that is fp32.

    Raises:
        UsageError: it doesn't fit together.
    """
    if precision not in list(Precision):
        raise UsageError(f"no precision {precision!r}: choose one of {', '.join(Precision)}")
    if precision != Precision.FP32:
        return Reduction(Precision(precision), folder, accept_loss, triton)
    if folder is not None or accept_loss:
        raise UsageError("--calibration and --accept-loss are for --precision fp16 and int8: fp32 loses nothing")
    return None


def reduce(reduction: Reduction, repository: Repository, published: Result, steps: Steps) -> Result:
    """Publish the model at a lower precision, after its vectors proved to find what the fp32 ones find.

    Args:
        reduction: what to make.
        repository: where the fp32 model is, and where the new one goes.
        published: the fp32 model.
        steps: told of the work.

    Raises:
        UsageError: the folder of pictures is of no use.
        ExportError: the gate refuses, or the repository fails; nothing was published then.
    """
    contract = published.contract
    fp32, told = _sound(published)
    with steps.step("Decode the pictures to calibrate and to judge on"):
        pictures = _pictures(reduction, contract)
    target = Target(told["target"])
    recipe = _recipe(reduction, contract, target, pictures)
    for model in repository.models():
        if (
            isinstance(model, PublishedModel)
            and model.parameters.get(RECIPE_PARAMETER) == recipe
            and not model.problems()
        ):
            return Result(model.contract, model.path, new=False)
    with steps.step("Compute the fp32 vectors"):
        runtime = Runtime(fp32)
        judges = runtime.run(pictures.judge)[EMBEDDING.name]
    converted = _convert(reduction.precision, fp32, pictures, runtime, steps)
    with steps.step(f"Judge {reduction.precision} on {len(pictures.judge)} other pictures"):
        lower = Runtime(converted)
        record = gate.judge(
            judges,
            lower.run(pictures.judge)[EMBEDDING.name],
            accept_loss=reduction.accept_loss,
            reference_fingerprint=contract.fingerprint,
        )
    steps.note(
        f"recall@{gate.K} of queries against fp32 vectors {record.queries_recall:.4f}, of neighbours "
        f"{record.neighbours_recall:.4f}: {_meaning(record)}"
    )
    reduced = _contract(contract, reduction.precision, converted, record, lower)
    extra = {RECIPE_PARAMETER: recipe}
    if "reduction" in told:
        extra[REDUCTION_PARAMETER] = json.dumps(told["reduction"])
    files = {CONFIG: triton_config.render(reduced, lower.dimensions, extra, target).encode(), MODEL: converted}
    triton = triton_proof.unproved(triton_proof.NOT_ASKED)
    if reduction.triton:
        real = parity_pictures.load(parity_pictures.PACKAGED, contract.pipeline)
        staged = Staged(reduced, files, target)
        triton = staged.prove("onnxruntime", lower.run(real), real, parity_pictures.name(None), steps)
    with steps.step("Measure its speed and memory"):
        measured = speed.measure(converted, contract.pipeline)
    with steps.step("Publish"):
        details = _details(told, reduced, record, triton, measured)
        new = repository.publish(reduced, card.with_card(reduced, files, details))
    there = repository.model(reduced.model)
    if not isinstance(there, PublishedModel):
        raise ExportError(f"{there.path} broke while it was published: export again")
    check_target(there, target)
    return Result(there.contract, there.path, new, same_file=there.contract.artifact == reduced.artifact)


def _sound(published: Result) -> tuple[bytes, Mapping[str, Any]]:
    """Return the ONNX file of the fp32 model, and what its card tells.

    Raises:
        ExportError: it is not what was published.
    """
    try:
        fp32 = read_card(published.path)
        problems = fp32.differences(published.path, published.contract)
    except CardError as error:
        problems = [str(error)]
    if problems:
        raise ExportError(f"{published.path} is damaged ({'; '.join(problems)}): move it away, then export again")
    return (published.path / MODEL).read_bytes(), fp32.content


def _details(
    fp32: Mapping[str, Any],
    reduced: ModelContract,
    record: Gate,
    triton: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what the card tells besides the contract: the source is the fp32 model's, gate and speed are its own."""
    inherited = {key: fp32[key] for key in ("target", "preprocessing", "reduction") if key in fp32}
    return {
        **inherited,
        "precision": reduced.precision,
        "source": {**fp32["source"], "fp32_artifact": fp32["artifact"]},
        card.TRITON: dict(triton),
        "gate": {"kind": "neighbours", **dataclasses.asdict(record), "passed": not record.loss_accepted},
        "speed": dict(measured),
    }


def _pictures(reduction: Reduction, contract: ModelContract) -> calibration.Pictures:
    if reduction.calibration is not None:
        return calibration.load(
            reduction.calibration, contract.pipeline, calibrates=reduction.precision is Precision.INT8
        )
    packaged = parity_pictures.load(parity_pictures.PACKAGED, contract.pipeline)
    return calibration.Pictures(calibrate=packaged[:0], judge=packaged)


def _convert(
    precision: Precision, fp32: bytes, pictures: calibration.Pictures, runtime: Runtime, steps: Steps
) -> bytes:
    if precision is Precision.FP16:
        with steps.step("Store the weights as fp16"):
            return fp16.store_as_fp16(fp32)
    with steps.step(f"Calibrate on {len(pictures.calibrate)} pictures"):
        quantiser = int8.Quantiser(fp32, pictures.calibrate)
        reference = runtime.run(pictures.calibrate)[EMBEDDING.name]
    with steps.step("Quantise, and look for the layers that must stay fp32"):
        return sensitivity.choose(quantiser, reference, pictures.calibrate, steps).model


def _contract(
    fp32: ModelContract, precision: Precision, converted: bytes, record: Gate, lower: Runtime
) -> ModelContract:
    known = fp32.known_answer
    noise = known_input(known.seed, known.count, fp32.pipeline.height, fp32.pipeline.width)
    return dataclasses.replace(
        fp32,
        fingerprint=fp32.fingerprint if record.serves_reference else _fingerprint(fp32, precision, converted),
        artifact=artifact(converted, precision),
        known_answer=KnownAnswer(known.seed, known.count, _TOLERANCES[precision], lower.run(noise)),
        precision=precision.value,
        gate=record,
    )


def _fingerprint(fp32: ModelContract, precision: Precision, converted: bytes) -> str:
    """Return a fingerprint of its own: of what fp32 computes, the precision, and the numbers that took its place."""
    digest = hashlib.sha256(f"{fp32.fingerprint} {precision}".encode())
    for tensor in onnx.ModelProto.FromString(converted).graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        head = json.dumps([str(values.dtype), list(values.shape)]).encode()
        for part in (head, np.ascontiguousarray(values).tobytes()):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


def _recipe(reduction: Reduction, fp32: ModelContract, target: Target, pictures: calibration.Pictures) -> str:
    """Return the recipe, 64 hexadecimal digits: a digest of all that goes into the model."""
    ingredients = {
        "fp32": fp32.artifact,
        "target": target.value,
        "precision": reduction.precision,
        "accept_loss": reduction.accept_loss,
        "pictures": [_digest(pictures.calibrate), _digest(pictures.judge)],
        "tools": {tool: importlib.metadata.version(tool) for tool in ("numpy", "onnx", "onnxruntime")},
        "source": [file_sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))],
    }
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()


def _digest(pictures: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(pictures).tobytes()).hexdigest()


def _meaning(record: Gate) -> str:
    if record.serves_reference:
        return "it may serve the fp32 fingerprint"
    return "published all the same, as asked" if record.loss_accepted else "it is a fingerprint of its own"
