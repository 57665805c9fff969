from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import keras
import pytest

from twinset_exporter.backbones.registry import BACKBONES
from twinset_exporter.export import Result
from twinset_exporter.repository import PublishedModel, Repository

Run = Callable[..., tuple[int, str, str]]


def test_help_names_the_commands(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert "export" in out
    assert "models" in out


def test_help_of_export_tells_the_backbones_and_an_example(run: Run) -> None:
    code, out, _ = run("export", "--help")
    assert code == 0
    for backbone in BACKBONES.values():
        assert f"{backbone.name}: {backbone.summary}" in out
    assert "twinset-exporter export efficientnet_lite0 --repository model_repository" in out
    for option in ("--weights", "--random-weights", "--pictures", "--size", "--interpolation", "--precision"):
        assert option in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["vgg99"], "no backbone 'vgg99': choose one of efficientnet_lite0, resnet50"),
        (["resnet50"], "resnet50 has no weights in the box.*--weights FILE.*--random-weights SEED"),
        (["resnet50", "--weights", "/none.h5"], "no weights file /none.h5"),
        (["resnet50", "--weights", "/none.h5", "--random-weights", "1"], "exclude each other"),
        (["efficientnet_lite0", "--size", "4"], "--size 4: efficientnet_lite0 takes 32 to 1024 pixels"),
        (["efficientnet_lite0", "--pictures", "/none"], "no folder /none"),
        (["efficientnet_lite0", "--preprocessing", "tf"], "--preprocessing is for models of your own"),
        (["resnet50", "--random-weights", "0", "--cut", "x"], "--cut is for models of your own"),
        (["resnet50", "--random-weights", "0", "--name", "../x"], "--name is for models of your own"),
        (["inception_v3", "--random-weights", "0", "--size", "74"], "inception_v3 takes 75 to 1024 pixels"),
        (["../none.keras"], r"say how \.\./none\.keras wants its pixels: --preprocessing caffe, tf or torch"),
        (["../none.keras", "--preprocessing", "tf"], r"no model \.\./none\.keras"),
        (["../none.keras", "--preprocessing", "tf", "--name", "../x"], r"--name '\.\./x'"),
        (["mine.keras", "--random-weights", "0"], r"mine\.keras brings its weights"),
        (["efficientnet_lite0", "--precision", "int8"], "needs --calibration FOLDER: 200 pictures or more"),
        (["efficientnet_lite0", "--reduce", "9"], "--reduce K and --reduce-on FOLDER go together"),
        (["efficientnet_lite0", "--reduce", "9", "--reduce-on", "/none"], "/none does not exist"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(run: Run, tmp_path: Path, arguments: list[str], line: str) -> None:
    code, _, err = run("export", *arguments, "--repository", str(tmp_path / "models"))
    assert code == 2
    assert re.fullmatch(f"twinset-exporter: .*{line}.*\n", err)
    assert Repository(tmp_path / "models").models() == []


def test_a_failure_is_one_line_and_exit_code_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = run("export", "efficientnet_lite0", "--repository", str(tmp_path / "file"))
    assert code == 1
    assert re.fullmatch("twinset-exporter: can't write to the model repository .*--repository\n", err)


def test_a_model_of_one_s_own_is_exported(run: Run, tmp_path: Path) -> None:
    pictures = keras.Input((16, 24, 3))
    model = keras.Model(pictures, keras.layers.GlobalAveragePooling2D()(pictures))
    model.save(tmp_path / "My net.keras")
    options = ["--preprocessing", "mean=127.5,std=127.5", "--repository", str(tmp_path / "models")]
    code, out, _ = run("export", str(tmp_path / "My net.keras"), *options)
    assert code == 0
    (published,) = Repository(tmp_path / "models").models()
    assert f"Published: {published.path}" in out
    assert isinstance(published, PublishedModel)
    assert published.contract.backbone == "my_net"
    assert (published.contract.pipeline.height, published.contract.pipeline.width) == (16, 24)


@pytest.mark.parametrize(
    ("sides", "options", "reason"),
    [
        ((None, None), [], "pictures of any size: choose one with --size"),
        ((16, 24), ["--size", "16"], "takes 24x16 pixels, and no others"),
        ((None, None), ["--size", "2000"], "2000x2000 pixels: twinset serves 1 to 1024 a side"),
    ],
)
def test_the_size_is_that_of_the_model_of_one_s_own(
    run: Run, tmp_path: Path, sides: tuple[int | None, int | None], options: list[str], reason: str
) -> None:
    pictures = keras.Input((*sides, 3))
    keras.Model(pictures, keras.layers.GlobalAveragePooling2D()(pictures)).save(tmp_path / "mine.keras")
    code, _, err = run("export", str(tmp_path / "mine.keras"), "--preprocessing", "none", *options)
    assert code == 2
    assert reason in err


def test_random_weights_are_said_to_be_random(run: Run, tiny_model: Callable[[int], Result]) -> None:
    result = tiny_model(0)
    code, out, _ = run("models", "--repository", str(result.path.parent))
    assert code == 0
    assert re.search(
        rf"{result.contract.model} +tiny +visual \(4, cosine\) +{result.contract.artifact[:8]} +random", out
    )


def test_models_lists_trained_and_broken_ones(run: Run, lite0: Result) -> None:
    broken = lite0.path.parent / "broken"
    broken.mkdir()
    try:
        code, out, _ = run("models", "--repository", str(lite0.path.parent))
    finally:
        broken.rmdir()
    assert code == 0
    assert re.search(rf"{lite0.contract.model} .* trained", out)
    assert re.search(r"broken +broken +config\.pbtxt: No such file", out)


def test_models_of_an_empty_repository_says_how_to_make_one(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("models", "--repository", str(tmp_path))
    assert code == 0
    assert "twinset-exporter export" in out


def test_the_version_is_told(run: Run) -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert re.fullmatch(r"twinset-exporter \d+\.\d+\.\d+\n", out)
