"""What a model in the repository promises: the contract between exporter, Triton and server.

It travels as string `parameters` of the model's `config.pbtxt`, so that a server on a remote Triton, which sees no
files, reads it through Triton's own API. Every key starts with `twinset.`.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TypedDict

from twinset.images import PicturePipeline
from twinset.known_answer import UNKNOWN_CATEGORY, KnownAnswer
from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET, PairContract

VERSION = "1"
ENSEMBLE_VERSION = "2"
"""That of a model made of several. Readers of version 1 must refuse it: they would take the model's fingerprint for
that of every output."""

INPUT = "pictures"
"""Name of the model's input, `[N, H, W, 3]` uint8 RGB: its only one, unless it takes categories."""

CATEGORY = "item_category"
"""Name of the second input of a model that takes categories, `[N, 1]` int32: 0 is unknown, 1 to K are its names.

Not `category`, as a head calls it: an ensemble's tensors share one set of names, and many have an output `category`.
"""

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
        takes_category: whether it depends on the model's second input, `CATEGORY`, besides the picture.
        probabilities: whether those scores are probabilities of the classes: none below 0, together 1.
    """

    fingerprint: str
    classes: tuple[str, ...] = ()
    takes_category: bool = False
    probabilities: bool = False


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

    `categories` are the names of what its second input, `CATEGORY`, counts from 1 on; a model without any has no such
    input, and one with some wants it in every request. `pair` tells how the spaces `PAIR_SOURCE` and `PAIR_TARGET` give
    the probability of a pair; None where they don't, or the model doesn't fill them.
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
    categories: tuple[str, ...] = ()
    pair: PairContract | None = None

    def __post_init__(self) -> None:
        digests = {"fingerprint": self.fingerprint, "artifact": self.artifact}
        digests |= {f"the fingerprint of output {name!r}": output.fingerprint for name, output in self.outputs.items()}
        for what, digest in digests.items():
            if not _SHA256.fullmatch(digest):
                raise ContractError(f"{what} is not 64 hexadecimal digits: {digest!r}")
        self._check_names()
        check_pair(self.spaces, self.pair)

    def _check_names(self) -> None:
        lists = {"categories": self.categories}
        lists |= {f"the classes of output {name!r}": output.classes for name, output in self.outputs.items()}
        for what, names in lists.items():
            if not all(names) or len(set(names)) != len(names):
                raise ContractError(f"{what} must be names, each once: {list(names)}")
        for name, output in self.outputs.items():
            if output.takes_category and not self.categories:
                raise ContractError(f"output {name!r} takes a category, and the contract names no categories")

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

    def class_outputs(self) -> Mapping[str, tuple[str, ...]]:
        """Return the outputs that are probabilities of classes, each with the names of those."""
        return {name: one.classes for name, one in self.outputs.items() if one.classes and one.probabilities}

    def takes_category(self, outputs: Iterable[str]) -> bool:
        """Return whether one of `outputs` depends on the category."""
        return any(self.outputs[name].takes_category for name in outputs if name in self.outputs)

    def category_index(self, name: str) -> int | None:
        """Return what the input `CATEGORY` is for the category `name`: 0 where it is empty, None where it isn't known.

        None also where the model takes no categories.
        """
        if not name:
            return UNKNOWN_CATEGORY
        return self.categories.index(name) + UNKNOWN_CATEGORY + 1 if name in self.categories else None

    def to_parameters(self) -> dict[str, str]:
        """Return the contract as Triton parameters."""
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
            "twinset.known_answer": self.known_answer.to_json(),
            "twinset.random_weights": json.dumps(self.random_weights),
            "twinset.precision": self.precision,
            **gate,
            **(self._ensemble_parameters() if self.components else {}),
        }

    def _ensemble_parameters(self) -> dict[str, str]:
        parameters = {
            "twinset.name": self.name or self.backbone,
            "twinset.outputs": json.dumps({name: asdict(output) for name, output in self.outputs.items()}),
            "twinset.components": json.dumps(self.components),
        }
        if self.categories:
            parameters["twinset.categories"] = json.dumps(self.categories)
        if self.pair is not None:
            parameters["twinset.pair"] = json.dumps(asdict(self.pair))
        return parameters

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
            return cls(
                backbone=parameters["twinset.backbone"],
                fingerprint=parameters["twinset.fingerprint"],
                artifact=parameters["twinset.artifact"],
                pipeline=PicturePipeline.from_json(parameters["twinset.pipeline"]),
                spaces=tuple(
                    SpaceContract(s["name"], s["output"], int(s["dimension"]), Metric(s["metric"]))
                    for s in json.loads(parameters["twinset.spaces"])
                ),
                known_answer=KnownAnswer.from_json(parameters["twinset.known_answer"]),
                random_weights=json.loads(parameters["twinset.random_weights"]),
                precision=parameters.get("twinset.precision", FP32),
                gate=Gate(**json.loads(parameters["twinset.gate"])) if "twinset.gate" in parameters else None,
                **(_ensemble(parameters) if version == ENSEMBLE_VERSION else {}),
            )
        except ContractError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(f"the model's contract is malformed: {error!r}") from error


def check_pair(spaces: Iterable[SpaceContract], pair: PairContract | None) -> None:
    """Let spaces through that hold both sides of a pair, alike, or none.

    Raises:
        ContractError: one side is missing, they differ, or `pair` calibrates what isn't there.
    """
    sides = {space.name: space for space in spaces if space.name in (PAIR_SOURCE, PAIR_TARGET)}
    if not sides:
        if pair is not None:
            raise ContractError(f"it calibrates a pair, and fills neither {PAIR_SOURCE} nor {PAIR_TARGET}")
        return
    for name, other in ((PAIR_SOURCE, PAIR_TARGET), (PAIR_TARGET, PAIR_SOURCE)):
        if name not in sides:
            raise ContractError(
                f"it fills the space {other} and not {name}: one side of a pair alone compares with nothing; export "
                "both as outputs of one model"
            )
    source, target = sides[PAIR_SOURCE], sides[PAIR_TARGET]
    if (source.dimension, source.metric) != (target.dimension, target.metric):
        raise ContractError(
            f"the two sides of a pair must have one dimension and metric: {PAIR_SOURCE} has {source.dimension} "
            f"({source.metric.value}), {PAIR_TARGET} {target.dimension} ({target.metric.value})"
        )
    if pair is not None and source.metric is Metric.COSINE:
        raise ContractError("a pair with a probability has the metric euclidean or inner_product, not cosine")


class _Ensemble(TypedDict, total=False):
    name: str
    outputs: dict[str, OutputContract]
    components: tuple[str, ...]
    categories: tuple[str, ...]
    pair: PairContract | None


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
            name: OutputContract(
                output["fingerprint"],
                tuple(output["classes"]),
                output.get("takes_category", False),
                output.get("probabilities", False),
            )
            for name, output in outputs.items()
        },
        "components": tuple(components),
        "categories": tuple(json.loads(parameters.get("twinset.categories", "[]"))),
        "pair": PairContract(**json.loads(parameters["twinset.pair"])) if "twinset.pair" in parameters else None,
    }
