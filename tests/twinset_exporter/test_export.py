from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes.steps import RecordedSteps
from twinset.contract import Metric
from twinset.images import PicturePipeline, decode
from twinset.known_answer import known_input
from twinset_exporter import pictures
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.export import Request, Result, export
from twinset_exporter.preprocessing import Preprocessing
from twinset_exporter.repository import MODEL, PublishedModel, Repository
from twinset_exporter.runtime import Runtime
from twinset_exporter.weights import RandomWeights

SAMPLES = Path(__file__).parents[2] / "samples" / "fashion-mnist"

# Vectors of another fingerprint are refused for good: whoever changes this one parts every catalogue from its vectors.
LITE0_FINGERPRINT = "0459a6968526198bb08d81fc94f322c84dcc81cbe48792ed1a20044084657633"


@pytest.fixture(scope="module")
def lite0_runtime(lite0: Result) -> Runtime:
    return Runtime((lite0.path / MODEL).read_bytes())


def test_the_packaged_backbone_keeps_its_fingerprint(lite0: Result) -> None:
    assert lite0.contract.fingerprint == LITE0_FINGERPRINT


def test_the_repository_tells_the_contract_of_what_was_exported(lite0: Result) -> None:
    (model,) = Repository(lite0.path.parent).models()
    assert isinstance(model, PublishedModel)
    contract = model.contract
    assert model.path.name == contract.model == f"efficientnet_lite0-{contract.fingerprint[:8]}"
    assert contract.pipeline == PicturePipeline(224, 224)
    assert not contract.random_weights
    (space,) = contract.spaces
    assert (space.name, space.output, space.dimension, space.metric) == ("visual", "embedding", 1280, Metric.COSINE)
    assert model.problems() == []


def test_onnx_runtime_gives_the_known_answer(lite0: Result, lite0_runtime: Runtime) -> None:
    known = lite0.contract.known_answer
    assert set(known.values) == {"features", "embedding"}
    noise = known_input(known.seed, known.count, 224, 224)
    assert known.mismatch(lite0_runtime.run(noise)) is None


def test_swapped_rows_and_one_value_repeated_are_not_the_known_answer(lite0: Result) -> None:
    known = lite0.contract.known_answer
    swapped = {name: rows[::-1] for name, rows in known.values.items()}
    repeated = {name: np.full_like(rows, rows[0, 0]) for name, rows in known.values.items()}
    assert known.mismatch(swapped) is not None
    assert known.mismatch(repeated) is not None


def test_look_alikes_are_of_one_kind(lite0: Result, lite0_runtime: Runtime) -> None:
    files = [file for folder in sorted(SAMPLES.iterdir()) if folder.is_dir() for file in sorted(folder.iterdir())[:20]]
    kinds = np.array([file.parent.name for file in files])
    pixels = np.stack([decode(file.read_bytes(), lite0.contract.pipeline) for file in files])
    embedding = lite0_runtime.run(pixels)["embedding"]
    similarity = embedding @ embedding.T
    np.fill_diagonal(similarity, -1)
    nearest = similarity.argmax(axis=1)
    assert (kinds[nearest] == kinds).mean() > 0.6  # chance is a tenth


AGAIN = """
import sys
from pathlib import Path
from twinset_exporter import cli

sys.argv = ["twinset-exporter", "export", "efficientnet_lite0", "--repository", {repository!r}]
try:
    cli.app()
except SystemExit as done:
    assert done.code == 0, done.code
assert "tensorflow" not in sys.modules
"""


def test_the_same_export_again_is_done_without_tensorflow(lite0: Result) -> None:
    before = (lite0.path / MODEL).stat().st_mtime_ns
    script = AGAIN.format(repository=str(lite0.path.parent))
    ran = subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True, text=True)
    assert f"Already published: {lite0.path}" in ran.stdout
    assert (lite0.path / MODEL).stat().st_mtime_ns == before


def test_progress_tells_every_step_and_the_parity_of_both_outputs(
    tiny: Backbone, pipeline: PicturePipeline, repository: Repository, steps: RecordedSteps
) -> None:
    assert export(Request(tiny, RandomWeights(0), pipeline), repository, steps).new
    assert len(steps.titles) == 9
    assert [note.partition(":")[0] for note in steps.notes] == ["features", "embedding"]
    assert all("largest difference" in note and "smallest cosine" in note for note in steps.notes)


