"""What a model in the repository promises: the contract between exporter, Triton and server.

It travels as string `parameters` of the model's `config.pbtxt`, so that a server on a remote Triton, which sees no
files, reads it through Triton's own API. Every key starts with `twinset.`.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from twinset.images import PicturePipeline

VERSION = "1"
ENSEMBLE_VERSION = "2"
"""That of a model made of several. Readers of version 1 must refuse it: they would take the model's fingerprint for
that of every output."""

INPUT = "pictures"
"""Name of the model's one input, `[N, H, W, 3]` uint8 RGB."""

FP32 = "fp32"
"""The precision that defines fingerprints."""

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What a model may be called: its name is that of a folder, too."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ContractError(ValueError):
    """A model's parameters are missing, malformed or of another contract version."""


class Metric(enum.Enum):
    """How two vectors of a space compare; see the enum of the same name in the protos."""

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"
    INNER_PRODUCT = "inner_product"


@dataclass(frozen=True, slots=True)
class SpaceContract:
    """A vector space that one output of the model fills."""

    name: str
    output: str
    dimension: int
    metric: Metric


@dataclass(frozen=True, slots=True)
class OutputContract:
    """One output of an ensemble.

    Attributes:
        fingerprint: of what this output computes, 64 hexadecimal digits. Those of the backbone have the backbone's,
            whatever heads stand beside it.
        classes: what its components are the scores of, in their order; empty where they have no names.
    """

    fingerprint: str
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """What the model must answer to `known_input(seed, count, ...)`, by value.

    `values` maps an output to float32 of shape `[count, D]`. An answer is right where no component differs by more than
    `tolerance` times the largest absolute component of the expected one: wide enough for another processor's
    rounding, far too narrow for other weights, swapped rows or a corrupted tensor.
    """

    seed: int
    count: int
    tolerance: float
    values: Mapping[str, NDArray[np.float32]]

    def mismatch(self, answer: Mapping[str, NDArray[np.float32]]) -> str | None:
        """Return what is wrong with `answer`, or None where it is right."""
        for name, expected in self.values.items():
            given = answer.get(name)
            if given is None:
                return f"output {name!r} is missing"
            if given.shape != expected.shape:
                return f"output {name!r} has shape {list(given.shape)}, expected {list(expected.shape)}"
            if not np.isfinite(given).all():
                return f"output {name!r} is not finite"
            largest = float(np.abs(given - expected).max())
            bound = self.tolerance * float(np.abs(expected).max())
            if largest > bound:
                return f"output {name!r} differs by {largest:.3g}, allowed {bound:.3g}"
        return None


@dataclass(frozen=True, slots=True)
class Gate:
    """What a model of lower precision showed against the fp32 model that it was made from, on real pictures.

    Attributes:
        reference_fingerprint: the fp32 model's.
        pictures: how many judged; none of them calibrated.
        queries_recall: recall@10 of its vectors as queries among fp32 vectors.
        neighbours_recall: share of the ten fp32 neighbours that its vectors among themselves keep.
        serves_reference: whether it may stand in for the fp32 model: their fingerprints are one then.
        loss_accepted: whether it failed, and somebody published it all the same.
    """

    reference_fingerprint: str
    pictures: int
    queries_recall: float
    neighbours_recall: float
    serves_reference: bool
    loss_accepted: bool


