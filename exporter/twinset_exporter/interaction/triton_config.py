"""The config of an interaction model."""

from __future__ import annotations

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from twinset.interaction_contract import ITEM, MAX_PAIRS, SCORE, USER, InteractionContract
from twinset_exporter.targets import Target
from twinset_exporter.triton_config import BACKEND, MODEL_FILE
from twinset_exporter.tuning import tune_interaction


def render(contract: InteractionContract, target: Target) -> str:
    """Return the config as text, complete, since Triton runs with auto-completion off."""
    config = pb.ModelConfig(
        name=contract.model,
        backend=BACKEND,
        default_model_filename=MODEL_FILE,
        max_batch_size=MAX_PAIRS,
        input=[pb.ModelInput(name=name, data_type=pb.TYPE_FP32, dims=[contract.dimension]) for name in (USER, ITEM)],
        output=[pb.ModelOutput(name=SCORE, data_type=pb.TYPE_FP32, dims=[1])],
        parameters={key: pb.ModelParameter(string_value=value) for key, value in contract.to_parameters().items()},
    )
    tune_interaction(config, target)
    return text_format.MessageToString(config)
