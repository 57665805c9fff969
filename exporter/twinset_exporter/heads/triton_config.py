"""Configs of heads and ensembles: `config.pbtxt`, complete, since Triton runs with auto-completion off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from twinset import contract
from twinset.contract import ModelContract
from twinset.head_contract import INPUT, HeadContract
from twinset_exporter.targets import Target
from twinset_exporter.triton_config import BACKEND, MODEL_FILE
from twinset_exporter.tuning import tune_ensemble, tune_head


def render_head(head: HeadContract, features: int, dimensions: Mapping[str, int], target: Target) -> str:
    """Return the config of a head.

    Args:
        head: the contract, which becomes parameters.
        features: D of its input.
        dimensions: K of every output.
        target: the machine that it is for.
    """
    config = pb.ModelConfig(
        name=head.model,
        backend=BACKEND,
        default_model_filename=MODEL_FILE,
        input=[pb.ModelInput(name=INPUT, data_type=pb.TYPE_FP32, dims=[features])],
        output=_outputs(dimensions),
        parameters=_parameters(head.to_parameters()),
    )
    tune_head(config, target)
    return text_format.MessageToString(config)


def render_ensemble(
    model: ModelContract,
    components: Sequence[tuple[str, Sequence[str]]],
    dimensions: Mapping[str, int],
    extra: Mapping[str, str],
    target: Target,
) -> str:
    """Return the config of an ensemble: pictures to the backbone, its features to every head.

    Triton leaves out the steps that nothing of a request's outputs needs, and loads the components with the ensemble.

    Args:
        model: the contract, which becomes parameters.
        components: names of the models, the backbone first, each with its outputs.
        dimensions: of every output.
        extra: further parameters.
        target: the machine that it is for.
    """
    height, width = model.pipeline.height, model.pipeline.width
    config = pb.ModelConfig(
        name=model.model,
        platform="ensemble",
        input=[pb.ModelInput(name=contract.INPUT, data_type=pb.TYPE_UINT8, dims=[height, width, 3])],
        output=_outputs(dimensions),
        ensemble_scheduling=pb.ModelEnsembling(
            step=[
                pb.ModelEnsembling.Step(
                    model_name=name,
                    model_version=1,
                    input_map={given: given for given in [INPUT if place else contract.INPUT]},
                    output_map={output: output for output in outputs},
                )
                for place, (name, outputs) in enumerate(components)
            ]
        ),
        parameters=_parameters({**model.to_parameters(), **extra}),
    )
    tune_ensemble(config, target)
    return text_format.MessageToString(config)


def _outputs(dimensions: Mapping[str, int]) -> list[pb.ModelOutput]:
    return [
        pb.ModelOutput(name=name, data_type=pb.TYPE_FP32, dims=[dimension]) for name, dimension in dimensions.items()
    ]


def _parameters(values: Mapping[str, str]) -> dict[str, pb.ModelParameter]:
    return {key: pb.ModelParameter(string_value=value) for key, value in values.items()}