@dataclass(frozen=True, slots=True)
class ModelContract:
    """All that a server needs to know of a model; it has no code for any one backbone.

    `fingerprint` is the SHA-256 of what is computed, `artifact` that of the ONNX file and its runtime, both as 64
    hexadecimal digits. `gate` is None at the precision `fp32`.

    An ensemble, which is a backbone with heads, has `components`: the names of the models that it is made of, the
    backbone first. It has a `name` of its own, and tells each of its `outputs`: what a space compares is the
    fingerprint of the output that fills it, and not that of the model.
    """

    backbone: str
    fingerprint: str
    artifact: str
    pipeline: PicturePipeline
    spaces: tuple[SpaceContract, ...]
    known_answer: KnownAnswer
    random_weights: bool = False
    precision: str = FP32
    gate: Gate | None = None
    name: str | None = None
    outputs: Mapping[str, OutputContract] = field(default_factory=dict)
    components: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        digests = {"fingerprint": self.fingerprint, "artifact": self.artifact}
        digests |= {f"the fingerprint of output {name!r}": output.fingerprint for name, output in self.outputs.items()}
        for what, digest in digests.items():
            if not _SHA256.fullmatch(digest):
                raise ContractError(f"{what} is not 64 hexadecimal digits: {digest!r}")

    @property
    def model(self) -> str:
        """The model's name in the repository.

        One fingerprint may have several artifacts of lower precision, so that theirs carry the artifact too.
        """
        name = f"{self.name or self.backbone}-{self.fingerprint[:8]}"
        return name if self.precision == FP32 else f"{name}-{self.precision}-{self.artifact[:8]}"

    def space(self, name: str) -> SpaceContract | None:
        """Return the space called `name`, or None where the model doesn't fill it."""
        return next((space for space in self.spaces if space.name == name), None)

    def fingerprint_of(self, output: str) -> str:
        """Return the fingerprint of what `output` computes: the model's, unless the model is an ensemble."""
        return self.outputs[output].fingerprint if output in self.outputs else self.fingerprint

    def to_parameters(self) -> dict[str, str]:
        """Return the contract as Triton parameters."""
        known = self.known_answer
        gate = {} if self.gate is None else {"twinset.gate": json.dumps(asdict(self.gate))}
        return {
            "twinset.contract": ENSEMBLE_VERSION if self.components else VERSION,
            "twinset.backbone": self.backbone,
            "twinset.fingerprint": self.fingerprint,
            "twinset.artifact": self.artifact,
            "twinset.pipeline": self.pipeline.to_json(),
            "twinset.spaces": json.dumps(
                [
                    {"name": s.name, "output": s.output, "dimension": s.dimension, "metric": s.metric.value}
                    for s in self.spaces
                ]
            ),
            "twinset.known_answer": json.dumps(
                {
                    "seed": known.seed,
                    "count": known.count,
                    "tolerance": known.tolerance,
                    "values": {name: _encode(values) for name, values in known.values.items()},
                }
            ),
            "twinset.random_weights": json.dumps(self.random_weights),
            "twinset.precision": self.precision,
            **gate,
            **(self._ensemble_parameters() if self.components else {}),
        }

    def _ensemble_parameters(self) -> dict[str, str]:
        return {
            "twinset.name": self.name or self.backbone,
            "twinset.outputs": json.dumps({name: asdict(output) for name, output in self.outputs.items()}),
            "twinset.components": json.dumps(self.components),
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> ModelContract:
        """Return the contract that `parameters` carry.

        Raises:
            ContractError: a parameter is missing or malformed, or the contract is of another version.
        """
        version = parameters.get("twinset.contract")
        if version is None:
            raise ContractError("the model has no parameter twinset.contract: twinset-exporter did not write it")
        if version not in (VERSION, ENSEMBLE_VERSION):
            raise ContractError(
                f"the model's contract is version {version}, this twinset reads versions {VERSION} and "
                f"{ENSEMBLE_VERSION}: use the twinset that made the model"
            )
        try:
            known = json.loads(parameters["twinset.known_answer"])
            count = int(known["count"])
            return cls(
                backbone=parameters["twinset.backbone"],
                fingerprint=parameters["twinset.fingerprint"],
                artifact=parameters["twinset.artifact"],
                pipeline=PicturePipeline.from_json(parameters["twinset.pipeline"]),
                spaces=tuple(
                    SpaceContract(s["name"], s["output"], int(s["dimension"]), Metric(s["metric"]))
                    for s in json.loads(parameters["twinset.spaces"])
                ),
                known_answer=KnownAnswer(
                    seed=int(known["seed"]),
                    count=count,
                    tolerance=float(known["tolerance"]),
                    values={name: _decode(text, count) for name, text in known["values"].items()},
                ),
                random_weights=json.loads(parameters["twinset.random_weights"]),
                precision=parameters.get("twinset.precision", FP32),
                gate=Gate(**json.loads(parameters["twinset.gate"])) if "twinset.gate" in parameters else None,
                **(_ensemble(parameters) if version == ENSEMBLE_VERSION else {}),
            )
        except ContractError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(f"the model's contract is malformed: {error!r}") from error


class _Ensemble(TypedDict, total=False):
    name: str
    outputs: dict[str, OutputContract]
    components: tuple[str, ...]


def _ensemble(parameters: Mapping[str, str]) -> _Ensemble:
    """Return the fields of an ensemble. Raises KeyError, TypeError, ValueError."""
    components: list[str] = json.loads(parameters["twinset.components"])
    for component in components:
        # It is the name of a folder, beside the ensemble's own.
        if not MODEL_NAME.fullmatch(component):
            raise ContractError(f"component {component!r} is no name of a model")
    outputs = json.loads(parameters["twinset.outputs"])
    return {
        "name": parameters["twinset.name"],
        "outputs": {
            name: OutputContract(output["fingerprint"], tuple(output["classes"])) for name, output in outputs.items()
        },
        "components": tuple(components),
    }


def known_input(seed: int, count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return `[count, height, width, 3]` uint8 pixels that depend on the arguments alone.

    The bytes are SHAKE-256 of the seed, so that every language and every NumPy makes the same ones.
    """
    size = count * height * width * 3
    digest = hashlib.shake_256(f"twinset known input {seed}".encode()).digest(size)
    return np.frombuffer(digest, dtype=np.uint8).reshape(count, height, width, 3)


def _encode(values: NDArray[np.float32]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")


def _decode(text: str, count: int) -> NDArray[np.float32]:
    raw = base64.b64decode(text, validate=True)
    return np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(count, -1)
