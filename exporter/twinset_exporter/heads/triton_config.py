"""Configs of heads and ensembles: `config.pbtxt`, complete, since Triton runs with auto-completion off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from twinset import contract, head_contract
from twinset.contract import ModelContract
from twinset.head_contract import INPUT, HeadContract
from twinset_exporter.graph import COPIED
from twinset_exporter.outputs import FEATURES
from twinset_exporter.targets import Target
from twinset_exporter.triton_config import BACKEND, MODEL_FILE
from twinset_exporter.tuning import tune_ensemble, tune_head

_INSIDE = "backbone_features"
"""The tensor that heads take inside an ensemble."""


def render_head(head: HeadContract, given: tuple[str, int], dimensions: Mapping[str, int], target: Target) -> str:
    """Return the config of a head.

    Args:
        head: the contract, which becomes parameters.
        given: name and D of its input.
        dimensions: K of every output.
        target: the machine that it is for.
    """
    config = pb.ModelConfig(
        name=head.model,
        backend=BACKEND,
        default_model_filename=MODEL_FILE,
        input=[
            pb.ModelInput(name=given[0], data_type=pb.TYPE_FP32, dims=[given[1]]),
            *_category(head_contract.CATEGORY, head.categories),
        ],
        output=_outputs(dimensions),
        parameters=_parameters(head.to_parameters()),
    )
    tune_head(config, target)
    return text_format.MessageToString(config)


def render_ensemble(
    model: ModelContract,
    copy: HeadContract,
    heads: Sequence[HeadContract],
    dimensions: Mapping[str, int],
    extra: Mapping[str, str],
    target: Target,
) -> str:
    """Return the config of an ensemble: pictures to the backbone, its features to every head.

    Triton loads the components with the ensemble, and leaves out the steps that nothing of a request's outputs needs.
    It counts those outputs wrong where one is also what a step takes (Triton 2.51 then drops the backbone's step and
    reports a deadlock). So `features` leaves through a step of its own, `copy`, and heads take a tensor inside.

    It miscounts for an input too that nothing needs, as the category where no head that takes it is asked: it takes the
    first step for the one that makes the input, and drops that. So a head that takes the category is the first step:
    that one is dropped already then.

    Args:
        model: the contract, which becomes parameters.
        copy: gives `features` out.
        heads: the heads.
        dimensions: of every output.
        extra: further parameters.
        target: the machine that it is for.
    """
    height, width = model.pipeline.height, model.pipeline.width
    given = [(copy, COPIED), *((head, INPUT) for head in heads)]
    of_backbone = [name for name in dimensions if not any(name in head.outputs for head, _ in given)]
    steps = [
        _step(model.components[0], {contract.INPUT: contract.INPUT}, {FEATURES.name: _INSIDE, **_same(of_backbone)})
    ]
    steps += [
        _step(
            head.model,
            {name: _INSIDE, **({head_contract.CATEGORY: contract.CATEGORY} if head.categories else {})},
            _same(head.outputs),
        )
        for head, name in given
    ]
    steps.sort(key=lambda step: contract.CATEGORY not in step.input_map.values())  # stable
    config = pb.ModelConfig(
        name=model.model,
        platform="ensemble",
        input=[
            pb.ModelInput(name=contract.INPUT, data_type=pb.TYPE_UINT8, dims=[height, width, 3]),
            *_category(contract.CATEGORY, model.categories),
        ],
        output=_outputs(dimensions),
        ensemble_scheduling=pb.ModelEnsembling(step=steps),
        parameters=_parameters({**model.to_parameters(), **extra}),
    )
    tune_ensemble(config, target)
    return text_format.MessageToString(config)


def _category(name: str, categories: Sequence[str]) -> list[pb.ModelInput]:
    """Return the second input, where the model takes categories."""
    return [pb.ModelInput(name=name, data_type=pb.TYPE_INT32, dims=[1])] if categories else []


def _step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> pb.ModelEnsembling.Step:
    return pb.ModelEnsembling.Step(model_name=model, model_version=1, input_map=inputs, output_map=outputs)


def _same(names: Iterable[str]) -> dict[str, str]:
    return {name: name for name in names}


def _outputs(dimensions: Mapping[str, int]) -> list[pb.ModelOutput]:
    return [
        pb.ModelOutput(name=name, data_type=pb.TYPE_FP32, dims=[dimension]) for name, dimension in dimensions.items()
    ]


def _parameters(values: Mapping[str, str]) -> dict[str, pb.ModelParameter]:
    return {key: pb.ModelParameter(string_value=value) for key, value in values.items()}
