"""An interaction model as Triton serves it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc import model_config_pb2

from twinset.contract import ContractError
from twinset.interaction_contract import ITEM, MARK, SCORE, USER, InteractionContract
from twinset_server.triton.served_model import CONFIG, read_config


@dataclass(frozen=True, slots=True)
class ServedInteraction:
    """What the server knows of an interaction model; `max_batch_size` is the most pairs of one request."""

    name: str
    contract: InteractionContract
    max_batch_size: int

    @classmethod
    def from_config(cls, config: model_config_pb2.ModelConfig) -> ServedInteraction:
        """Return the model that Triton's `config` describes.

        Raises:
            ContractError: the contract is missing or malformed, or the tensors of the config don't fit it.
        """
        contract = InteractionContract.from_parameters(
            {key: parameter.string_value for key, parameter in config.parameters.items()}
        )
        if config.max_batch_size < 1:
            raise ContractError(f"max_batch_size is {config.max_batch_size}: it must be at least 1")
        inputs = [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.input]
        if inputs != [(name, model_config_pb2.TYPE_FP32, [contract.dimension]) for name in (USER, ITEM)]:
            raise ContractError(f"the inputs must be {USER!r} and {ITEM!r}, TYPE_FP32, dims [{contract.dimension}]")
        outputs = [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.output]
        if outputs != [(SCORE, model_config_pb2.TYPE_FP32, [1])]:
            raise ContractError(f"the output must be {SCORE!r}, TYPE_FP32, dims [1], and the only one")
        return cls(config.name, contract, config.max_batch_size)


def described_interaction(config: model_config_pb2.ModelConfig) -> ServedInteraction | None:
    """Return the interaction model that Triton's `config` describes, None where it describes something else.

    Raises:
        ContractError: it is one, and its contract is malformed, or doesn't fit the tensors.
    """
    return ServedInteraction.from_config(config) if MARK in config.parameters else None


def read_interaction(folder: Path) -> ServedInteraction | None:
    """Return the interaction model in `folder` of a repository, None where something else or nothing is there.

    Raises:
        ContractError: it is one, and can't be read; the message names the file.
    """
    if not (folder / CONFIG).is_file():
        return None
    config = read_config(folder)
    try:
        return described_interaction(config)
    except ContractError as error:
        raise ContractError(f"{folder / CONFIG}: {error}") from error
