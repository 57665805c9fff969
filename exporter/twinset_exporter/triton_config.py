"""A model's `config.pbtxt`: complete, since Triton runs with auto-completion off, and with the contract in it."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from twinset import contract
from twinset.contract import ModelContract
from twinset_exporter.outputs import OUTPUTS
from twinset_exporter.targets import Target
from twinset_exporter.tuning import tune

BACKEND = "onnxruntime"
MODEL_FILE = "model.onnx"


def render(
    model: ModelContract, dimensions: Mapping[str, int], extra: Mapping[str, str], target: Target = Target.CPU
) -> str:
    """Return the config as text.

    Args:
        model: the contract, which becomes parameters.
        dimensions: D of every output.
        extra: further parameters.
        target: the machine that it is for.
    """
    height, width = model.pipeline.height, model.pipeline.width
    config = pb.ModelConfig(
        name=model.model,
        backend=BACKEND,
        default_model_filename=MODEL_FILE,
        input=[pb.ModelInput(name=contract.INPUT, data_type=pb.TYPE_UINT8, dims=[height, width, 3])],
        output=[
            pb.ModelOutput(name=output.name, data_type=pb.TYPE_FP32, dims=[dimensions[output.name]])
            for output in OUTPUTS
        ],
        parameters={
            key: pb.ModelParameter(string_value=value) for key, value in {**model.to_parameters(), **extra}.items()
        },
    )
    tune(config, target)
    return text_format.MessageToString(config)


def parameters(text: str) -> dict[str, str]:
    """Return the parameters of a config.

    Raises:
        ValueError: the text is no Triton model config.
    """
    try:
        config = text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(f"not a Triton model config: {error}") from error
    return {key: parameter.string_value for key, parameter in config.parameters.items()}