def test_random_weights_are_marked_in_the_contract(export_tiny: Callable[[int], Result]) -> None:
    assert export_tiny(0).contract.random_weights


def test_other_weights_are_another_model(export_tiny: Callable[[int], Result], repository: Repository) -> None:
    names = {export_tiny(seed).contract.model for seed in (0, 1)}
    assert len(names) == 2
    assert {model.path.name for model in repository.models()} == names


def test_the_same_export_again_is_not_new(export_tiny: Callable[[int], Result]) -> None:
    first, again = export_tiny(0), export_tiny(0)
    assert (first.new, again.new) == (True, False)
    assert first.contract.artifact == again.contract.artifact


def test_a_damaged_model_is_not_taken_for_published(export_tiny: Callable[[int], Result]) -> None:
    (export_tiny(0).path / MODEL).write_bytes(b"rubbish")
    with pytest.raises(ExportError, match="damaged"):
        export_tiny(0)


def test_pictures_of_the_user_s_are_compared_even_where_the_model_is_published(
    tiny: Backbone, pipeline: PicturePipeline, repository: Repository, steps: RecordedSteps, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "mine" / "one.jpg")
    request = Request(tiny, RandomWeights(0), pipeline, parity_pictures=tmp_path / "mine")
    export(request, repository, RecordedSteps())
    assert not export(request, repository, steps).new
    assert "Compare it with Keras on 1 pictures and on known noise" in steps.titles
    assert steps.notes


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(Preprocessing("RGB", (127.0, 127.0, 127.0), 127.5), id="divisor"),
        pytest.param(Preprocessing("RGB", (127.0, 127.5, 127.0), 128.0), id="mean"),
        pytest.param(Preprocessing("BGR", (127.0, 127.0, 127.0), 128.0), id="channels"),
    ],
)
def test_a_wrong_preprocessing_is_refused_and_nothing_is_written(
    tiny: Backbone, pipeline: PicturePipeline, repository: Repository, tmp_path: Path, wrong: Preprocessing
) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    (tmp_path / "mine").mkdir()
    Image.fromarray(colours).save(tmp_path / "mine" / "one.png")
    planted = dataclasses.replace(tiny, preprocessing=wrong)
    request = Request(planted, RandomWeights(0), pipeline, parity_pictures=tmp_path / "mine")
    with pytest.raises(ExportError, match="refused"):
        export(request, repository, RecordedSteps())
    assert list(repository.root.iterdir()) == []


def test_swapped_channels_are_refused_though_the_packaged_pictures_are_grey(
    tiny: Backbone, pipeline: PicturePipeline, repository: Repository
) -> None:
    planted = dataclasses.replace(tiny, preprocessing=Preprocessing("BGR", (127.0, 127.0, 127.0), 128.0))
    with pytest.raises(ExportError, match="refused"):
        export(Request(planted, RandomWeights(0), pipeline), repository, RecordedSteps())
    assert list(repository.root.iterdir()) == []


def test_a_repository_that_takes_no_files_is_found_out_before_the_work(
    tiny: Backbone, pipeline: PicturePipeline, tmp_path: Path, steps: RecordedSteps
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="--repository"):
        export(Request(tiny, RandomWeights(0), pipeline), Repository(tmp_path / "file"), steps)
    assert steps.titles == []


def test_32_real_pictures_are_in_the_box(pipeline: PicturePipeline) -> None:
    packaged = pictures.load(pictures.PACKAGED, pipeline)
    assert packaged.shape == (32, 16, 16, 3)
    assert len(np.unique(packaged, axis=0)) == 32


def test_a_large_folder_is_sampled_evenly(pipeline: PicturePipeline, tmp_path: Path) -> None:
    for shade in range(200):
        Image.new("L", (4, 4), shade).save(tmp_path / f"{shade:03}.png")
    shades = pictures.load(tmp_path, pipeline)[:, 0, 0, 0].tolist()
    assert shades == list(range(0, 200, 2))


@pytest.mark.parametrize(
    ("name", "reason"), [("note.txt", "no pictures below"), ("fake.jpg", r"fake\.jpg: .*--pictures")]
)
def test_a_folder_of_no_use_is_one_clear_line(
    pipeline: PicturePipeline, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / name).write_text("not a picture")
    with pytest.raises(UsageError, match=reason):
        pictures.load(tmp_path, pipeline)
