"""A model's `config.pbtxt`: complete, since Triton runs with auto-completion off, and with the contract in it."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from twinset import contract
from twinset.contract import ModelContract
from twinset_exporter.outputs import OUTPUTS

MODEL_FILE = "model.onnx"
MAX_BATCH = 64
_PREFERRED_BATCHES = (8, 16)


def render(model: ModelContract, dimensions: Mapping[str, int], extra: Mapping[str, str]) -> str:
    """Return the config as text.

    Args:
        model: the contract, which becomes parameters.
        dimensions: D of every output.
        extra: further parameters.
    """
    height, width = model.pipeline.height, model.pipeline.width
    parameters = {
        **model.to_parameters(),
        **extra,
        # All cores work on one batch: onnxruntime's own default, and the key of Triton's native backend.
        "intra_op_thread_count": "0",
    }
    config = pb.ModelConfig(
        name=model.model,
        backend="onnxruntime",
        default_model_filename=MODEL_FILE,
        max_batch_size=MAX_BATCH,
        input=[pb.ModelInput(name=contract.INPUT, data_type=pb.TYPE_UINT8, dims=[height, width, 3])],
        output=[
            pb.ModelOutput(name=output.name, data_type=pb.TYPE_FP32, dims=[dimensions[output.name]])
            for output in OUTPUTS
        ],
        # No delay: requests queue while a batch computes, and that queue is the next batch.
        dynamic_batching=pb.ModelDynamicBatching(
            preferred_batch_size=_PREFERRED_BATCHES, max_queue_delay_microseconds=0
        ),
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)],
        parameters={key: pb.ModelParameter(string_value=value) for key, value in parameters.items()},
        # The first inference allocates; it shouldn't be a user's.
        model_warmup=[
            pb.ModelWarmup(
                name="noise",
                batch_size=1,
                inputs={
                    contract.INPUT: pb.ModelWarmup.Input(
                        data_type=pb.TYPE_UINT8, dims=[height, width, 3], random_data=True
                    )
                },
            )
        ],
    )
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
