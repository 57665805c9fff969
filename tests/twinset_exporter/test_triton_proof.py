"""An export asks a real Triton before it is published."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from fakes.models import DIMENSION, run_locally, some_pictures, tiny_contract, tiny_onnx
from fakes.steps import RecordedSteps
from twinset.card import read_card
from twinset.images import PicturePipeline
from twinset_exporter import triton_config
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.errors import ExportError
from twinset_exporter.export import Request, export
from twinset_exporter.repository import CONFIG, MODEL, Repository
from twinset_exporter.targets import Target
from twinset_exporter.triton_proof import Staged
from twinset_exporter.weights import RandomWeights

PICTURES = some_pictures(8)


@pytest.fixture
def stage() -> Callable[[Target], Staged]:
    """Return a function that stages the tiny model, as the exporter makes its files, for a target."""

    def stage(target: Target) -> Staged:
        contract = tiny_contract()
        config = triton_config.render(contract, {"features": DIMENSION, "embedding": DIMENSION}, {}, target)
        return Staged(contract, {CONFIG: config.encode(), MODEL: tiny_onnx()}, target)

    return stage


def test_the_card_of_an_export_tells_what_triton_answered_and_keras(
    tiny: Backbone, pipeline: PicturePipeline, repository: Repository, steps: RecordedSteps
) -> None:
    result = export(Request(tiny, RandomWeights(0), pipeline, triton=True), repository, steps)
    told = read_card(result.path).content["triton"]
    assert (told["proved"], told["against"], told["pictures"]) == (True, "keras", "in the box")
    assert re.fullmatch(r"2\.\d+\.\d+", told["version"])
    for batch in ("1", "8", "32"):
        for output in told["batches"][batch]["outputs"].values():
            assert output["share"] <= 1e-4
            assert output["smallest_cosine"] >= 0.99999
    assert steps.titles.index("Compare Triton with Keras on 32 pictures") < steps.titles.index("Publish")


def test_a_triton_that_answers_something_else_is_refused(
    stage: Callable[[Target], Staged], steps: RecordedSteps
) -> None:
    expected = {name: rows + np.float32(0.01) for name, rows in run_locally(PICTURES).items()}
    with pytest.raises(ExportError, match="refused: Triton doesn't answer what Keras does"):
        stage(Target.CPU).prove("keras", expected, PICTURES, "mine", steps)


def test_files_that_triton_can_t_load_are_refused(stage: Callable[[Target], Staged], steps: RecordedSteps) -> None:
    whole = stage(Target.CPU)
    files: Mapping[str, bytes] = {**whole.files, MODEL: tiny_onnx()[:-100]}
    with pytest.raises(ExportError, match="no Triton could be started"):
        dataclasses.replace(whole, files=files).prove("keras", run_locally(PICTURES), PICTURES, "mine", steps)


def test_a_model_for_a_gpu_is_not_proved_here_and_says_why(
    stage: Callable[[Target], Staged], steps: RecordedSteps
) -> None:
    told = stage(Target.GPU).prove("keras", run_locally(PICTURES), PICTURES, "mine", steps)
    assert told == {
        "proved": False,
        "reason": "it is for a gpu, and the Triton in the box computes on the processor",
    }
    assert steps.titles == []
