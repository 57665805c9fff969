"""A model as Triton serves it: its contract together with the sizes that requests must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from twinset import card, head_contract, interaction_contract
from twinset.card import Identity
from twinset.contract import CATEGORY, INPUT, ContractError, Metric, ModelContract
from twinset_server.domain import VISUAL
from twinset_server.errors import StartupError

CONFIG = "config.pbtxt"


class NoEmbedder(ContractError):
    """The model embeds no pictures: it is a part of ensembles, or ranks by factors."""


class Servable(Protocol):
    """A model of any kind, as far as it takes to start it."""

    @property
    def name(self) -> str:
        """What Triton calls it."""

    @property
    def contract(self) -> ServableContract:
        """What it promises."""


class ServableContract(Identity, Protocol):
    """What of a contract it takes to start its model."""

    @property
    def components(self) -> tuple[str, ...]:
        """The models that it is made of."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What the server knows of the model.

    `outputs` maps each output to its dimension. `max_batch_size` is the most pictures that one request may carry.
    """

    name: str
    contract: ModelContract
    outputs: Mapping[str, int]
    max_batch_size: int

    @property
    def unit_outputs(self) -> frozenset[str]:
        """Names of the outputs whose rows have unit length."""
        return frozenset(space.output for space in self.contract.spaces if space.metric is Metric.COSINE)

    def check_fingerprint(self, expected: str | None) -> None:
        """Do nothing where the model fills `visual` with the fingerprint `expected`, or none is.

        Raises:
            StartupError: it has another, so its vectors don't compare with those stored.
        """
        visual = self.contract.space(VISUAL)
        given = self.contract.fingerprint_of(visual.output) if visual else self.contract.fingerprint
        if expected is not None and given != expected:
            raise StartupError(
                f"model {self.name} has the fingerprint {given}, but the vectors stored so far are of {expected}: "
                "serve the model of that fingerprint, or begin a new store with --data"
            )

    def check_same(self, before: ServedModel | None) -> None:
        """Do nothing where the model computes what `before` did, all of it, or there was none.

        Raises:
            StartupError: it was exchanged under its name.
        """
        if before is not None and self.contract.fingerprint != before.contract.fingerprint:
            raise StartupError(
                f"model {self.name} has the fingerprint {self.contract.fingerprint}, but had "
                f"{before.contract.fingerprint} before: serve that one again, or restart with --model NAME"
            )

    @classmethod
    def from_config(cls, config: model_config_pb2.ModelConfig) -> ServedModel:
        """Return the model that Triton's `config` describes.

        Raises:
            NoEmbedder: it embeds no pictures.
            ContractError: the contract is missing or malformed, or the tensors of the config don't fit it.
        """
        parameters = {key: parameter.string_value for key, parameter in config.parameters.items()}
        if head_contract.MARK in parameters:
            raise NoEmbedder("it is a head: serve an ensemble that has it")
        if interaction_contract.MARK in parameters:
            raise NoEmbedder("it is an interaction model, which ranks by factors: serve one that embeds pictures")
        contract = ModelContract.from_parameters(parameters)
        if config.max_batch_size < 1:
            raise ContractError(f"max_batch_size is {config.max_batch_size}: it must be at least 1")
        _check_inputs(config, contract)
        outputs = {}
        for tensor in config.output:
            dims = list(tensor.dims)
            if tensor.data_type != model_config_pb2.TYPE_FP32 or len(dims) != 1 or dims[0] < 1:
                raise ContractError(f"output {tensor.name!r} must be TYPE_FP32 with one fixed dimension, not {dims}")
            outputs[tensor.name] = dims[0]
        for space in contract.spaces:
            if outputs.get(space.output) != space.dimension:
                raise ContractError(
                    f"space {space.name!r} needs an output {space.output!r} of dimension {space.dimension}; "
                    f"the outputs are {outputs}"
                )
        for name, output in contract.outputs.items():
            if output.classes and outputs.get(name) != len(output.classes):
                raise ContractError(
                    f"output {name!r} has {len(output.classes)} classes, and the outputs are {outputs}: they must agree"
                )
        unknown = contract.known_answer.values.keys() - outputs.keys()
        if unknown:
            raise ContractError(f"the known answer has outputs that the model lacks: {sorted(unknown)}")
        return cls(config.name, contract, outputs, config.max_batch_size)


def _check_inputs(config: model_config_pb2.ModelConfig, contract: ModelContract) -> None:
    dims = [contract.pipeline.height, contract.pipeline.width, 3]
    expected = [(INPUT, model_config_pb2.TYPE_UINT8, dims)]
    if contract.categories:
        expected.append((CATEGORY, model_config_pb2.TYPE_INT32, [1]))
    if [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.input] != expected:
        told = ", ".join(
            f"{name!r}, {model_config_pb2.DataType.Name(kind)}, dims {dims}" for name, kind, dims in expected
        )
        raise ContractError(f"the input must be {told}, and nothing else")


def read_model(folder: Path) -> ServedModel:
    """Return the model in `folder` of a repository.

    Raises:
        NoEmbedder: it embeds no pictures.
        ContractError: `config.pbtxt` can't be read or is no contract of ours; the message names the file.
    """
    config = read_config(folder)
    try:
        return ServedModel.from_config(config)
    except NoEmbedder:
        raise
    except ContractError as error:
        raise ContractError(f"{folder / CONFIG}: {error}") from error


def read_config(folder: Path) -> model_config_pb2.ModelConfig:
    """Return Triton's config in `folder`, by the folder's name.

    Raises:
        ContractError: it can't be read, or is of another name; the message names the file.
    """
    path = folder / CONFIG
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ContractError(f"{path}: {error}") from error
    # Triton takes an empty name for the folder's, and refuses any other.
    if config.name not in ("", folder.name):
        raise ContractError(f"{path}: the model is named {config.name!r}, its folder {folder.name!r}: they must agree")
    config.name = folder.name
    return config


def list_models(repository: Path) -> tuple[dict[str, ServedModel], list[ContractError]]:
    """Return the models of a local repository by name, and what is wrong with each folder that holds a broken one.

    A folder without a `config.pbtxt` is no model, and a name that begins with a dot is one being written. What
    embeds no pictures is left out.
    """
    models: dict[str, ServedModel] = {}
    broken: list[ContractError] = []
    for path in sorted(repository.glob(f"[!.]*/{CONFIG}")):
        try:
            models[path.parent.name] = read_model(path.parent)
        except NoEmbedder:
            continue
        except ContractError as error:
            broken.append(error)
    return models, broken


def whole(models: Mapping[str, ServedModel]) -> dict[str, ServedModel]:
    """Return the models that are no component of another: the choice of a server that was told no name."""
    components = {name for model in models.values() for name in model.contract.components}
    return {name: model for name, model in models.items() if name not in components}


def refuse_changed(folder: Path, model: Servable) -> None:
    """Let the model in `folder` through where its files are those that its card was written for.

    The known answer would tell most others too, but only after Triton has loaded them, and not what differs.

    Raises:
        StartupError: it has no card, or its files are others; the message tells each difference.
    """
    if problems := card.problems(folder, model.contract):
        raise StartupError(
            f"the model {model.name} is refused: it is not what was published.\n"
            + "".join(f"  {problem}\n" for problem in problems)
            + f"Put the published files back, or move {folder} away and export it again with twinset-exporter"
        )
